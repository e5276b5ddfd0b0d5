//! A server of Redis or Valkey, carried by its own replication: a replica that follows, and changes roles with its source.
//!
//! Owns the commands, which are those of a replica like any other. Whom a server follows is not in its configuration unless somebody writes
//! it there: every change of roles does.

mod read;

use serde::{Deserialize, Serialize};

use super::replica::Limits;
use super::replica::answers::Answers;
use super::replica::script::Script;
use super::replica::steps::{Back, Commands, Replicated};
use super::server::{self, Known};
use super::{Carried, Replicates, Risk};
use crate::model::finding::Finding;
use crate::model::{Host, Side, Template};
use crate::secret::SecretRef;
use crate::step::{Live, Replica, ReplicaRun, Verb};

/// All that is done on the hosts.
const SCRIPT: Script = Script { variable: "MIGRATE_REDIS", prefix: "REDIS", text: include_str!("server.sh") };

/// A server and the one that takes its place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RedisState {
    /// On the source.
    pub from: Box<Server>,
    /// On the target.
    pub to: Box<Server>,
    /// Bounds.
    pub limits: Limits,
}

/// A server on one side.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Server {
    /// Its configuration file.
    pub config: Template,
    /// Where local commands find it.
    pub host: Template,
    /// The port, also that of the link.
    pub port: Template,
    /// Where the other side finds it; `None`: the address of its host in the inventory.
    pub address: Option<Template>,
    /// The words that begin a command of its client; `None`: the client that is there.
    pub cli: Option<Template>,
    /// Whom it knows this move as; `None`: its default user.
    pub user: Option<String>,
    /// That one's password.
    pub password: Option<SecretRef>,
}

impl Replicates for RedisState {
    fn one_writer(&self) -> &'static str {
        "a server of Redis has one master"
    }

    fn comes_back(&self) -> bool {
        true
    }

    fn risks(&self) -> Vec<Risk> {
        let refused = Risk {
            what: "has clients that see errors when Redis changes hands: the old server refuses writes from then on",
            hint: "let them try again, to wherever the master is",
        };
        vec![refused]
    }

    fn between<'a>(
        &'a self,
        source: &'a Host,
        target: &'a Host,
        job: String,
    ) -> Result<Box<dyn Carried + 'a>, Finding> {
        let on = |verb, side, run, done_when, undo| SCRIPT.run(verb, side, run, done_when, undo);
        let runs = vec![
            on(Verb::Prepare, Side::Source, "prepare", Some("prepared"), Some("forget")),
            on(Verb::Prepare, Side::Target, "prepare", Some("prepared"), Some("forget")),
            on(Verb::Seed, Side::Target, "seed", None, Some("unseed")),
            on(Verb::Link, Side::Target, "link", Some("linked"), None),
            on(Verb::Release, Side::Source, "release", None, None),
            on(Verb::Release, Side::Target, "release", None, None),
        ];
        let runs_back = vec![on(Verb::Back, Side::Target, "link", Some("linked"), Some("unlink"))];
        let back = Back {
            replica: self.replica((&self.to, target), (&self.from, source), &job)?,
            commands: commands(runs_back),
        };
        let replica = self.replica((&self.from, source), (&self.to, target), &job)?;
        let (commands, back, limits) = (commands(runs), Some(Box::new(back)), self.limits);
        Ok(Box::new(Replicated { kind: "redis", replica, commands, back, limits, judge: findings }))
    }
}

impl RedisState {
    /// As the steps know it, for the roles that the servers have.
    fn replica(&self, from: (&Server, &Host), to: (&Server, &Host), job: &str) -> Result<Replica, Finding> {
        let (from, to) = (from.0.known(from.1)?, to.0.known(to.1)?);
        Ok(server::replica(&SCRIPT, from, to, job, self.limits.timeout))
    }
}

impl Server {
    fn known<'h>(&self, host: &'h Host) -> Result<Known<'h>, Finding> {
        let env = vec![
            ("CONFIG", host.fill(&self.config)?),
            ("HOST", host.fill(&self.host)?),
            ("PORT", host.fill(&self.port)?),
            ("ADDRESS", server::address(self.address.as_ref(), host)?),
            ("CLI", self.cli.as_ref().map(|cli| host.fill_command(cli)).transpose()?.unwrap_or_default()),
            ("USER", self.user.clone().unwrap_or_default()),
        ];
        Ok(Known { host, env, password: self.password.clone() })
    }
}

fn commands(runs: Vec<ReplicaRun>) -> Commands {
    Commands { digest: Some(SCRIPT.both("digest")), ..server::commands(&SCRIPT, Side::Source, runs) }
}

/// What both sides say, and that they speak of the same source.
fn findings(replica: &Replicated, live: &dyn Live) -> Vec<Finding> {
    Answers::of(replica, live).findings_of_linked("Redis")
}
