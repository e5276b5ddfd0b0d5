//! What the sending agent asks of the receiving one, and the entries that such a request carries.
//!
//! Owns the shapes only. The source may be hostile: whoever uses a path or a number from here checks it first.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::copy::fs::metadata::Metadata;
use crate::copy::fs::path::RelativePath;
use crate::copy::manifest::format::Generation;
use crate::copy::wire::frame::VERSION;
use crate::copy::wire::task::TreeTask;

/// A request of the sending agent.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Request {
    /// Opens a session. Always the first request on the first channel.
    Begin(Begin),
    /// More channels into this session will be opened, for content only.
    AddChannels,
    /// Joins a session. Always the first request on such a channel.
    JoinSession {
        /// As in [`Begin::next`] of the session.
        next: Generation,
    },
    /// The names of users and groups on the source. From here on owners go by name.
    Owners {
        /// Users.
        users: Vec<(u32, String)>,
        /// Groups.
        groups: Vec<(u32, String)>,
    },
    /// Asks what the target has.
    List,
    /// Takes back that the target is known: somebody else has written there.
    Distrust,
    /// Small files. The frame's data holds their contents one after the other.
    Files(FileBatch),
    /// Puts files aside that will have other names: each gets the temporary name under which its changes will arrive.
    SetAside {
        /// To be confirmed.
        seq: u32,
        /// The files.
        moves: Vec<Move>,
    },
    /// Begins a file whose content follows in parts.
    OpenFile(OpenFile),
    /// A part of such a file, in the frame's data.
    FilePart {
        /// The file.
        file: u32,
        /// Where it belongs.
        offset: u64,
    },
    /// A range of zeros, which takes no space on disk.
    Hole {
        /// The file.
        file: u32,
        /// Where it begins.
        offset: u64,
        /// Its length.
        len: u64,
    },
    /// Ends a file: no more parts follow.
    CloseFile(CloseFile),
    /// Asks for the hashes of the blocks of a file, or of the partial file that an interrupted run left.
    HashBlocks {
        /// The number that the answer bears.
        file: u32,
        /// Its directory.
        dir: RelativePath,
        /// Its name.
        name: RelativePath,
        /// Bytes in a block.
        block: u64,
    },
    /// Creates entries without content.
    CreateNodes {
        /// To be confirmed.
        seq: u32,
        /// What to make.
        items: Vec<NewNode>,
    },
    /// Removes entries, directories with everything below them.
    Delete {
        /// To be confirmed.
        seq: u32,
        /// What to remove.
        paths: Vec<RelativePath>,
    },
    /// Sets the final metadata of directories, the deepest first.
    SetMetadata {
        /// To be confirmed.
        seq: u32,
        /// Paths and attributes.
        dirs: Vec<(RelativePath, Metadata)>,
    },
    /// Ends the pass: syncs the filesystem and records the new state.
    FinishPass {
        /// Whether the target is now exactly what the new generation describes.
        exact: bool,
    },
    /// Starts the command that takes the stream.
    StartStream {
        /// [`crate::copy::wire::frame::VERSION`].
        version: u16,
        /// When the command is killed.
        timeout: Option<Duration>,
    },
    /// The next bytes of the stream, in the frame's data.
    StreamChunk {
        /// To be confirmed; counts from 0.
        seq: u32,
    },
    /// The stream is complete. Only now may the command see the end of its input.
    EndStream {
        /// Bytes in all.
        bytes: u64,
        /// Their BLAKE3.
        hash: [u8; 32],
    },
    /// The stream will not be completed. The command must be killed before it can see the end of its input.
    AbortStream,
    /// Asks for the digest of every entry.
    DigestTree {
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
    /// Whether what is on other filesystems than the root is left alone.
    pub one_filesystem: bool,
    /// Whether times that the filesystem cannot keep may be kept as it does.
    pub inexact_times: bool,
    /// Whether anything will be written.
    pub read_only: bool,
}

impl Begin {
    /// A session about a tree, which is in the state `generation` and will be in `next`.
    pub fn of(task: &TreeTask, generation: Option<Generation>, next: Generation, read_only: bool) -> Self {
        let rules = &task.rules;
        Self {
            version: VERSION,
            generation,
            next,
            exclude: rules.exclude.clone(),
            one_filesystem: rules.one_filesystem,
            inexact_times: rules.allow_inexact_times,
            read_only,
        }
    }
}

/// A file that arrives in parts.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct OpenFile {
    /// Identifies it in this session.
    pub file: u32,
    /// Its directory.
    pub dir: RelativePath,
    /// Its name.
    pub name: RelativePath,
    /// What the content that follows is put into.
    pub base: Base,
}

/// What changes of a file apply to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Base {
    /// Nothing: all of the content follows.
    Nothing,
    /// What has its name, or what a run that was cut left of it.
    Named,
    /// What [`Request::SetAside`] has put aside for it.
    SetAside,
}

/// A file on the target that will have another name.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Move {
    /// Where it is.
    pub from: RelativePath,
    /// The directory that it will be in.
    pub dir: RelativePath,
    /// Its name there.
    pub name: RelativePath,
}

/// The end of a file that arrived in parts.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct CloseFile {
    /// To be confirmed.
    pub seq: u32,
    /// The file.
    pub file: u32,
    /// How many parts and holes it has; on several streams some may come later than this.
    pub parts: u32,
    /// Its length; what no part covered is a hole.
    pub size: u64,
    /// Its attributes; `None` when it must not take its final name.
    pub meta: Option<Metadata>,
}

/// Some small files.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct FileBatch {
    /// To be confirmed.
    pub seq: u32,
    /// Directories that the files are in.
    pub dirs: Vec<RelativePath>,
    /// The files.
    pub files: Vec<SmallFile>,
}

/// A small file.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SmallFile {
    /// Index of its directory in the batch.
    pub dir: u32,
    /// Its name.
    pub name: RelativePath,
    /// Length of its content.
    pub len: u32,
    /// Its attributes.
    pub meta: Metadata,
}

/// An entry without content.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct NewNode {
    /// Its path.
    pub path: RelativePath,
    /// What it is.
    pub what: Node,
}

/// Kinds of entries without content.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Node {
    /// A directory; its attributes follow with [`Request::SetMetadata`].
    Directory,
    /// A symbolic link.
    Symlink(Vec<u8>, Metadata),
    /// A fifo, socket or device node.
    Special(u64, Metadata),
    /// One more name of a file that is there.
    Link(RelativePath),
}
