//! Hosts, at the level of what is meant: the trait that planner, checks and engine use, and the plain data it speaks in.
//!
//! Must never know how a host is reached, what a script looks like or what it prints: that is `ssh`, or a simulation.

mod facts;
mod receipt;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::model::Host;
use crate::outside::Error;

pub use facts::{AgentFacts, ClockSkew, FIRST_PIDS, Facts, Obstacle, PathFacts, TreeFacts};
pub use receipt::{ReceiptKey, ReceiptStatus, SeenPlaces, run_once, run_once_at};

/// A command for a POSIX shell on a host.
#[derive(Debug, Clone, Default)]
pub struct Command {
    /// The script. It runs whole, or not at all when it arrives cut.
    pub script: String,
    /// Positional parameters `$1`…; any bytes but NUL survive.
    pub args: Vec<String>,
    /// Environment of the script: the place for secrets. It is never in a command line or a file there.
    pub env: BTreeMap<String, String>,
    /// How long it may take. `None`: [`Command::DEFAULT_TIMEOUT`].
    pub timeout: Option<Duration>,
}

impl Command {
    /// How long a command may take that names no limit.
    pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(30);

    /// How long it may take.
    pub fn limit(&self) -> Duration {
        self.timeout.unwrap_or(Self::DEFAULT_TIMEOUT)
    }
}

/// How a command ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    /// Exit status; 128 + n for signal n.
    pub status: i32,
    /// The first 64 KiB of standard output, raw.
    pub stdout: Vec<u8>,
    /// The last 64 KiB of standard error, raw.
    pub stderr: Vec<u8>,
    /// Whether any output was dropped.
    pub truncated: bool,
}

/// Established connections to a service.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConnectionCount {
    /// How many.
    pub count: u64,
    /// Up to ten peers with most of them: `10.0.0.7 (3)`.
    pub peers: Vec<String>,
    /// Ends of up to a thousand connections that are just beginning, or have ended lately: `10.0.0.7:40123`. One that was not there at the
    /// look before is a new session, however short.
    #[serde(default)]
    pub lately: BTreeSet<String>,
}

/// How far a tree reaches. What the kernel makes up (proc, sysfs, devtmpfs …) never belongs to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TreeExtent {
    /// To what is mounted in it, too.
    Mounts,
    /// As far as the filesystem of its root.
    OneFilesystem,
}

/// Size of a tree.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TreeSize {
    /// Entries of all kinds.
    pub entries: u64,
    /// Bytes that all regular files take; holes take none.
    pub bytes: u64,
    /// Files and directories that the login cannot read. What is below such a directory is in none of these numbers.
    #[serde(default)]
    pub closed: u64,
    /// Entries by the number of their owner.
    #[serde(default)]
    pub owners: BTreeMap<u64, u64>,
}

/// What can be asked of hosts.
///
/// What changes something there runs under a receipt, which the host keeps: the same key can be asked for again and again, and its command
/// runs once. Fences keep older controllers out: a host that has seen a newer fence answers [`ReceiptStatus::Fenced`] and does nothing.
#[async_trait]
pub trait Hosts: Send + Sync {
    /// Runs a command that only reads, to its end: a probe, a question whether something is done, a load.
    async fn query(&self, host: &Host, command: &Command) -> Result<Output, Error>;

    /// Starts a command under a key unless it is decided already whether that one starts, and waits up to `wait` for its end. Refused
    /// where the run has no place for receipts, because it was never made or was taken away again.
    async fn start(
        &self,
        host: &Host,
        key: &ReceiptKey,
        fence: u64,
        command: &Command,
        wait: Duration,
    ) -> Result<ReceiptStatus, Error>;

    /// Asks what became of a key, and waits up to `wait` for the end of a command that runs. Makes the place for the run's receipts.
    async fn fetch(&self, host: &Host, key: &ReceiptKey, fence: u64, wait: Duration) -> Result<ReceiptStatus, Error>;

    /// Sees to it that a command which has not started never does; tells what is known about it.
    async fn seal(&self, host: &Host, key: &ReceiptKey, fence: u64) -> Result<ReceiptStatus, Error>;

    /// Removes all receipts of a run; refused while one of its commands runs.
    async fn forget(&self, host: &Host, run: &str) -> Result<(), Error>;

    /// Counts the established connections to a local port; `address` limits them to one local address. Never zero because it could not look.
    async fn connections(&self, host: &Host, address: Option<IpAddr>, port: u16) -> Result<ConnectionCount, Error>;

    /// What a host is and has, and what is at paths, which are absolute or start with `~/`.
    async fn facts(&self, host: &Host, paths: &[String]) -> Result<Facts, Error>;

    /// Counts what is below a path, a symlink or not, and how much room it takes.
    async fn tree_size(&self, host: &Host, path: &str, extent: TreeExtent) -> Result<TreeSize, Error>;
}
