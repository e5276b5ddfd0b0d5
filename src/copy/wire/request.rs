//! What the sending agent asks of the receiving one, and the entries that such a request carries.
//!
//! Owns the shapes only. The source may be hostile: whoever uses a path or a number from here checks it first.

use crate::copy::fs::metadata::Meta;
use crate::copy::fs::path::RelativePath;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::copy::manifest::format::Generation;

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
        dir: RelativePath,
        /// Its name.
        name: RelativePath,
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
        paths: Vec<RelativePath>,
    },
    /// Final attributes of directories, the deepest first.
    Settle {
        /// To be confirmed.
        seq: u32,
        /// Paths and attributes.
        dirs: Vec<(RelativePath, Meta)>,
    },
    /// Make it durable and close the pass.
    Finish {
        /// Whether the target is now exactly what the new generation describes.
        exact: bool,
    },
    /// Start the command that takes the stream.
    Pour {
        /// [`crate::copy::wire::frame::VERSION`].
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
    /// [`crate::copy::wire::frame::VERSION`].
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
    pub dir: RelativePath,
    /// Its name.
    pub name: RelativePath,
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

/// Some small files.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Batch {
    /// To be confirmed.
    pub seq: u32,
    /// Directories that the files are in.
    pub dirs: Vec<RelativePath>,
    /// The files.
    pub files: Vec<Small>,
}

/// A small file.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Small {
    /// Index of its directory in the batch.
    pub dir: u32,
    /// Its name.
    pub name: RelativePath,
    /// Length of its content.
    pub len: u32,
    /// Its attributes.
    pub meta: Meta,
}

/// An entry without content.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Make {
    /// Its path.
    pub path: RelativePath,
    /// What it is.
    pub what: Node,
}

/// Kinds of entries without content.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Node {
    /// A directory; its attributes follow with [`Order::Settle`].
    Directory,
    /// A symbolic link.
    Symlink(Vec<u8>, Meta),
    /// A fifo, socket or device node.
    Special(u64, Meta),
    /// One more name of a file that is there.
    Link(RelativePath),
}
