//! The step at which a tree changes hands: going back over it brings to the source what the target has taken since.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Class, Ends, Kind, Live, Step, TreeStep, Undo};

/// From here on the target may be the one that has everything. Doing it does nothing; undoing it carries the tree back and compares it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HandOverStep {
    /// The tree, from the target to the source.
    pub tree: TreeStep,
    /// Whether it is compared once it is there.
    pub verify: bool,
}

impl Kind for HandOverStep {
    fn class(&self) -> Class {
        Class::Convergent
    }

    fn phase(&self) -> &'static str {
        "hand over"
    }

    fn describe(&self) -> String {
        format!("what the target takes from here on in {} goes back with a rollback", self.tree.from)
    }

    fn ends(&self, _: &str, _: &str) -> Ends {
        Ends::when("all of it has arrived")
    }

    fn undo(&self) -> Undo<'_> {
        Undo::HandOver(self)
    }

    fn takes(&self, _: &Step, _: &dyn Live) -> Duration {
        // There is nothing to do.
        Duration::ZERO
    }
}
