//! What the controller and the sending agent say to each other.
//!
//! Owns the shapes only. The sending agent may be hostile: the controller checks every text and number that it takes from here.

use std::net::IpAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::copy::failure::Failure;
use crate::copy::job::{CopyProgress, PassReport, Preview, StreamReport, VerifyMode, VerifyReport};
use crate::copy::manifest::format::Generation;
use crate::model::TreeRules;

/// The task that the controller gives to the sending agent.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Task {
    /// Bring the target up to date.
    Pass(TreeTask),
    /// Read both sides and compare.
    Verify {
        /// How the job is done.
        tree: TreeTask,
        /// What differences mean.
        when: VerifyMode,
    },
    /// Say what a pass would do.
    Preview {
        /// How it would be done.
        tree: TreeTask,
        /// Whether there is anything on the target to look at.
        target: bool,
    },
    /// Pour what a command writes into a command on the target, which only the controller names.
    Stream(StreamTask),
}

/// A task about a tree.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct TreeTask {
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
    /// Whether the target is looked at, too, whatever the record says of it.
    pub listed: bool,
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
    /// Its addresses, in the order in which they are tried: an agent asks no name service.
    pub addresses: Vec<IpAddr>,
    /// TCP port.
    pub port: u16,
    /// Login name.
    pub user: String,
    /// The keys that the controller knows the target by, as lines.
    pub host_keys: Vec<String>,
}

/// What the sending agent tells the controller.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum SenderMessage {
    /// It has reached the target and asks the controller to authorize its key.
    KeyOffer {
        /// The key of this copy, as a line.
        public_key: String,
        /// The address that it comes from.
        from: String,
    },
    /// It is connected to the target directly.
    Direct,
    /// It has no direct connection and waits for the controller to relay.
    NeedsRelay {
        /// Why.
        reason: String,
    },
    /// The session on the target is open, and accepts more channels.
    SessionOpen {
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
            Self::Pass(tree) | Self::Verify { tree, .. } | Self::Preview { tree, .. } => {
                (&tree.job, tree.bandwidth, tree.dial.as_ref())
            }
            Self::Stream(pour) => (&pour.job, pour.bandwidth, pour.dial.as_ref()),
        }
    }
}

/// A task about a stream: what a command on the source writes goes to a command on the target.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct StreamTask {
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
pub enum ControllerMessage {
    /// The answer to an offer: whether the key is let in.
    KeyAdmitted(bool),
    /// A new limit in bytes per second; 0 stands still.
    Bandwidth(Option<u64>),
}
