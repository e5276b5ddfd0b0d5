//! Carrying a tree from the target back to the source while the target serves, for as long as there is a way back.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Class, Ends, Kind, Live, Step, TreeStep, Undo};

/// Passes from the target to the source, one after another. It stays under way beside other steps and has no end of its own.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ReverseStep {
    /// The tree, from the target to the source.
    pub tree: TreeStep,
    /// At most this many passes before a rollback takes traffic from the target.
    pub max_passes: u32,
    /// Whether it is compared while it is live.
    pub verify: bool,
}

impl Kind for ReverseStep {
    fn class(&self) -> Class {
        Class::Convergent
    }

    fn phase(&self) -> &'static str {
        "reverse"
    }

    fn describe(&self) -> String {
        format!("{}, live, from the target back to the source", self.tree.describe())
    }

    fn ends(&self, _: &str, _: &str) -> Ends {
        Ends::when("the way back ends")
    }

    fn undo(&self) -> Undo<'_> {
        Undo::Reverse(self)
    }

    fn takes(&self, _: &Step, _: &dyn Live) -> Duration {
        // The move itself does not wait for it.
        Duration::ZERO
    }
}
