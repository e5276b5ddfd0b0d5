//! The words that services are described in: pairs, strategies, trees, checks.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Side, Template};

/// How runs can be accounted for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Audit {
    /// Where signed checkpoints are copied to, besides the run's own directory.
    pub copy_to: Vec<CheckpointCopy>,
}

/// A place for copies of signed checkpoints.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CheckpointCopy {
    /// A file on the controller that lines are added to.
    File(PathBuf),
    /// The controller's own system log.
    Syslog,
    /// A log server that takes UDP, as `host:port`.
    SyslogUdp(String),
}

impl std::fmt::Display for CheckpointCopy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::File(path) => write!(f, "file:{}", path.display()),
            Self::Syslog => f.write_str("syslog:"),
            Self::SyslogUdp(address) => write!(f, "syslog:{address}"),
        }
    }
}

/// One source host and the target host that takes its place.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Pair {
    /// Inventory name of the source.
    pub source: String,
    /// Inventory name of the target.
    pub target: String,
}

impl Pair {
    /// The host on a side.
    pub fn on(&self, side: Side) -> &str {
        match side {
            Side::Source => &self.source,
            Side::Target => &self.target,
        }
    }
}

/// How a service moves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Strategy {
    /// Both sides serve; weights move in steps.
    Ramp,
    /// One writer at a time; pair by pair, with a freeze.
    Cutover,
}

/// What the target is to have of a tree. These rules mean the same in the plan, in the step, in the copy engine and on the wire. By default
/// everything is carried, nothing is removed, and a source that looks unmounted is refused.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TreeRules {
    /// Patterns of what is not carried, as rsync reads them. The first that matches decides, and `+ pattern` keeps the entry.
    pub exclude: Vec<String>,
    /// Whether entries that the source does not have are removed on the target.
    pub delete: bool,
    /// Whether they are also removed when the source's root is empty; otherwise that is taken for a filesystem that is not mounted.
    pub allow_empty: bool,
    /// Whether the source may be on other filesystems than at the last pass; otherwise that is taken for one that is not mounted.
    pub allow_moved: bool,
    /// Whether only what is on the filesystem of the root is carried.
    #[serde(default)]
    pub one_filesystem: bool,
    /// Whether times that the target's filesystem cannot keep are carried as it keeps them; otherwise they end a copy.
    #[serde(default)]
    pub allow_inexact_times: bool,
    /// What makes an owner the same on both hosts.
    pub owners: Owners,
}

/// What makes a user or group the same on two hosts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Owners {
    /// The number.
    #[default]
    Numbers,
    /// The name; who has none, or one that the target does not know, keeps the number.
    Names,
    /// The number, as far as the login on the target can give it; what it cannot is told.
    Drop,
}

/// A copy stands still while a number on the source is too high.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Throttle {
    /// Prints the number, on the source.
    pub command: Template,
    /// The highest number at which the copy goes on.
    pub above: u64,
    /// How often it is asked for.
    pub every: Duration,
}

/// Which way data takes from source to target.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DataPath {
    /// From host to host where that can be, else through this machine.
    #[default]
    Auto,
    /// From host to host, or not at all.
    Direct,
    /// Through this machine.
    Relay,
}

/// When the way back of a pair ends, once its target has its full share and the last watch has passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Until {
    /// After this time.
    After(Duration),
    /// When somebody commits.
    Commit,
}

impl std::fmt::Display for Until {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::After(time) => write!(f, "for {}", crate::text::duration(*time)),
            Self::Commit => f.write_str("until somebody commits"),
        }
    }
}

/// How long a pair may be frozen, and what happens then: it goes back into service, and that is tried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Freeze {
    /// From the first step of the freeze on until the target could take writes.
    pub within: Duration,
    /// How often it is tried in all.
    pub attempts: u32,
    /// Between two of them.
    pub pause: Duration,
}

/// What happens when a drain misses its deadline.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnDeadline {
    /// Leave it drained, stop and ask.
    Hold,
    /// Put its traffic back as it was, then stop and ask.
    Restore,
    /// Go on with the connections that are left.
    Proceed,
}

/// What keeps clients that come by another way than the director from a drained source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DrainFence {
    /// nftables on the source refuses new connections to the service's port.
    Firewall,
}

impl DrainFence {
    /// The words in plans.
    pub const WORDS: [(&str, Self); 1] = [("firewall", Self::Firewall)];
}

/// What happens when a member of a pool is found otherwise than the run has set it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnDrift {
    /// Stop and ask.
    #[default]
    Hold,
    /// Set it again.
    Restore,
}

impl OnDrift {
    /// The words in plans.
    pub const WORDS: [(&str, Self); 2] = [("hold", Self::Hold), ("restore", Self::Restore)];

    /// The word in plans.
    pub fn name(self) -> &'static str {
        match self {
            Self::Hold => "hold",
            Self::Restore => "restore",
        }
    }
}

impl OnDeadline {
    /// The word in plans.
    pub fn name(self) -> &'static str {
        match self {
            Self::Hold => "hold",
            Self::Restore => "restore",
            Self::Proceed => "proceed",
        }
    }
}
