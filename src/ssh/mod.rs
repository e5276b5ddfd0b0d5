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
use crate::outside::Error;

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
    async fn run(&self, host: &Host, command: &Command) -> Result<Output, Error>;
}
