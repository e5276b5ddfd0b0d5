//! Waiting for a host to pass its checks.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::kind::ROUND;
use super::{Class, Ends, Kind, Live, Mark, Played, Preview, Step};
use crate::model::HealthCheck;
use crate::text;

/// Waits until the host passes its checks; fails when it does not within the time of the check.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CheckStep {
    /// Inventory name.
    pub host: String,
    /// All must pass.
    pub checks: Vec<HealthCheck>,
}

impl Kind for CheckStep {
    fn class(&self) -> Class {
        Class::Reading
    }

    fn phase(&self) -> &'static str {
        "check"
    }

    fn describe(&self) -> String {
        format!("{} passes {}", self.host, text::count(self.checks.len() as u64, "check"))
    }

    fn ends(&self, _: &str, _: &str) -> Ends {
        let limit = self.checks.iter().map(|c| c.within).max().unwrap_or_default();
        Ends::when("every check passes often enough in a row").within(limit).otherwise(", else it holds")
    }

    fn hosts(&self) -> Option<Vec<&str>> {
        Some(vec![&self.host])
    }

    fn takes(&self, _: &Step, _: &dyn Live) -> Duration {
        self.checks.iter().map(|c| c.interval * c.rise).sum::<Duration>() + ROUND
    }

    fn preview(&self, _: &Step, live: &dyn Live, _: &mut Played) -> Preview {
        Preview { seen: live.health(&self.host).map(|says| format!("now: {says}")), mark: Mark::Assumed }
    }
}
