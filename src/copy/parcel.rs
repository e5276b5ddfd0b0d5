//! Entries as the wire carries them: attributes, small files whole, and what has no content.
//!
//! Owns the shapes only. Everything here can come from a hostile peer.

use serde::{Deserialize, Serialize};

use super::listing::Stamp;
use super::message::Path;

/// Owner, permissions, time and extended attributes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Meta {
    /// Type and permissions.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Time of last modification.
    pub mtime: Stamp,
    /// Extended attributes, ACLs among them.
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

/// Some small files.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Batch {
    /// To be confirmed.
    pub seq: u32,
    /// Directories that the files are in.
    pub dirs: Vec<Path>,
    /// The files.
    pub files: Vec<Small>,
}

/// A small file.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Small {
    /// Index of its directory in the batch.
    pub dir: u32,
    /// Its name.
    pub name: Path,
    /// Length of its content.
    pub len: u32,
    /// Its attributes.
    pub meta: Meta,
}

/// An entry without content.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Make {
    /// Its path.
    pub path: Path,
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
    Link(Path),
}
