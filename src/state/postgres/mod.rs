//! A cluster of PostgreSQL, carried by its own replication: as a whole by its WAL, or some of its databases by publication and subscription.
//!
//! Owns what both ways have in common, and which of them is taken. The commands of a way are those of a replica like any other.

mod choice;
mod findings;
mod logical;
mod physical;
mod pooler;
mod read;

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::replica::Limits;
use super::replica::script::Script;
use super::replica::steps::{Back, Commands, Judge, Replicated};
use super::server::{self, Known, commands};
use super::{Carried, Replicates, Risk};
use crate::model::finding::Finding;
use crate::model::{Host, Side, Template};
use crate::step::{Replica, ReplicaRun};
use choice::Choice;

/// A cluster of PostgreSQL.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PostgresState {
    /// The one on the source.
    pub from: Box<Cluster>,
    /// The one that the target gets.
    pub to: Box<Cluster>,
    /// How the target reaches the source.
    pub link: Link,
    /// How the source reaches the target, once that serves; `None` where nothing comes back.
    pub back: Option<Link>,
    /// Which way it moves.
    pub method: Method,
    /// The databases that move by logical replication.
    pub databases: Vec<String>,
    /// The role that local commands use.
    pub role: String,
    /// What stands in front of it, so that its clients only wait.
    pub pooler: Option<Box<pooler::Pooler>>,
    /// Bytes per second of the base copy.
    pub bandwidth: Option<u64>,
    /// Bounds.
    pub limits: Limits,
}

/// The ways in which a cluster moves.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Method {
    /// As what both sides say makes possible.
    #[default]
    Auto,
    /// As a whole: a base copy, and a standby that streams.
    Physical,
    /// Some of its databases, row by row, also to another version.
    Logical,
}

/// A cluster on one side.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cluster {
    /// Its data directory.
    pub data: Template,
    /// Where the server's programs are; `None`: where Debian has those of its version.
    pub bin: Option<Template>,
    /// The port.
    pub port: Template,
    /// The directory of its socket.
    pub socket: Template,
    /// The user of the system that it belongs to.
    pub user: Template,
    /// Starts it; `None`: `pg_ctl` does.
    pub start: Option<Template>,
    /// Stops it; `None`: `pg_ctl` does.
    pub stop: Option<Template>,
    /// What `pg_ctl` gives to the server.
    pub options: Option<Template>,
}

/// How one side reaches the other.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Link {
    /// The role that may replicate.
    pub user: String,
    /// The name or address of the other side; `None`: its address in the inventory.
    pub host: Option<Template>,
    /// A file on the side that asks, which holds the password.
    pub passfile: Option<Template>,
    /// Whether it is encrypted, and how the other side proves who it is.
    pub sslmode: Option<String>,
}

impl Replicates for PostgresState {
    fn one_writer(&self) -> &'static str {
        "a cluster of PostgreSQL has one writer"
    }

    fn comes_back(&self) -> bool {
        self.back.is_some()
    }

    fn risks(&self) -> Vec<Risk> {
        let unbounded = Risk {
            what: "has clients that see errors when PostgreSQL changes hands: their connections end with the fence",
            hint: "let them connect again by themselves, to wherever the writer is, or come through a `pooler`",
        };
        let early = Risk {
            what: "has clients that wait in a pooler for no longer than PostgreSQL may be closed: they would be let go to a server that is",
            hint: "keep `resumes_after` of the pooler above `freeze_within`",
        };
        match &self.pooler {
            None => vec![unbounded],
            Some(pooler) if pooler.resumes_after <= self.limits.freeze_within => vec![early],
            Some(_) => Vec::new(),
        }
    }

    fn between<'a>(
        &'a self,
        source: &'a Host,
        target: &'a Host,
        job: String,
    ) -> Result<Box<dyn Carried + 'a>, Finding> {
        let carried = |way: &Way, job: &str| self.carried(way, source, target, job);
        let cluster: Box<dyn Carried + 'a> = match self.method {
            Method::Physical => Box::new(carried(&physical::WAY, &job)?),
            Method::Logical => Box::new(carried(&logical::WAY, &job)?),
            Method::Auto => {
                // Both are asked, under names of their own.
                let named = !self.databases.is_empty();
                let logical = named.then(|| carried(&logical::WAY, &format!("logical.{job}"))).transpose()?;
                Box::new(Choice::between(carried(&physical::WAY, &job)?, logical))
            }
        };
        match &self.pooler {
            Some(pooler) => pooler.before(cluster, &self.to, target, &job),
            None => Ok(cluster),
        }
    }

    fn others(&self) -> Vec<&str> {
        self.pooler.iter().map(|pooler| pooler.on.as_str()).collect()
    }

    fn clients_wait(&self) -> Option<(&'static str, Duration)> {
        self.pooler.as_ref().map(|pooler| ("resumes_after", pooler.resumes_after))
    }
}

