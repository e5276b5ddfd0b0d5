//! Waiting until caches have run out.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::kind::ROUND;
use super::{Class, Ends, Kind, Live, Step};

/// Waits until nobody can have an older answer of the pool any more: the TTL in force before a step, then the listed resolvers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SettleStep {
    /// Inventory name of the director.
    pub director: String,
    /// The pool.
    pub pool: String,
    /// Id of the step whose earlier TTL is waited out; `None`: the TTL in force now.
    pub outlast: Option<String>,
}

impl Kind for SettleStep {
    fn class(&self) -> Class {
        Class::Reading
    }

    fn phase(&self) -> &'static str {
        "settle"
    }

    fn describe(&self) -> String {
        let which = if self.outlast.is_some() { "the old TTL" } else { "its TTL" };
        format!("{} {}: {which} has run out and resolvers answer anew", self.director, self.pool)
    }

    fn ends(&self, _: &str, _: &str) -> Ends {
        Ends::when("the TTL runs out and every listed resolver answers anew")
    }

    fn found_by(&self) -> Option<&str> {
        self.outlast.as_deref()
    }

    fn takes(&self, _: &Step, live: &dyn Live) -> Duration {
        live.pool(&self.director, &self.pool).and_then(|p| p.ttl).unwrap_or_default() + ROUND
    }
}
