//! What the two agents and the controller say to each other.
//!
//! Owns the vocabulary. Everything here can come from a hostile peer: whoever uses a path or a number from it checks it first.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::failure::Failure;
use super::manifest::Generation;
pub use super::parcel::{Batch, Make, Meta, Node, Small};
pub use super::report::{Ready, Report};
use super::{CopyProgress, PassReport, Preview, StreamReport, VerifyReport, When};
use crate::model::TreeRules;

/// A name or a relative path.
pub type Path = Vec<u8>;

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

/// What the sending agent tells the receiving one.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Order {
    /// First of all.
    Begin(Begin),
    /// Expect more streams, for content only.
    Widen,
    /// First of all on one of those.
    Join {
        /// As in [`Begin::next`] of the session.
        next: Generation,
    },
    /// Translate owners, from here on: what numbers are called on the source.
    Owners {
        /// Users.
        users: Vec<(u32, String)>,
        /// Groups.
        groups: Vec<(u32, String)>,
    },
    /// Report what the target has.
    List,
    /// Small files whole, their contents one after the other in the frame's data.
    Small(Batch),
    /// A file whose content follows in parts.
    Open(Open),
    /// One of the parts, in the frame's data.
    Part {
        /// The file.
        file: u32,
        /// Where it belongs.
        offset: u64,
    },
    /// A stretch of zeros, which needs no room.
    Hole {
        /// The file.
        file: u32,
        /// Where it begins.
        offset: u64,
        /// Its length.
        len: u64,
    },
    /// No more parts.
    Close(Close),
    /// Report the hashes of the blocks that are there of a file, or of what a run that was cut left of it.
    Hash {
        /// The number that the answer bears.
        file: u32,
        /// Its directory.
        dir: Path,
        /// Its name.
        name: Path,
        /// Bytes in a block.
        block: u64,
    },
    /// Entries without content.
    Make {
        /// To be confirmed.
        seq: u32,
        /// What to make.
        items: Vec<Make>,
    },
    /// Entries to remove, directories with everything below.
    Delete {
        /// To be confirmed.
        seq: u32,
        /// What to remove.
        paths: Vec<Path>,
    },
    /// Final attributes of directories, the deepest first.
    Settle {
        /// To be confirmed.
        seq: u32,
        /// Paths and attributes.
        dirs: Vec<(Path, Meta)>,
    },
    /// Make it durable and close the pass.
    Finish {
        /// Whether the target is now exactly what the new generation describes.
        exact: bool,
    },
    /// Start the command that takes the stream.
    Pour {
        /// [`super::wire::VERSION`].
        version: u16,
        /// When the command is killed.
        timeout: Option<Duration>,
    },
    /// The next bytes of the stream, in the frame's data.
    Chunk {
        /// To be confirmed; counts from 0.
        seq: u32,
    },
    /// The stream is whole: only now may the command see the end of its input.
    End {
        /// Bytes in all.
        bytes: u64,
        /// Their BLAKE3.
        hash: [u8; 32],
    },
    /// The stream will not become whole: the command is to be killed before it could see an end.
    Spill,
    /// Report a digest of everything.
    Digest {
        /// Whether attributes that only root can set count.
        privileged: bool,
        /// Whether everything is read, whatever is known from an earlier comparison.
        fresh: bool,
    },
}

/// The start of a pass.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Begin {
    /// [`super::wire::VERSION`].
    pub version: u16,
    /// The state that the source believes the target to be in.
    pub generation: Option<Generation>,
    /// The state that it will be in at the end.
    pub next: Generation,
    /// Patterns whose matches on the target are left alone.
    pub exclude: Vec<String>,
    /// Whether anything will be written.
    pub read_only: bool,
}

/// A file that arrives in parts.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Open {
    /// Identifies it in this session.
    pub file: u32,
    /// Its directory.
    pub dir: Path,
    /// Its name.
    pub name: Path,
    /// Whether only what differs from the content that is there follows.
    pub patch: bool,
}

/// The end of a file that arrived in parts.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Close {
    /// To be confirmed.
    pub seq: u32,
    /// The file.
    pub file: u32,
    /// How many parts and holes it has; on several streams some may come later than this.
    pub parts: u32,
    /// Its length; what no part covered is a hole.
    pub size: u64,
    /// Its attributes; `None` when it must not take its final name.
    pub meta: Option<Meta>,
}
