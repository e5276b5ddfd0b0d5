//! Traffic directors: whatever decides where traffic goes.
//!
//! Owns the list of kinds there are, what each says of itself ([`DirectorKind`]), and the trait that the engine acts through
//! ([`Director`]). A new director is one folder beside these and one line in [`DirectorConfig`]. A director must never report
//! a write as done that it has not read back from every place that answers.

pub mod cloud_dns;
pub mod command;
pub mod commands;
pub mod dial;
pub mod dns;
pub mod haproxy;
mod hosted;
mod kind;
pub mod nginx;
mod over_ssh;
pub mod powerdns;
pub mod route53;
pub mod softlayer_dns;
pub mod softlayer_lb;
pub mod trial;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use crate::fields::kinds::kinds;
use crate::model::{Capabilities, Change, Ended, Kept, Pool, PoolFacts, Rewrite};
use crate::outside::{Error, Kind};
use crate::secret::Secrets;
pub use commands::{Commands, OnHosts};
pub use dial::{Dial, DialError, Stream};
use kind::misnamed;
pub use kind::{DirectorKind, Intent, ReachedShare};
pub use over_ssh::OverSsh;

kinds! {
    /// The settings of a director, by kind. Each kind is one line here and one folder of its own.
    pub enum DirectorConfig: DirectorKind {
        Haproxy(haproxy::Settings),
        Dns(dns::Settings),
        Command(command::Settings),
        Nginx(nginx::Settings),
        SoftLayerDns(softlayer_dns::Settings),
        SoftLayerLb(softlayer_lb::Settings),
        Route53(route53::Settings),
        CloudDns(cloud_dns::Settings),
        PowerDns(powerdns::Settings),
        #[cfg(test)]
        WeightsFile(sample::Settings),
    }
}

/// The longest time that others may be told to cache an answer (RFC 2181: 31 bits of seconds).
pub const MAX_TTL: Duration = Duration::from_secs(0x7fff_ffff);

/// Whatever decides where traffic goes.
#[async_trait]
pub trait Director: Send + Sync {
    /// What it can do.
    fn capabilities(&self) -> Capabilities;

    /// Reads a pool from every place that answers; an error when they disagree or one is silent.
    async fn observe(&self, pool: &str) -> Result<Pool, Error>;

    /// The names of its pools; empty where it cannot tell.
    async fn pools(&self) -> Result<Vec<String>, Error> {
        Ok(Vec::new())
    }

    /// What decides who gets how much of a pool besides what [`observe`](Self::observe) tells. For plans: it may take its time.
    async fn facts(&self, _pool: &str) -> Result<PoolFacts, Error> {
        Ok(PoolFacts::default())
    }

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

    /// Ends up to `most` of the sessions of a member, those first that have been there longest, and tells what it has besides. Sessions that
    /// have ended by themselves meanwhile are no error. Refused where [`Capabilities::ends_sessions`] is false.
    async fn end_sessions(&self, pool: &str, _member: &str, _most: u64) -> Result<Ended, Error> {
        Err(Error::new(pool, Kind::Refused, "the director cannot end single sessions"))
    }

    /// What could have changed members during the last `since`, besides people: a reload, another program. Empty where nothing is known.
    async fn clues(&self, _pool: &str, _members: &[&str], _since: Duration) -> Vec<String> {
        Vec::new()
    }

    /// Whether members stay as they are set when the director starts anew, by what it reads then.
    async fn kept(&self, _pool: &str, _wanted: &[Change]) -> Result<Kept, Error> {
        Ok(Kept::noted("the director does not tell what a restart makes of it"))
    }

    /// What has to change in what it reads then so that they do. Changes nothing; an error where only a person can change it.
    async fn rewrites(&self, _pool: &str, _wanted: &[Change]) -> Result<Vec<Rewrite>, Error> {
        Ok(Vec::new())
    }

    /// Makes such changes, and reads them back: all or none, and only where a file is what it was when they were made out. `back`: they are
    /// what takes others back. Says what was done.
    async fn rewrite(&self, _rewrites: &[Rewrite], _back: bool) -> Result<String, Error> {
        Ok("nothing had to change".to_owned())
    }

    /// Whether writes to the pool would be let in, found out without writing: level of the socket, TSIG key, frozen zone.
    async fn writable(&self, pool: &str) -> Result<(), Error>;
}

/// What directors need from the world around them.
#[derive(Clone)]
pub struct Context {
    /// Looks up keys and tokens, at each write.
    pub secrets: Arc<dyn Secrets>,
    /// Opens byte streams to runtime APIs.
    pub dial: Arc<dyn Dial>,
    /// Runs commands on hosts.
    pub commands: Arc<dyn Commands>,
}

#[cfg(test)]
mod sample;
#[cfg(test)]
mod tests;
