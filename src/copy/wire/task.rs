//! What the controller and the sending agent say to each other.
//!
//! Owns the shapes only. The sending agent may be hostile: the controller checks every text and number that it takes from here.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::copy::failure::Failure;
use crate::copy::job::{CopyProgress, PassReport, Preview, StreamReport, VerifyReport, When};
use crate::copy::manifest::format::Generation;
use crate::model::TreeRules;

/// What the controller tells the sending agent first.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Task {
    /// Bring the target up to date.
    Pass(Orders),
    /// Read both sides and compare.
    Verify {
        /// How the job is done.
        orders: Orders,
        /// What differences mean.
        when: When,
    },
    /// Say what a pass would do.
    Preview {
        /// How it would be done.
        orders: Orders,
        /// Whether there is anything on the target to look at.
        target: bool,
    },
    /// Pour what a command writes into a command on the target, which only the controller names.
    Stream(Pour),
}

/// How a job is to be done.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Orders {
    /// Identifies the job.
    pub job: String,
    /// Root on the source.
    pub from: String,
    /// Root on the target, for the record.
    pub to: String,
    /// The pair, for the record.
    pub pair: (String, String),
    /// What the target is to have of the source.
    pub rules: TreeRules,
    /// Bytes per second; 0 stands still.
    pub bandwidth: Option<u64>,
    /// Whether content is compared, whatever any record says.
    pub checksum: bool,
    /// Whether content that is compared is read again, though it has not changed since it was read for an earlier comparison.
    pub fresh: bool,
    /// Why there is no watch on the source, for the report; empty where there is one.
    pub unwatched: String,
    /// Whether the controller may carry what would not be worth a connection of its own.
    pub may_relay: bool,
    /// The target's sshd, if the source may try to reach it itself.
    pub dial: Option<Dial>,
}

/// How the source reaches the target's sshd.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dial {
    /// Host name or address.
    pub address: String,
    /// TCP port.
    pub port: u16,
    /// Login name.
    pub user: String,
    /// The keys that the controller knows the target by, as lines.
    pub host_keys: Vec<String>,
}

/// What the sending agent tells the controller.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum News {
    /// It reached the target and asks for its key to be let in.
    Offer {
        /// The key of this copy, as a line.
        public_key: String,
        /// The address that it comes from.
        from: String,
    },
    /// It talks to the target itself.
    Direct,
    /// It cannot, and waits for the controller to relay.
    Indirect {
        /// Why.
        reason: String,
    },
    /// The session that it relays to takes more streams.
    Session {
        /// As in [`Begin::next`] of the session.
        next: Generation,
    },
    /// How far it is.
    Progress(CopyProgress),
    /// The pass is done.
    Passed(PassReport),
    /// The comparison is done.
    Verified(VerifyReport),
    /// This is what a pass would do.
    Previewed(Preview),
    /// The stream is through, and both commands ended well.
    Streamed(StreamReport),
    /// The stream is not through, and the command on the target has failed or was killed before the end of its input.
    NotStreamed(Failure),
    /// It cannot be done.
    Failed(Failure),
}

impl Task {
    /// The job, the limit in bytes per second, and how the target may be reached.
    pub fn common(&self) -> (&str, Option<u64>, Option<&Dial>) {
        match self {
            Self::Pass(orders) | Self::Verify { orders, .. } | Self::Preview { orders, .. } => {
                (&orders.job, orders.bandwidth, orders.dial.as_ref())
            }
            Self::Stream(pour) => (&pour.job, pour.bandwidth, pour.dial.as_ref()),
        }
    }
}

/// The source's half of a stream.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Pour {
    /// Identifies the job.
    pub job: String,
    /// The shell command whose output is carried.
    pub command: String,
    /// When both commands are killed.
    pub timeout: Option<Duration>,
    /// Bytes per second; 0 stands still.
    pub bandwidth: Option<u64>,
    /// The target's sshd, if the source may try to reach it itself.
    pub dial: Option<Dial>,
}

/// What the controller tells the sending agent while it works.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Control {
    /// The answer to an offer: whether the key is let in.
    Admitted(bool),
    /// A new limit in bytes per second; 0 stands still.
    Bandwidth(Option<u64>),
}
