//! What the receiving agent answers to the sending one.
//!
//! Owns the shapes only. The target may be hostile: whoever uses a path or a number from here checks it first.

use serde::{Deserialize, Serialize};

use crate::copy::failure::Failure;
use crate::copy::fs::path::RelativePath;

/// What the receiving agent tells the sending one.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Response {
    /// Answer to [`crate::copy::wire::request::Request::Begin`].
    Ready(Ready),
    /// Answer to [`crate::copy::wire::request::Request::JoinSession`].
    Joined,
    /// Answer to [`crate::copy::wire::request::Request::Owners`]: how many of the names nobody has on the target.
    Owners {
        /// Users and groups that keep their numbers.
        unknown: u64,
    },
    /// A part of a directory's listing.
    Listing {
        /// The directory.
        path: RelativePath,
        /// Its entries, or the next of them.
        listing: Vec<u8>,
    },
    /// A temporary file that an interrupted run left behind.
    Leftover {
        /// The directory.
        dir: RelativePath,
        /// The temporary name.
        name: RelativePath,
        /// The room that it takes.
        bytes: u64,
    },
    /// A directory that this login may neither write to nor let itself write to; only where nothing is to be written.
    Closed {
        /// The directory.
        path: RelativePath,
    },
    /// That was all.
    ListingEnd,
    /// Answer to [`crate::copy::wire::request::Request::HashBlocks`]; nothing when there is no such file.
    BlockHashes {
        /// Its number.
        file: u32,
        /// The hashes, one after the other.
        hashes: Vec<u8>,
    },
    /// A request has been carried out.
    Ack {
        /// What.
        seq: u32,
        /// What of it failed: position and reason.
        failures: Vec<(u32, Failure)>,
        /// Entries removed.
        deleted: u64,
    },
    /// The pass is closed and durable.
    PassFinished,
    /// The command that takes the stream has started.
    StreamStarted,
    /// It has had the whole stream and ended with status 0.
    StreamDone {
        /// Bytes in all.
        bytes: u64,
        /// Their BLAKE3.
        hash: [u8; 32],
    },
    /// The command was killed before the end of its input.
    StreamAborted,
    /// Digests of a directory's entries, in the order of the listing.
    Digests {
        /// The directory.
        path: RelativePath,
        /// Its entries, or the next of them.
        listing: Vec<u8>,
        /// One for each.
        digests: Vec<Digest>,
        /// Whether the directory is complete with these.
        last: bool,
    },
    /// That was all.
    DigestsEnd {
        /// What could not be read.
        failures: Vec<Failure>,
    },
    /// The session has failed.
    Failed(Failure),
}

/// The state of the target before a pass.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Ready {
    /// [`crate::copy::wire::frame::VERSION`].
    pub version: u16,
    /// Whether it is in the state that the source believes.
    pub trusted: bool,
    /// Whether it may set owners and make devices.
    pub privileged: bool,
    /// Bytes that may still be written.
    pub free_bytes: u64,
    /// Inodes that may still be made; `u64::MAX` where the filesystem makes them as needed.
    pub free_inodes: u64,
}

/// 24 bytes for the content of an entry, 8 for its extended attributes.
pub type Sum = [u8; 32];

/// The digest of one entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Digest {
    /// What two sides are compared by.
    pub sum: Sum,
    /// How it came to be.
    pub how: DigestOrigin,
}

impl Digest {
    /// Of what could not be read as a whole; it is like no other, and not like itself.
    pub const NONE: Self = Self { sum: [0xff; 32], how: DigestOrigin::Changed };

    /// Whether it stands for anything.
    pub fn is_some(&self) -> bool {
        self.sum != Self::NONE.sum
    }

    /// Whether two digests stand for the same content.
    pub fn has_content_of(&self, other: &Self) -> bool {
        self.sum.iter().zip(&other.sum).take(24).all(|(a, b)| a == b)
    }
}

/// How a digest came to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum DigestOrigin {
    /// The entry was read, and was the same afterwards as when it was listed.
    Read,
    /// It changed or vanished while it was read.
    Changed,
    /// It was read for an earlier comparison and has not changed since.
    Cached,
}
