//! HAProxy through its runtime API: over TCP, a unix socket, or a unix socket on a host reached by SSH.
//!
//! Must never write to one of several instances before all of them have been read and know every name.

mod instance;
mod merge;
mod parse;
mod refusal;
mod wire;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use self::instance::{Instance, Reading};
use super::{Dial, Director};
use crate::model::{Capabilities, Change, Pool, Weights};
use crate::outside::{Certainty, Error, Kind};

/// Largest weight of a server.
const MAX_WEIGHT: u16 = 256;

/// How many clients [`Director::blockers`] names.
const BLOCKERS: usize = 10;

/// Where HAProxy's runtime API answers. Every endpoint is one process (or one master CLI); all are written and read back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HaproxyConfig {
    /// All HAProxy instances that share the traffic.
    pub endpoints: Vec<Endpoint>,
}

/// One runtime API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Endpoint {
    /// `host:port`.
    Tcp(String),
    /// A socket on this machine.
    Unix(std::path::PathBuf),
    /// A socket on an inventory host, reached by SSH.
    Ssh {
        /// Inventory name of the host.
        host: String,
        /// Path of the socket there.
        path: String,
    },
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => write!(f, "tcp {address}"),
            Self::Unix(path) => write!(f, "unix {}", path.display()),
            Self::Ssh { host, path } => write!(f, "unix {path} on {host}"),
        }
    }
}

/// The HAProxy instances of one director.
pub struct Haproxy {
    name: String,
    instances: Vec<Instance>,
}

impl Haproxy {
    /// A director over these endpoints. Contacts nobody yet.
    pub fn new(name: &str, config: &HaproxyConfig, dial: Arc<dyn Dial>) -> Result<Self, Error> {
        if config.endpoints.is_empty() {
            return Err(refused(name, "it has no endpoint").hint("name at least one runtime API under `endpoints`"));
        }
        let instances = config.endpoints.iter().map(|e| Instance::new(name, e, dial.clone())).collect();
        Ok(Self { name: name.to_owned(), instances })
    }

    /// Every endpoint's view, one after the other; the first that is silent is an error.
    async fn read_all(&self, pool: &str) -> Result<Vec<Reading>, Error> {
        self.check_name("backend", pool)?;
        let mut readings = Vec::with_capacity(self.instances.len());
        for instance in &self.instances {
            readings.push(instance.read(pool).await?);
        }
        Ok(readings)
    }

    fn check_name(&self, what: &str, name: &str) -> Result<(), Error> {
        if wire::is_name(name) {
            return Ok(());
        }
        let shown = crate::text::escape(name.as_bytes(), 80);
        Err(refused(&self.name, format!("`{shown}` cannot be the name of a {what}"))
            .hint("HAProxy's names are made of letters, digits, `-`, `_`, `.` and `:`"))
    }

    /// Everything that can be known to be wrong before the first write.
    fn check(&self, pool: &str, changes: &[Change], readings: &[Reading]) -> Result<(), Error> {
        for change in changes {
            self.check_name("server", &change.member)?;
            if change.weight > MAX_WEIGHT {
                let what = format!("weight {} of {pool}/{} is over {MAX_WEIGHT}", change.weight, change.member);
                return Err(refused(&self.name, what));
            }
        }
        for place in readings.iter().flat_map(|r| &r.places) {
            place.check_level(&self.name)?;
            for change in changes {
                if place.members.iter().any(|m| m.name == change.member) {
                    continue;
                }
                let names: Vec<String> = place.members.iter().map(|m| m.name.clone()).collect();
                return Err(refused(
                    &format!("{} ({})", self.name, place.at),
                    format!("backend `{pool}` has no server `{}`", change.member),
                )
                .hint(refusal::known(&change.member, "servers", &names)));
            }
        }
        Ok(())
    }

    async fn write(&self, pool: &str, changes: &[Change], readings: &mut [Reading]) -> Result<(), Error> {
        let mut written = Vec::new();
        for change in changes {
            for (instance, reading) in self.instances.iter().zip(readings.iter_mut()) {
                for place in &mut reading.places {
                    for command in place.commands(pool, change) {
                        instance.set(place, &command).await.map_err(|e| partly(e, &written))?;
                        written.push(format!("`{command}` at {}", place.at));
                    }
                    place.note(change);
                }
            }
        }
        Ok(())
    }
}

#[async_trait]
impl Director for Haproxy {
    fn capabilities(&self) -> Capabilities {
        Capabilities { weights: Weights::Exact(MAX_WEIGHT), connections: true, drain: true, ttl: false }
    }

    async fn observe(&self, pool: &str) -> Result<Pool, Error> {
        merge::pool(&self.name, pool, &self.read_all(pool).await?)
    }

    async fn apply(&self, pool: &str, changes: &[Change]) -> Result<Pool, Error> {
        // Endpoints that disagree are no reason to stop here: an earlier run may have been cut off between two of them.
        let mut readings = self.read_all(pool).await.map_err(Error::nothing_changed)?;
        self.check(pool, changes, &readings).map_err(Error::nothing_changed)?;
        self.write(pool, changes, &mut readings).await?;
        let pool = self.observe(pool).await?;
        merge::confirm(&self.name, &pool, changes)?;
        Ok(pool)
    }

    async fn set_ttl(&self, _pool: &str, _ttl: Duration) -> Result<Pool, Error> {
        Err(refused(&self.name, "HAProxy has no TTL to set").hint("leave `ttl` out of this service's `traffic`"))
    }

    async fn settled(&self, _pool: &str) -> Result<Option<String>, Error> {
        Ok(None)
    }

    async fn blockers(&self, pool: &str, member: &str) -> Result<Vec<String>, Error> {
        self.check_name("backend", pool)?;
        self.check_name("server", member)?;
        let mut found = Vec::new();
        for instance in &self.instances {
            found.extend(instance.sessions(pool, member).await?);
        }
        found.truncate(BLOCKERS);
        Ok(found)
    }

    async fn writable(&self, pool: &str) -> Result<(), Error> {
        self.check(pool, &[], &self.read_all(pool).await?)
    }
}

fn refused(director: &str, what: impl Into<String>) -> Error {
    Error::new(director, Kind::Refused, what)
}

/// After the first write a refusal no longer means that nothing changed.
fn partly(mut error: Error, written: &[String]) -> Error {
    if written.is_empty() {
        return error;
    }
    if error.kind == Kind::Refused {
        (error.kind, error.certainty) = (Kind::Disagrees, Certainty::Unknown);
    }
    error.what.push_str(&format!("; done before: {}", crate::text::list(written)));
    error
}
