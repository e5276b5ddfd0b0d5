//! How far a source is from being in step with its target, on the way back.
//!
//! Must never call a source in step that falls behind, or gets nothing.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::text;

/// How a source keeps in step with its target, which serves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "is")]
pub enum ReversePace {
    /// Little is left after each pass.
    InStep {
        /// Bytes that the last pass carried.
        bytes: u64,
        /// How long it took: about what going back would freeze for.
        millis: u64,
    },
    /// The target takes more than passes carry.
    Behind {
        /// Bytes that the last pass carried.
        bytes: u64,
    },
    /// It follows by a replication of its own.
    Follows {
        /// Bytes that it lacks.
        bytes: u64,
    },
    /// It follows, and lacks too much for going back soon.
    Lags {
        /// Bytes that it lacks.
        bytes: u64,
    },
    /// Passes fail, or nothing flows.
    Broken {
        /// Why, in one sentence.
        why: String,
    },
}

impl ReversePace {
    /// Whether going back would have little to wait for.
    pub fn is_in_step(&self) -> bool {
        matches!(self, Self::InStep { .. } | Self::Follows { .. })
    }
}

impl std::fmt::Display for ReversePace {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::InStep { bytes, millis } => {
                let (bytes, took) = (text::bytes(*bytes), text::duration(Duration::from_millis(*millis)));
                write!(f, "the source is in step: a pass carried {bytes} in {took}")
            }
            Self::Behind { bytes } => {
                write!(
                    f,
                    "the source falls behind: a pass carried {}, and more has come meanwhile",
                    text::bytes(*bytes)
                )
            }
            Self::Follows { bytes } => write!(f, "the source follows: it lacks {}", text::bytes(*bytes)),
            Self::Lags { bytes } => write!(f, "the source falls behind: it lacks {}", text::bytes(*bytes)),
            Self::Broken { why } => write!(f, "the source does not get what the target takes: {why}"),
        }
    }
}
