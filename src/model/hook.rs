//! Hooks, and what happens on failure.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Template;
use crate::secret::SecretRef;

/// A command on a host at a named point.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hook {
    /// When it runs.
    pub at: HookPoint,
    /// Where it runs.
    pub on: Side,
    /// The shell command; values put in for `{{ name }}` are quoted as one word.
    pub run: Template,
    /// How long it may take.
    pub timeout: Duration,
    /// Whether running it twice is the same as once.
    pub idempotent: bool,
    /// A command that tells (exit 0) whether the hook's work is already done.
    pub done_when: Option<Template>,
    /// How its work is taken back.
    pub undo: Undo,
    /// Environment variables of the command, from secrets.
    pub secrets: BTreeMap<String, SecretRef>,
}

/// How the work of a hook is taken back.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Undo {
    /// The plan does not say: there is no way back behind the hook.
    #[default]
    Unsaid,
    /// There is nothing to take back.
    Nothing,
    /// A command on the same host.
    Run(Template),
}

/// What happens when a step fails.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnFailure {
    /// Stop and ask.
    #[default]
    Hold,
    /// Put the last shift back, then stop and ask.
    StepBack,
    /// Put everything back.
    Rollback,
}

/// The points of a pair's move that hooks can be tied to, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HookPoint {
    /// Before anything is done for the pair.
    BeforePair,
    /// Before the first copy.
    BeforeSeed,
    /// After the copy has caught up.
    AfterSeed,
    /// Before the source loses traffic.
    BeforeDrain,
    /// After its connections have ended.
    AfterDrain,
    /// Stops the writer on the source (cutover).
    Freeze,
    /// Starts the writer on the target (cutover).
    Thaw,
    /// Before the target gets traffic.
    BeforeShift,
    /// After the target has its full weight.
    AfterShift,
    /// After everything for the pair is done.
    AfterPair,
}

impl HookPoint {
    /// The word in plans.
    pub fn name(self) -> &'static str {
        match self {
            Self::BeforePair => "before_pair",
            Self::BeforeSeed => "before_seed",
            Self::AfterSeed => "after_seed",
            Self::BeforeDrain => "before_drain",
            Self::AfterDrain => "after_drain",
            Self::Freeze => "freeze",
            Self::Thaw => "thaw",
            Self::BeforeShift => "before_shift",
            Self::AfterShift => "after_shift",
            Self::AfterPair => "after_pair",
        }
    }
}

/// The side of a pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Side {
    /// The host that is left.
    Source,
    /// The host that takes over.
    Target,
}
