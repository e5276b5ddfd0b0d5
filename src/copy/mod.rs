//! The copy engine: carries directory trees between two hosts while they are being written to.
//!
//! Owns scanning, the wire protocol, sending, receiving and comparing. Must never write outside the target root, and never report
//! a pass as done before the target's disk has it.
//!
//! Its rooms, from the ground up. Each uses only rooms above it in this list, and `tests/architecture.rs` checks that no two files
//! use each other:
//!
//! ```text
//! failure, job     what goes wrong; what is asked and reported
//! fs/              paths, entries, metadata, filters and walks of one tree, by file descriptors
//! owners, command  user and group ids by name; the commands at the ends of a stream
//! authorized_keys  the line that lets the source's key in
//! manifest/        the source's record of what the target has
//! wire/            frames, and the messages in them
//! digest/          BLAKE3 of a tree, and the cache of digests
//! running          agents of a job that still run, ended
//! look             what an agent sees of a tree before anything is carried
//! watch/           change watch on the source
//! receive/         receiving agent
//! send/            sending agent: link, source, target, transfer, verify, then the order of a pass
//! controller/      puts agents on hosts and connects them
//! agent            command line of the agents
//! location         SRC and DST of `migrate copy`
//! ```

pub mod agent;
mod authorized_keys;
mod command;
#[cfg(feature = "controller")]
pub mod controller;
pub mod digest;
pub mod failure;
pub mod fs;
pub mod job;
pub mod location;
mod look;
pub mod manifest;
pub mod owners;
pub mod receive;
mod running;
pub mod send;
pub mod watch;
pub mod wire;

pub use self::job::{
    Copier, CopyJob, CopyProgress, DataRoute, OnProgress, PassReport, Preview, ScanMode, StreamJob, StreamReport,
    VerifyMode, VerifyReport,
};
