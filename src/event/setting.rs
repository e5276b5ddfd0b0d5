//! What can be set while a run goes on, by `migrate set`.
//!
//! Must never hold what would change the graph: a run does what was planned.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::model::{OnDrift, Portion};
use crate::text;

/// A setting that can be changed while a run goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Setting {
    /// Watch time after each shift, from the next one on.
    Hold(Duration),
    /// Bytes per second of each copy; 0 for no limit.
    Bandwidth(u64),
    /// Bytes per second of all copies together; 0 for no limit.
    TotalBandwidth(u64),
    /// Pairs out of service at once, or how many percent of a wave's; the plan's own number stays the most.
    MaxUnavailable(Portion),
    /// What happens when a member of a pool is found otherwise than the run has set it.
    OnDrift(OnDrift),
    /// Connections that a wave lets go in a second; 0 lets none go.
    Pace(u64),
}

impl Setting {
    /// As in `migrate set`, for people.
    pub fn describe(&self) -> String {
        match self {
            Self::Hold(hold) => format!("hold to {}", text::duration(*hold)),
            Self::Bandwidth(0) => "bandwidth to no limit".to_owned(),
            Self::Bandwidth(bytes) => format!("bandwidth to {}/s", text::bytes(*bytes)),
            Self::TotalBandwidth(0) => "total_bandwidth to no limit".to_owned(),
            Self::TotalBandwidth(bytes) => format!("total_bandwidth to {}/s", text::bytes(*bytes)),
            Self::MaxUnavailable(pairs) => format!("max_unavailable to {pairs}"),
            Self::OnDrift(on_drift) => format!("on_drift to {}", on_drift.name()),
            Self::Pace(pace) => format!("pace to {pace}/s"),
        }
    }
}
