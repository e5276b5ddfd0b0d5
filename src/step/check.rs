//! Waiting for hosts or a service to pass their checks: before they get traffic, before they get more of it by a source that leaves, and
//! before they are said to have moved.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::kind::ROUND;
use super::{Class, Ends, Kind, Live, Mark, Played, Preview, Step};
use crate::check::Checks;
use crate::text;

/// Hosts that a line names at most.
const NAMED: usize = 8;

/// Waits until all checks pass; fails when one does not within its time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CheckStep {
    /// All must pass.
    pub checks: Checks,
    /// Whether they serve already.
    #[serde(default)]
    pub serving: bool,
}

impl Kind for CheckStep {
    fn class(&self) -> Class {
        Class::Reading
    }

    fn phase(&self) -> &'static str {
        if self.serving { "look" } else { "check" }
    }

    fn describe(&self) -> String {
        let number = text::count(self.checks.checks().len() as u64, "check");
        let subjects = self.checks.subjects();
        let pass = if subjects.len() == 1 { "passes" } else { "pass" };
        format!("{} {pass} {number}", text::some(&subjects, NAMED))
    }

    fn ends(&self, _: &str, _: &str) -> Ends {
        let limit = self.checks.checks().iter().map(|c| c.within).max().unwrap_or_default();
        Ends::when("every check passes often enough in a row").within(limit).otherwise(", else it holds")
    }

    fn hosts(&self) -> Option<Vec<&str>> {
        Some(self.checks.hosts())
    }

    fn takes(&self, _: &Step, _: &dyn Live) -> Duration {
        self.checks.checks().iter().map(|c| c.interval * c.rise).max().unwrap_or_default() + ROUND
    }

    fn preview(&self, _: &Step, live: &dyn Live, _: &mut Played) -> Preview {
        let subjects = self.checks.subjects();
        let says = subjects.first().and_then(|subject| live.health(subject));
        Preview { seen: says.map(|says| format!("now: {says}")), mark: Mark::Assumed }
    }
}
