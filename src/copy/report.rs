//! What the receiving agent answers: a part of the vocabulary in [`super::message`].
//!
//! Everything here can come from a hostile target: whoever uses a path or a number from it checks it first.

use serde::{Deserialize, Serialize};

use super::digest::Digest;
use super::failure::Failure;
use super::message::Path;

/// What the receiving agent tells the sending one.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Report {
    /// Answer to [`super::message::Order::Begin`].
    Ready(Ready),
    /// Answer to [`super::message::Order::Join`].
    Joined,
    /// Answer to [`super::message::Order::Owners`]: how many of the names nobody has on the target.
    Owners {
        /// Users and groups that keep their numbers.
        unknown: u64,
    },
    /// A part of a directory's listing.
    Listing {
        /// The directory.
        path: Path,
        /// Its entries, or the next of them.
        listing: Vec<u8>,
    },
    /// What a run that was cut left behind.
    Leftover {
        /// The directory.
        dir: Path,
        /// The temporary name.
        name: Path,
    },
    /// That was all.
    Listed,
    /// Answer to [`super::message::Order::Hash`]; nothing when there is no such file.
    Hashes {
        /// Its number.
        file: u32,
        /// The hashes, one after the other.
        hashes: Vec<u8>,
    },
    /// Something is done.
    Done {
        /// What.
        seq: u32,
        /// What of it failed: position and reason.
        failures: Vec<(u32, Failure)>,
        /// Entries removed.
        deleted: u64,
    },
    /// The pass is closed and durable.
    Finished,
    /// The command that takes the stream has started.
    Pouring,
    /// It has had the whole stream and ended with status 0.
    Poured {
        /// Bytes in all.
        bytes: u64,
        /// Their BLAKE3.
        hash: [u8; 32],
    },
    /// It was killed before the end of its input.
    Spilled,
    /// Digests of a directory's entries, in the order of the listing.
    Digests {
        /// The directory.
        path: Path,
        /// Its entries, or the next of them.
        listing: Vec<u8>,
        /// One for each.
        digests: Vec<Digest>,
        /// Whether the directory is complete with these.
        last: bool,
    },
    /// That was all.
    Digested {
        /// What could not be read.
        failures: Vec<Failure>,
    },
    /// Nothing more can be done.
    Failed(Failure),
}

/// The state of the target before a pass.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Ready {
    /// [`super::wire::VERSION`].
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
