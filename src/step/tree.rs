//! One tree to carry: what copying and comparing it have in common.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::kind::ROUND;
use super::{Live, Step};
use crate::check::Checks;
use crate::host::TreeSize;
use crate::model::{DataPath, Throttle, TreeRules};

/// Assumed rate of a copy, bytes per second: a gigabit link.
const RATE: u64 = 110 << 20;
/// Assumed rate of small files, entries per second.
const ENTRIES: u64 = 10_000;

/// One tree to carry, with its paths filled in.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TreeStep {
    /// Id of the copy job: the same for everything that is done with this tree.
    pub job: String,
    /// Root on the source.
    pub from: String,
    /// Root on the target.
    pub to: String,
    /// What the target is to have of the source.
    pub rules: TreeRules,
    /// Bytes per second.
    pub bandwidth: Option<u64>,
    /// What lets that fall and rise while the source serves.
    #[serde(default, skip_serializing_if = "Checks::is_empty")]
    pub asks: Box<Checks>,
    /// Which way the data takes.
    #[serde(default)]
    pub path: DataPath,
    /// Holds work back while the source serves.
    #[serde(default)]
    pub throttle: Option<Throttle>,
    /// Less than this many bytes are little: catching up ends there.
    pub settle_below: u64,
    /// Whether it goes from the target of the pair to its source: `from` is on the target, `to` on the source.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub back: bool,
}

impl TreeStep {
    /// The roots, for people.
    pub(super) fn describe(&self) -> String {
        let way = match self.path {
            DataPath::Auto => "",
            DataPath::Direct => ", only from host to host",
            DataPath::Relay => ", through this machine",
        };
        if self.from == self.to { format!("{}{way}", self.from) } else { format!("{} → {}{way}", self.from, self.to) }
    }

    /// The size on the source; zero where it was not seen.
    pub(super) fn size(&self, step: &Step, live: &dyn Live) -> TreeSize {
        step.pair.as_ref().and_then(|p| live.tree(&p.source, &self.from)).cloned().unwrap_or_default()
    }

    /// How long so much takes at a rate.
    pub(super) fn takes(bytes: u64, entries: u64, limit: Option<u64>) -> Duration {
        let rate = limit.unwrap_or(RATE).clamp(1, RATE);
        Duration::from_millis(bytes.saturating_mul(1000) / rate + entries.saturating_mul(1000) / ENTRIES) + ROUND
    }
}
