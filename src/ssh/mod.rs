//! Commands and streams on hosts, over SSH.
//!
//! Owns connections and who may be trusted. Must never trust an unknown or changed host key, never put a secret
//! into a remote argv, and never let remote bytes reach a terminal unescaped.

mod auth;
pub mod beside;
pub mod config;
pub mod connections;
mod exec;
pub mod facts;
pub mod known_hosts;
mod openssh;
pub mod pool;
mod quote;
pub mod receipt;
mod session;
pub mod stream;
mod upload;

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;

use crate::model::Host;

pub(crate) use beside::round_trip;
pub use config::Environment;
pub use connections::{ConnectionCount, connections};
pub use facts::{Facts, PathFacts, facts};
pub use pool::{Options, Pool};
pub(crate) use quote::command_line;
pub use receipt::{Key, KeyedOutcome};
pub(crate) use session::ciphers;
pub use stream::{Exit, Stream};
pub use upload::Upload;

/// A command for a remote POSIX shell.
#[derive(Debug, Clone, Default)]
pub struct Command {
    /// The script, run by `sh`. Sent by standard input with its length and SHA-256 on the command line, and refused by the
    /// remote side when it arrives cut.
    pub script: String,
    /// Positional parameters `$1`…; any bytes but NUL survive.
    pub args: Vec<String>,
    /// Environment of the script, sent with it by standard input: the place for secrets.
    pub env: BTreeMap<String, String>,
    /// How long it may take. `None`: 30 s.
    pub timeout: Option<Duration>,
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

/// Runs commands on hosts.
#[async_trait]
pub trait Remote: Send + Sync {
    /// Runs a command to its end.
    async fn run(&self, host: &Host, command: &Command) -> Result<Output, SshError>;
}

/// Why a command did not run to its end.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{host}: {what}")]
pub struct SshError {
    /// Inventory name and address: `dal-1 (root@127.0.10.1:2201)`.
    pub host: String,
    /// What the engine has to know.
    pub kind: SshErrorKind,
    /// What happened and why, in one sentence, escaped.
    pub what: String,
    /// What to do next.
    pub hint: Option<String>,
}

impl SshError {
    pub(crate) fn new(host: impl Into<String>, kind: SshErrorKind, what: impl Into<String>) -> Self {
        Self { host: host.into(), kind, what: what.into(), hint: None }
    }

    pub(crate) fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

/// What the engine has to know about a failed SSH call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SshErrorKind {
    /// No connection could be made: the command did not run.
    Unreachable,
    /// The host's key is not in known_hosts: the command did not run.
    UnknownHostKey,
    /// The host's key is another than the known one: the command did not run.
    ChangedHostKey,
    /// No key was accepted: the command did not run.
    LoginRefused,
    /// The connection broke or time ran out while the command ran: whether it did its work is unknown.
    Interrupted,
    /// Settings on this side are wrong (key file, ssh_config): the command did not run.
    Config,
    /// The host was reached, but what was asked for cannot be done there: nothing was done.
    Failed,
}
