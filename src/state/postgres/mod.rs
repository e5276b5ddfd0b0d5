//! A cluster of PostgreSQL, carried by physical replication: a base copy, a standby that streams, and a promote.
//!
//! Owns the commands, which are those of a replica like any other, and what speaks against them. Same major version, same architecture; what
//! else must be the same on both sides is looked at before a plan is made.

mod findings;
mod read;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::replica::Limits;
use super::replica::steps::{Commands, Replicated, environment};
use super::{Carried, Question, Risk, StateKind};
use crate::model::finding::Finding;
use crate::model::{Host, Side, Template};
use crate::step::{BothSides, Draft, Live, Moment, Replica, ReplicaRun, Verb};

/// All that is done on the hosts.
const SCRIPT: &str = include_str!("physical.sh");
/// The variable that holds it.
const VARIABLE: &str = "MIGRATE_POSTGRES";

/// A cluster of PostgreSQL.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PostgresState {
    /// The one on the source.
    pub from: Box<Cluster>,
    /// The one that the target gets.
    pub to: Box<Cluster>,
    /// How the target reaches the source.
    pub link: Link,
    /// The role that local commands use.
    pub role: String,
    /// Bytes per second of the base copy.
    pub bandwidth: Option<u64>,
    /// Bounds.
    pub limits: Limits,
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

/// How the target reaches the source.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Link {
    /// The role that may replicate.
    pub user: String,
    /// The name or address of the source; `None`: its address in the inventory.
    pub host: Option<Template>,
    /// A file on the target that holds the password.
    pub passfile: Option<Template>,
    /// Whether it is encrypted, and how the source proves who it is.
    pub sslmode: Option<String>,
}

impl StateKind for PostgresState {
    fn needs_freeze(&self) -> Option<&'static str> {
        Some("a cluster of PostgreSQL has one writer")
    }

    fn fences(&self) -> bool {
        true
    }

    fn needs_agent(&self) -> bool {
        false
    }

    fn risks(&self) -> Vec<Risk> {
        let unbounded = Risk {
            what: "has clients that see errors while PostgreSQL stops: each connection ends with the old server",
            hint: "let them connect again by themselves, to wherever the writer is",
        };
        vec![unbounded]
    }

    fn between<'a>(
        &'a self,
        source: &'a Host,
        target: &'a Host,
        job: String,
    ) -> Result<Box<dyn Carried + 'a>, Finding> {
        let mut env = environment(source, target);
        env.extend(self.from.environment("FROM", source)?);
        env.extend(self.to.environment("TO", target)?);
        let digest = job.rsplit('.').next().unwrap_or_default().to_owned();
        let rate = self.bandwidth.map(|bytes| format!("--max-rate={}k", (bytes >> 10).clamp(32, 1 << 20)));
        env.extend([
            ("PG_LINK".to_owned(), self.link.conninfo(&self.from, source, target)?),
            ("PG_ROLE".to_owned(), self.role.clone()),
            ("PG_JOB".to_owned(), digest),
            ("PG_RATE".to_owned(), rate.unwrap_or_default()),
            (VARIABLE.to_owned(), SCRIPT.to_owned()),
        ]);
        let replica = Replica {
            job,
            from: source.name.clone(),
            to: target.name.clone(),
            env,
            secrets: BTreeMap::new(),
            timeout: self.limits.timeout,
        };
        Ok(Box::new(Physical(Replicated { kind: "postgres", replica, commands: commands(), limits: self.limits })))
    }
}

impl Cluster {
    fn environment(&self, role: &str, host: &Host) -> Result<Vec<(String, String)>, Finding> {
        let plain = |template: &Option<Template>| template.as_ref().map(|t| host.fill(t)).transpose();
        let command = |template: &Option<Template>| template.as_ref().map(|t| host.fill_command(t)).transpose();
        let values = [
            ("DATA", host.fill(&self.data)?),
            ("BIN", plain(&self.bin)?.unwrap_or_default()),
            ("PORT", host.fill(&self.port)?),
            ("SOCKET", host.fill(&self.socket)?),
            ("USER", host.fill(&self.user)?),
            ("START", command(&self.start)?.unwrap_or_default()),
            ("STOP", command(&self.stop)?.unwrap_or_default()),
            ("OPTIONS", plain(&self.options)?.unwrap_or_default()),
        ];
        Ok(values.into_iter().map(|(name, value)| (format!("PG_{role}_{name}"), value)).collect())
    }
}

impl Link {
    /// As PostgreSQL reads it. No password is ever in it: everybody who may look at the target's settings sees it.
    fn conninfo(&self, from: &Cluster, source: &Host, target: &Host) -> Result<String, Finding> {
        let host = self.host.as_ref().map_or_else(|| Ok(source.address.clone()), |host| source.fill(host))?;
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

/// The text of a command: what it does is in the environment.
fn script(verb: &str) -> String {
    format!("set -- {verb}; eval \"${VARIABLE}\"")
}

fn commands() -> Commands {
    let both = |verb| BothSides { from: script(verb), to: script(verb) };
    let run = |verb, side, run, done_when: Option<&str>, undo: Option<&str>| ReplicaRun {
        verb,
        side,
        run: script(run),
        timeout: (verb == Verb::Seed).then_some(std::time::Duration::from_secs(7 * 24 * 3600)),
        idempotent: verb != Verb::Seed,
        done_when: done_when.map(script),
        undo: undo.map(script),
    };
    Commands {
        check: Some(BothSides { from: script("check-from"), to: script("check-to") }),
        runs: vec![
            run(Verb::Prepare, Side::Source, "slot", Some("has-slot"), Some("drop-slot")),
            run(Verb::Seed, Side::Target, "seed", None, Some("unseed")),
            run(Verb::Link, Side::Target, "link", Some("linked"), Some("unlink")),
            run(Verb::Ahead, Side::Source, "checkpoint", None, None),
            run(Verb::Release, Side::Source, "release-from", None, None),
            run(Verb::Release, Side::Target, "release-to", None, None),
        ],
        lag: (Side::Source, script("lag")),
        digest: None,
        position: script("position"),
        reached: script("reached"),
        fence: script("fence"),
        unfence: script("unfence"),
        writer: both("writer"),
        promote: script("promote"),
    }
}

/// The cluster between the two hosts of a pair.
struct Physical(Replicated);

impl Carried for Physical {
    fn jobs(&self) -> Vec<&str> {
        self.0.jobs()
    }

    fn steps(&self, moment: Moment) -> Vec<Draft> {
        self.0.steps(moment)
    }

    fn questions(&self) -> Vec<Question> {
        self.0.questions()
    }

    fn findings(&self, live: &dyn Live) -> Vec<Finding> {
        findings::of(&self.0.replica, live)
    }
}
