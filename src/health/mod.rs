//! Health checks: asks one host one question and says pass, fail or unknown, with the numbers behind it.
//!
//! Must never count what it could not find out as a pass or as a failure.

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::spec::model::{HealthCheck, Host};

/// What one probe found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    /// The answer.
    pub outcome: Outcome,
    /// What was asked and what came back, in one line, escaped: `GET http://… → 200 in 3 ms`.
    pub evidence: String,
}

/// The three answers there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It holds.
    Pass,
    /// It does not.
    Fail,
    /// Nobody can tell (the host of an exec probe cannot be reached, say).
    Unknown,
}

/// Asks hosts how they are.
#[async_trait]
pub trait Health: Send + Sync {
    /// One probe, bounded by the check's `timeout`.
    async fn probe(&self, check: &HealthCheck, host: &Host) -> Verdict;
}
