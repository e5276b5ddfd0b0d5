//! The end of a batch: what comes behind it waits until its pairs have moved.
//!
//! It is the one step that may be done though not all that it waits for is: pairs that failed, as many as the wave's budget allows, hold
//! up no others.

use serde::{Deserialize, Serialize};

use super::{Class, Ends, Kind};
use crate::text;

/// Waits until the pairs of a batch have moved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BatchStep {
    /// Which of the batches of the wave it is, from 1.
    pub number: usize,
    /// How many batches the wave has.
    pub of: usize,
    /// Pairs of it that move in this run.
    pub pairs: usize,
}

impl BatchStep {
    /// How it has ended, with those that have not moved.
    pub fn evidence(&self, left: &[String]) -> String {
        match left {
            [] => format!("{} moved", text::count(self.pairs as u64, "pair")),
            left => format!(
                "{} of {} moved; failed: {}",
                self.pairs.saturating_sub(left.len()),
                self.pairs,
                text::some(left, 8)
            ),
        }
    }
}

impl Kind for BatchStep {
    fn class(&self) -> Class {
        Class::Reading
    }

    fn phase(&self) -> &'static str {
        "batch"
    }

    fn describe(&self) -> String {
        let Self { number, of, pairs } = self;
        format!("until batch {number} of {of} is done: {}", text::count(*pairs as u64, "pair"))
    }

    fn ends(&self, _: &str, _: &str) -> Ends {
        Ends::when("its pairs have moved, or have failed as the wave's failure budget allows")
    }
}
