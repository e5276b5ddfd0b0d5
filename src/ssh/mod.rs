//! Commands and streams on hosts, over SSH.
//!
//! Owns connections and who may be trusted. Must never trust an unknown or changed host key, never put a secret
//! into a remote argv, and never let remote bytes reach a terminal unescaped.

mod auth;
mod certificate;
pub mod config;
mod connections;
mod dial;
mod exec;
mod facts;
pub mod here;
mod hosts;
mod idle;
pub mod known_hosts;
mod launch;
mod openssh;
pub mod pool;
mod privileges;
mod proxy;
mod quote;
mod receipt;
mod session;
pub mod shared_connection;
pub mod stream;
mod upload;

use async_trait::async_trait;

use crate::host::{Command, Output};
use crate::model::Host;
use crate::outside::Error;

pub use auth::{keys_of_agent, keys_of_files};
pub use config::Environment;
pub use here::OrHere;
pub(crate) use launch::bound_command;
pub use pool::{Options, Pool};
pub use stream::{Exit, Stream};
pub use upload::Upload;

/// Runs commands on hosts. Whoever does is one of [`Hosts`](crate::host::Hosts), too.
#[async_trait]
pub trait Remote: Send + Sync {
    /// Runs a command to its end.
    async fn run(&self, host: &Host, command: &Command) -> Result<Output, Error>;
}
