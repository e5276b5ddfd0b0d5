//! The end of a pair's way back.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Class, Ends, Kind, Live, Step};
use crate::check::Checks;
use crate::model::Until;

/// Waits until the way back of a pair may end. Once that is done there is none.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CommitStep {
    /// Inventory name of the source, by which people name the pair.
    pub source: String,
    /// When it ends by itself.
    pub until: Until,
    /// What must hold of the target and its service before it does.
    #[serde(default)]
    pub checks: Checks,
}

impl CommitStep {
    /// The command that ends the way back.
    pub fn command(&self, run: &str) -> String {
        format!("migrate commit {run} {}", self.source)
    }
}

impl Kind for CommitStep {
    fn class(&self) -> Class {
        Class::Reading
    }

    fn phase(&self) -> &'static str {
        "commit"
    }

    fn describe(&self) -> String {
        match self.until {
            Until::After(time) if time.is_zero() => "the way back ends here".to_owned(),
            Until::After(_) => format!("the way back stays open {}, or until somebody commits", self.until),
            Until::Commit => format!("the way back stays open {}", self.until),
        }
    }

    fn ends(&self, run: &str, _: &str) -> Ends {
        let committed = format!("somebody ends the way back: {}", self.command(run));
        match self.until {
            Until::After(time) => Ends::when(committed).within(time),
            Until::Commit => Ends::when(committed),
        }
    }

    fn hosts(&self) -> Option<Vec<&str>> {
        Some(Vec::new())
    }

    fn stands_aside(&self) -> bool {
        true
    }

    fn takes(&self, _: &Step, _: &dyn Live) -> Duration {
        // The move itself does not wait for it.
        Duration::ZERO
    }
}
