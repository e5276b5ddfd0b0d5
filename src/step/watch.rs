//! Letting time pass while checks go on.

use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize};

use super::{Class, Ends, Kind, Live, Step};
use crate::check::{Checks, PoolRef};
use crate::text;

/// Lets time pass while checks go on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WatchStep {
    /// How long.
    pub hold: Duration,
    /// What is checked meanwhile; empty only waits.
    pub checks: Checks,
    /// Where the share that targets get is measured.
    #[serde(default, deserialize_with = "one_or_many")]
    pub measured: Vec<MeasuredPool>,
    /// The pools that are read meanwhile: what the run has set there must stay so.
    #[serde(default)]
    pub pools: Vec<PoolRef>,
}

/// A pool in which the share of targets is measured.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MeasuredPool {
    /// The pool.
    pub pool: PoolRef,
    /// Its members whose share is of interest.
    pub targets: Vec<String>,
    /// Whether new sessions follow weights, so that a target which gets none is a fault.
    pub follows_weights: bool,
}

/// A graph of before a service could have several directors has one, or null.
fn one_or_many<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<MeasuredPool>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Given {
        Many(Vec<MeasuredPool>),
        One(Option<MeasuredPool>),
    }
    Ok(match Given::deserialize(from)? {
        Given::Many(many) => many,
        Given::One(one) => one.into_iter().collect(),
    })
}

impl Kind for WatchStep {
    fn class(&self) -> Class {
        Class::Reading
    }

    fn phase(&self) -> &'static str {
        "watch"
    }

    fn describe(&self) -> String {
        let hold = text::duration(self.hold);
        if self.checks.is_empty() && self.hold.is_zero() {
            return "until all before it is done".to_owned();
        }
        if self.checks.is_empty() {
            return format!("for {hold}");
        }
        format!("health of {} for {hold}", text::list(&self.checks.subjects()))
    }

    fn ends(&self, _: &str, _: &str) -> Ends {
        Ends::when("the hold passes without a failure").within(self.hold)
    }

    fn takes(&self, _: &Step, _: &dyn Live) -> Duration {
        self.hold
    }
}
