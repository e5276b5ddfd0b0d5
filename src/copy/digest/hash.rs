//! How the content and the extended attributes of an entry become 32 bytes.
//!
//! Must never return a hash of a file that changed while it was read. Only reads the tree.

use std::os::fd::OwnedFd;

use rustix::fs::Stat;
use rustix::io::Errno;

use crate::copy::failure::Side;
use crate::copy::fs::filter::Filter;
use crate::copy::fs::listing::Entry;
use crate::copy::fs::path::TempNames;
use crate::copy::fs::tree::Tree;
use crate::copy::owners::IdMap;
use crate::copy::wire::response::{Digest, Sum};

/// Bytes that one thread hashes of a file before another may take the next.
pub const SEGMENT: u64 = 8 << 20;
const READ: usize = 1 << 20;

/// What is hashed, and how.
pub struct TreeHasher<'a> {
    /// The tree.
    pub tree: &'a Tree,
    /// Which side it is, for errors.
    pub side: Side,
    /// What is left out.
    pub filter: &'a Filter,
    /// Names that are left out, too.
    pub temp: &'a TempNames,
    /// Whether attributes that only root can set count.
    pub privileged: bool,
    /// Called before each read, and may block. Returns false when the result is not wanted any more.
    pub leave: &'a (dyn Fn() -> bool + Sync),
    /// What owners are called on the other side, if that is another.
    pub owners: Option<&'a IdMap>,
}

impl TreeHasher<'_> {
    /// BLAKE3 of a part of an open file, read piece by piece.
    pub fn hash_range(&self, fd: &OwnedFd, from: u64, len: u64, buffer: &mut Vec<u8>) -> rustix::io::Result<[u8; 32]> {
        buffer.resize(READ, 0);
        let mut hash = blake3::Hasher::new();
        let mut at = from;
        while at < from + len {
            if !(self.leave)() {
                return Err(Errno::CANCELED);
            }
            let want = usize::try_from(from + len - at).unwrap_or(READ).min(READ);
            let read = match rustix::io::pread(fd, buffer.get_mut(..want).unwrap_or_default(), at) {
                Ok(0) => break,
                Ok(n) => n,
                Err(Errno::INTR) => continue,
                Err(e) => return Err(e),
            };
            hash.update(buffer.get(..read).unwrap_or_default());
            at += read as u64;
        }
        Ok(*hash.finalize().as_bytes())
    }
}

/// A directory whose digests are known.
#[derive(Debug, Default)]
pub struct HashedDir {
    /// Its path.
    pub path: Vec<u8>,
    /// The filesystem it is on.
    pub dev: u64,
    /// Its entries.
    pub listing: Vec<u8>,
    /// One for each.
    pub digests: Vec<Digest>,
}

/// Whether what was read is what was listed: nothing about it has changed.
pub fn is_same(listed: &Entry<'_>, st: &Stat) -> bool {
    Entry { flags: listed.flags, ..Entry::of_stat(listed.name, st) } == *listed
}

/// Whether an error means that the entry vanished or was replaced, or that hashing was cancelled.
pub fn is_excused(e: Errno) -> bool {
    matches!(e, Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::NXIO | Errno::CANCELED)
}

/// 24 bytes of one hash, 8 of another.
pub fn join(content: &[u8; 32], attributes: &[u8; 32]) -> Sum {
    let mut sum = *content;
    sum.iter_mut().skip(24).zip(attributes).for_each(|(to, from)| *to = *from);
    sum
}

/// The same, where the second is a digest already.
pub fn join_tail(content: &[u8; 32], digest: &Sum) -> Sum {
    let mut joined = *content;
    joined.iter_mut().zip(digest).skip(24).for_each(|(to, from)| *to = *from);
    joined
}
