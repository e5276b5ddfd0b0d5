//! Traffic directors: whatever decides where traffic goes.
//!
//! Owns the one trait that planner and engine use, and the list of kinds there are. A new director is one
//! folder beside these and one line in [`DirectorConfig`]. A director must never report a write as done that it has
//! not read back from every place that answers.

pub mod dial;
pub mod haproxy;
mod over_ssh;
pub mod rfc2136;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use crate::model::{Capabilities, Change, Pool, Weights};
use crate::outside::Error;
use crate::secret::Secrets;
pub use dial::{Dial, DialError, Stream};
pub use haproxy::HaproxyConfig;
pub use over_ssh::OverSsh;
pub use rfc2136::Rfc2136Config;

/// The settings of a director, by kind.
#[derive(Debug, Clone, PartialEq)]
pub enum DirectorConfig {
    /// HAProxy's runtime API.
    Haproxy(HaproxyConfig),
    /// A DNS zone with dynamic updates.
    Rfc2136(Rfc2136Config),
}

/// Whatever decides where traffic goes.
#[async_trait]
pub trait Director: Send + Sync {
    /// What it can do.
    fn capabilities(&self) -> Capabilities;

    /// Reads a pool from every place that answers; an error when they disagree or one is silent.
    async fn observe(&self, pool: &str) -> Result<Pool, Error>;

    /// Makes the changes, in order, and reads them back everywhere. Returns the pool afterwards.
    async fn apply(&self, pool: &str, changes: &[Change]) -> Result<Pool, Error>;

    /// Sets how long others may cache the pool. An error where [`Capabilities::ttl`] is false.
    async fn set_ttl(&self, pool: &str, ttl: Duration) -> Result<Pool, Error>;

    /// Asks the listed resolvers, if any, whether they answer what the director says. `Ok(None)`: they do;
    /// `Ok(Some(text))`: what still answers otherwise, for people.
    async fn settled(&self, pool: &str) -> Result<Option<String>, Error>;

    /// Who still holds on to a member: up to ten clients, each with how long it has been there. Empty where the director
    /// cannot know.
    async fn blockers(&self, _pool: &str, _member: &str) -> Result<Vec<String>, Error> {
        Ok(Vec::new())
    }

    /// Whether writes to the pool would be let in, found out without writing: level of the socket, TSIG key, frozen zone.
    async fn writable(&self, pool: &str) -> Result<(), Error>;
}

/// What directors need from the world around them.
#[derive(Clone)]
pub struct Context {
    /// Looks up TSIG secrets, at each update.
    pub secrets: Arc<dyn Secrets>,
    /// Opens byte streams to runtime APIs.
    pub dial: Arc<dyn Dial>,
}

/// The director behind the settings. Contacts nobody yet; an error when the settings cannot work.
pub fn connect(name: &str, config: &DirectorConfig, context: &Context) -> Result<Arc<dyn Director>, Error> {
    match config {
        DirectorConfig::Haproxy(config) => Ok(Arc::new(haproxy::Haproxy::new(name, config, context.dial.clone())?)),
        DirectorConfig::Rfc2136(config) => Ok(Arc::new(rfc2136::Zone::new(name, config, context.secrets.clone())?)),
    }
}

impl DirectorConfig {
    /// What directors of this kind can do, without asking one.
    pub fn capabilities(&self) -> Capabilities {
        match self {
            Self::Haproxy(_) => {
                Capabilities { weights: Weights::Exact(256), connections: true, drain: true, ttl: false }
            }
            Self::Rfc2136(_) => {
                Capabilities { weights: Weights::Presence, connections: false, drain: false, ttl: true }
            }
        }
    }
}
