//! The change watch: a process on the source that knows where to look, so that a pass costs what changed and not what there is.
//!
//! Owns what was changed between two passes. It may say too much, never too little: where it is not sure (too many events, an
//! unknown filesystem, a pass that did not end well) it says so, and the pass sweeps.
//!
//! A file can only change while somebody has it open for writing or mapped. What is closed raises an event at the latest then;
//! what is still open when a pass begins is found in `/proc` ([`writers`]), which covers stores through mappings and kernel
//! asynchronous writes, of which no event tells.

mod events;
mod expected;
mod index;
mod marks;
mod serve;
mod socket;
pub mod writers;

pub use self::expected::{ExpectedScan, expected_scan};
pub use self::serve::serve;
pub use self::socket::{ChangedDir, WatchClient, WatchRequest};

/// The first word of what a watch says at its start when it works; anything else is why it does not.
pub const WATCHING: &str = "watching";

/// Trees of a host that are watched at a time: each holds a session of a connection, of which sshd gives ten by default.
pub const PER_HOST: usize = 4;

/// Filesystems on which handles are understood and every change passes through this kernel: ext2/3/4, xfs.
const FILESYSTEMS: [u64; 2] = [0xef53, 0x5846_5342];

const NO_FILESYSTEM: &str = "its filesystem is neither ext4 nor xfs";
const NO_ROOT: &str = "watching a filesystem takes root";
const OLD_KERNEL: &str = "the kernel is too old (Linux 5.9 is needed)";
const NO_PROCESSES: &str = "not all processes can be seen from here";
const MOUNTS: &str = "other filesystems are mounted in it";
const LAYER: &str = "it is a layer of an overlay";
