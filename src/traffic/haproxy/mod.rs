//! HAProxy through its runtime API: over TCP, a unix socket, or a unix socket on a host reached by SSH.
//!
//! Must never write to one of several instances before all of them have been read and know every name.

mod advice;
pub mod config;
mod facts;
mod files;
mod instance;
mod keep;
mod kind;
mod merge;
mod parse;
mod refusal;
mod rewrite;
mod sessions;
mod settings;
mod wire;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use self::config::Config;
use self::files::Machine;
use self::instance::{Instance, Reading};
use self::kind::{CAPABILITIES, MAX_WEIGHT};
use super::{Commands, Context, Director, misnamed};
use crate::model::{Capabilities, Change, Ended, Kept, Mode, Pool, PoolFacts, Rewrite, Stored};
use crate::outside::{Certainty, Error, Kind};

pub use self::settings::{ConfigPath, Endpoint, Settings};

/// The HAProxy instances of one director.
pub struct Haproxy {
    name: String,
    instances: Vec<Instance>,
    settings: Settings,
    commands: Arc<dyn Commands>,
}

impl Haproxy {
    /// A director over these endpoints. Contacts nobody yet.
    pub fn new(name: &str, settings: &Settings, context: &Context) -> Result<Self, Error> {
        if settings.endpoints.is_empty() {
            return Err(refused(name, "it has no endpoint").hint("name at least one runtime API under `endpoints`"));
        }
        let instances = settings.endpoints.iter().map(|e| Instance::new(name, e, context.dial.clone())).collect();
        let commands = context.commands.clone();
        Ok(Self { name: name.to_owned(), instances, settings: settings.clone(), commands })
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
        kind::check(what, name).map_err(|unfit| misnamed(&self.name, name, unfit))
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
        for process in readings.iter().flat_map(|r| &r.processes) {
            process.check_level(&self.name)?;
            for change in changes {
                if process.members.iter().any(|m| m.name == change.member) {
                    continue;
                }
                let names: Vec<String> = process.members.iter().map(|m| m.name.clone()).collect();
                return Err(refused(
                    &format!("{} ({})", self.name, process.at),
                    format!("backend `{pool}` has no server `{}`", change.member),
                )
                .hint(refusal::known(&change.member, "servers", &names)));
            }
        }
        Ok(())
    }

    /// What a start of HAProxy would make of a backend on one machine.
    async fn stored_on(&self, machine: &Machine, config: Result<&Config, &String>, pool: &str) -> Stored {
        let path = config.ok().and_then(|config| keep::state_path(config, pool));
        let saved = match path {
            None => None,
            Some(path) => {
                let text = files::one(machine.host.as_deref(), &path, self.commands.as_ref()).await;
                Some(keep::Saved { text: text.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()), path })
            }
        };
        keep::stored(&machine.at, config, pool, saved.as_ref())
    }

    /// Nobody is led to servers in maintenance by a stick table: that of the backend, and those that its rules name.
    async fn unpin(&self, pool: &str, changes: &[Change], readings: &[Reading]) -> Result<(), Error> {
        let out: Vec<&str> = changes.iter().filter(|c| c.mode == Mode::Maint).map(|c| c.member.as_str()).collect();
        if out.is_empty() {
            return Ok(());
        }
        let mut tables = vec![pool.to_owned()];
        for machine in files::read(&self.settings, self.commands.as_ref()).await {
            let config = machine.config().unwrap_or_default();
            tables.extend(
                config
                    .backend(pool)
                    .into_iter()
                    .flat_map(|backend| backend.stick_tables().map(str::to_owned).collect::<Vec<_>>()),
            );
        }
        tables.sort();
        tables.dedup();
        for (instance, reading) in self.instances.iter().zip(readings) {
            for process in &reading.processes {
                instance.unpin(process, &tables, &out).await?;
            }
        }
        Ok(())
    }

    async fn write(&self, pool: &str, changes: &[Change], readings: &mut [Reading]) -> Result<(), Error> {
        let mut written = Vec::new();
        for (instance, reading) in self.instances.iter().zip(readings.iter_mut()) {
            for process in &mut reading.processes {
                let mut commands = Vec::new();
                for change in changes {
                    commands.extend(process.commands(pool, change));
                    process.note(change);
                }
                instance.set(process, &commands, &mut written).await.map_err(|e| partly(e, &written))?;
            }
        }
        Ok(())
    }
}

#[async_trait]
impl Director for Haproxy {
    fn capabilities(&self) -> Capabilities {
        CAPABILITIES
    }

    async fn observe(&self, pool: &str) -> Result<Pool, Error> {
        merge::pool(&self.name, pool, &self.read_all(pool).await?)
    }

    async fn pools(&self) -> Result<Vec<String>, Error> {
        match self.instances.first() {
            Some(instance) => instance.backends().await,
            None => Ok(Vec::new()),
        }
    }

    async fn facts(&self, pool: &str) -> Result<PoolFacts, Error> {
        self.check_name("backend", pool)?;
        let mut running = Vec::new();
        for instance in &self.instances {
            running.extend(instance.facts(pool).await?);
        }
        let mut stored = Vec::new();
        let mut written = Vec::new();
        for machine in files::read(&self.settings, self.commands.as_ref()).await {
            let config = machine.config();
            stored.push(self.stored_on(&machine, config.as_ref(), pool).await);
            written.push((machine.at, config));
        }
        Ok(PoolFacts { stored, ..facts::pool(pool, running, &written) })
    }

    async fn apply(&self, pool: &str, changes: &[Change]) -> Result<Pool, Error> {
        // Endpoints that disagree are no reason to stop here: an earlier run may have been cut off between two of them.
        let mut readings = self.read_all(pool).await.map_err(Error::nothing_changed)?;
        self.check(pool, changes, &readings).map_err(Error::nothing_changed)?;
        self.write(pool, changes, &mut readings).await?;
        let now = self.observe(pool).await?;
        merge::confirm(&self.name, &now, changes)?;
        self.unpin(pool, changes, &readings).await?;
        Ok(now)
    }

    async fn set_ttl(&self, _pool: &str, _ttl: Duration) -> Result<Pool, Error> {
        Err(refused(&self.name, "HAProxy has no TTL to set").hint("leave `ttl` out of this service's `traffic`"))
    }

    async fn settled(&self, _pool: &str) -> Result<Option<String>, Error> {
        Ok(None)
    }

    async fn blockers(&self, pool: &str, member: &str) -> Result<Vec<String>, Error> {
        self.holders(pool, member).await
    }

    async fn end_sessions(&self, pool: &str, member: &str, most: u64) -> Result<Ended, Error> {
        self.end_some(pool, member, most).await
    }

    async fn clues(&self, pool: &str, members: &[&str], since: Duration) -> Vec<String> {
        let mut clues = Vec::new();
        for instance in &self.instances {
            clues.extend(instance.clues(pool, members, since).await);
        }
        clues
    }

    async fn kept(&self, pool: &str, wanted: &[Change]) -> Result<Kept, Error> {
        let mut stored = Vec::new();
        for machine in files::read(&self.settings, self.commands.as_ref()).await {
            stored.push(self.stored_on(&machine, machine.config().as_ref(), pool).await);
        }
        Ok(keep::kept(&stored, wanted, |_| None))
    }

    async fn rewrites(&self, pool: &str, wanted: &[Change]) -> Result<Vec<Rewrite>, Error> {
        self.needed(pool, wanted).await
    }

    async fn rewrite(&self, rewrites: &[Rewrite], back: bool) -> Result<String, Error> {
        self.make(rewrites, back).await
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
