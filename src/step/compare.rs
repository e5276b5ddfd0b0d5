//! Comparing a tree on both sides.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Class, Ends, Kind, Live, Step, TreeStep};

/// A comparison of a tree on both sides by content.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CompareStep {
    /// The tree.
    pub tree: TreeStep,
    /// Which of the comparisons.
    pub comparison: Comparison,
}

/// Which of the comparisons.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Comparison {
    /// Before the drain, while the source serves.
    Ahead,
    /// Of all that is to be the same.
    Whole,
}

impl Kind for CompareStep {
    fn class(&self) -> Class {
        Class::Reading
    }

    fn phase(&self) -> &'static str {
        match self.comparison {
            Comparison::Ahead => "verify ahead",
            Comparison::Whole => "verify",
        }
    }

    fn describe(&self) -> String {
        let live = match self.comparison {
            Comparison::Ahead => ", live",
            Comparison::Whole => "",
        };
        format!("{}{live}, by the content of every file on both sides", self.tree.describe())
    }

    fn ends(&self, _: &str, _: &str) -> Ends {
        Ends::when("all of it has arrived")
    }

    fn is_stream(&self) -> bool {
        true
    }

    fn takes(&self, step: &Step, live: &dyn Live) -> Duration {
        let size = self.tree.size(step, live);
        // In the freeze only what has changed since the comparison ahead of it is read.
        match step.urgent {
            true => TreeStep::takes(self.tree.settle_below, size.entries / 10, None),
            false => TreeStep::takes(size.bytes / 4, size.entries / 4, None),
        }
    }
}
