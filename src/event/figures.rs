//! Numbers beside the words of an outcome.

use serde::{Deserialize, Serialize};

/// What a step has measured: what its evidence says in words, for charts and metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "of")]
pub enum Figures {
    /// Data that went from host to host.
    Carried {
        /// Regular files; none where it was a stream.
        files: u64,
        /// Their bytes.
        bytes: u64,
    },
    /// Data that was found to be the same on both hosts.
    Compared {
        /// Regular files.
        files: u64,
        /// Their bytes.
        bytes: u64,
    },
    /// New sessions of a pool.
    Sessions {
        /// Of all members.
        all: u64,
        /// Of the targets.
        targets: u64,
        /// What targets should have got by their weights, in tenths of a percent.
        wanted: u16,
    },
}
