//! What a planner has to tell besides the steps: what it refuses, and what is risky.

use serde::{Deserialize, Serialize};

/// One thing to know before applying.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Finding {
    /// How much it matters.
    pub severity: Severity,
    /// Service, pair or host that it is about.
    pub about: String,
    /// What was found, in one sentence, with the numbers.
    pub what: String,
    /// What to do about it.
    pub hint: Option<String>,
}

/// How much a finding matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// `apply` will not begin.
    Refused,
    /// Can go wrong; read before applying.
    Risk,
    /// Good to know.
    Note,
}

impl Finding {
    /// Something that keeps the plan from being applied.
    pub fn refused(about: impl Into<String>, what: impl Into<String>) -> Self {
        Self { severity: Severity::Refused, about: about.into(), what: what.into(), hint: None }
    }

    /// Something that can go wrong.
    pub fn risk(about: impl Into<String>, what: impl Into<String>) -> Self {
        Self { severity: Severity::Risk, ..Self::refused(about, what) }
    }

    /// Something good to know.
    pub fn note(about: impl Into<String>, what: impl Into<String>) -> Self {
        Self { severity: Severity::Note, ..Self::refused(about, what) }
    }

    /// With advice.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}