/// One way of moving.
struct Way {
    /// All that is done on the hosts.
    script: Script,
    /// Where the lag is asked.
    lag: Side,
    /// Whether rows can be compared.
    compares: bool,
    /// What is done on the way there; `true`: so that something can come back.
    runs: fn(bool) -> Vec<ReplicaRun>,
    /// What lets the old cluster follow the new one.
    runs_back: fn() -> Vec<ReplicaRun>,
    /// What speaks against it.
    judge: Judge,
}

impl Way {
    fn commands(&self, runs: Vec<ReplicaRun>) -> Commands {
        let digest = self.compares.then(|| self.script.both("digest"));
        Commands { digest, ..commands(&self.script, self.lag, runs) }
    }
}

impl PostgresState {
    /// It between two hosts, on one way.
    fn carried(&self, way: &Way, source: &Host, target: &Host, job: &str) -> Result<Replicated, Finding> {
        let (old, new) = ((&*self.from, source), (&*self.to, target));
        let back = match &self.back {
            None => None,
            Some(link) => Some(Box::new(Back {
                replica: self.replica(way, link, new, old, job, false)?,
                commands: way.commands((way.runs_back)()),
            })),
        };
        let replica = self.replica(way, &self.link, old, new, job, back.is_some())?;
        let commands = way.commands((way.runs)(back.is_some()));
        Ok(Replicated { kind: "postgres", replica, commands, back, limits: self.limits, judge: way.judge })
    }

    /// As the steps know it, for the roles that the clusters have.
    fn replica(
        &self,
        way: &Way,
        link: &Link,
        from: (&Cluster, &Host),
        to: (&Cluster, &Host),
        job: &str,
        comes_back: bool,
    ) -> Result<Replica, Finding> {
        let rate = self.bandwidth.map(|bytes| format!("--max-rate={}k", (bytes >> 10).clamp(32, 1 << 20)));
        let (known_from, known_to) = (from.0.known(from.1)?, to.0.known(to.1)?);
        let mut replica = server::replica(&way.script, known_from, known_to, job, self.limits.timeout);
        let values = [
            ("PG_LINK", link.conninfo(from.0, from.1, to.1)?),
            ("PG_LINK_USER", link.user.clone()),
            ("PG_ROLE", self.role.clone()),
            ("PG_RATE", rate.unwrap_or_default()),
            ("PG_DATABASES", self.databases.join(" ")),
            ("PG_BACK", if comes_back { "yes" } else { "" }.to_owned()),
        ];
        replica.env.extend(values.map(|(name, value)| (name.to_owned(), value)));
        Ok(replica)
    }
}

impl Cluster {
    fn known<'h>(&self, host: &'h Host) -> Result<Known<'h>, Finding> {
        let plain = |template: &Option<Template>| template.as_ref().map(|t| host.fill(t)).transpose();
        let command = |template: &Option<Template>| template.as_ref().map(|t| host.fill_command(t)).transpose();
        let env = vec![
            ("DATA", host.fill(&self.data)?),
            ("BIN", plain(&self.bin)?.unwrap_or_default()),
            ("PORT", host.fill(&self.port)?),
            ("SOCKET", host.fill(&self.socket)?),
            ("USER", host.fill(&self.user)?),
            ("START", command(&self.start)?.unwrap_or_default()),
            ("STOP", command(&self.stop)?.unwrap_or_default()),
            ("OPTIONS", plain(&self.options)?.unwrap_or_default()),
        ];
        Ok(Known { host, env, password: None })
    }
}

impl Link {
    /// As PostgreSQL reads it. No password is ever in it: everybody who may look at the target's settings sees it.
    fn conninfo(&self, from: &Cluster, source: &Host, target: &Host) -> Result<String, Finding> {
        let host = server::address(self.host.as_ref(), source)?;
        let mut words = vec![
            format!("host={host}"),
            format!("port={}", source.fill(&from.port)?),
            format!("user={}", self.user),
            format!("application_name={}", target.name),
        ];
        if let Some(passfile) = &self.passfile {
            words.push(format!("passfile={}", target.fill(passfile)?));
        }
        words.extend(self.sslmode.iter().map(|mode| format!("sslmode={mode}")));
        Ok(words.join(" "))
    }
}
