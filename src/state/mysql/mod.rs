//! A server of MariaDB, carried by its own replication: a replica that follows by GTID, and changes roles with its source.
//!
//! Owns the commands, which are those of a replica like any other. `read_only` is forgotten at a restart unless it stands in a file that the
//! server reads: whatever closes a server writes that first.

mod read;

use serde::{Deserialize, Serialize};

use super::replica::Limits;
use super::replica::answers::Answers;
use super::replica::script::Script;
use super::replica::steps::{Back, Replicated};
use super::server::{self, Known, commands};
use super::{Carried, Replicates, Risk};
use crate::model::finding::Finding;
use crate::model::{Host, Side, Template};
use crate::secret::SecretRef;
use crate::step::{Live, Replica, ReplicaRun, Verb};

/// All that is done on the hosts.
const SCRIPT: Script = Script { variable: "MIGRATE_MYSQL", prefix: "MYSQL", text: include_str!("server.sh") };

/// A server and the one that takes its place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MysqlState {
    /// On the source.
    pub from: Box<Server>,
    /// On the target.
    pub to: Box<Server>,
    /// How either follows the other.
    pub link: Link,
    /// Bounds.
    pub limits: Limits,
}

/// A server on one side.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Server {
    /// A directory of configuration files that it reads when it starts.
    pub config: Template,
    /// Its socket.
    pub socket: Template,
    /// The port of the link.
    pub port: Template,
    /// Where the other side finds it; `None`: the address of its host in the inventory.
    pub address: Option<Template>,
    /// Whom it knows local commands as.
    pub user: String,
    /// That one's password; `None` where the socket is enough.
    pub password: Option<SecretRef>,
}

/// How one server follows the other.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Link {
    /// The user that may replicate and read, on both.
    pub user: String,
    /// That one's password.
    pub password: SecretRef,
    /// Whether it must be encrypted.
    pub tls: bool,
}

impl Replicates for MysqlState {
    fn one_writer(&self) -> &'static str {
        "a server of MariaDB has one writer"
    }

    fn comes_back(&self) -> bool {
        true
    }

    fn risks(&self) -> Vec<Risk> {
        let ended = Risk {
            what: "has clients that see errors when MariaDB changes hands: their connections end with the fence",
            hint: "let them connect again by themselves, to wherever the writer is",
        };
        vec![ended]
    }

    fn between<'a>(
        &'a self,
        source: &'a Host,
        target: &'a Host,
        job: String,
    ) -> Result<Box<dyn Carried + 'a>, Finding> {
        let runs = vec![
            ReplicaRun { idempotent: false, ..SCRIPT.run(Verb::Seed, Side::Target, "seed", None, Some("unseed")) },
            SCRIPT.run(Verb::Link, Side::Target, "link", Some("linked"), None),
            SCRIPT.run(Verb::Release, Side::Source, "release-from", None, None),
            SCRIPT.run(Verb::Release, Side::Target, "release-to", None, None),
        ];
        let runs_back = vec![SCRIPT.run(Verb::Back, Side::Target, "follow", Some("linked"), Some("unfollow"))];
        let back = Back {
            replica: self.replica((&self.to, target), (&self.from, source), &job)?,
            commands: commands(&SCRIPT, Side::Target, runs_back),
        };
        let replica = self.replica((&self.from, source), (&self.to, target), &job)?;
        let (back, limits) = (Some(Box::new(back)), self.limits);
        let commands = commands(&SCRIPT, Side::Target, runs);
        Ok(Box::new(Replicated { kind: "mysql", replica, commands, back, limits, judge: findings }))
    }
}

impl MysqlState {
    /// As the steps know it, for the roles that the servers have.
    fn replica(&self, from: (&Server, &Host), to: (&Server, &Host), job: &str) -> Result<Replica, Finding> {
        let (from, to) = (from.0.known(from.1)?, to.0.known(to.1)?);
        let mut replica = server::replica(&SCRIPT, from, to, job, self.limits.timeout);
        let options = if self.link.tls { "--ssl" } else { "" };
        replica.env.extend([
            ("MYSQL_LINK_USER".to_owned(), self.link.user.clone()),
            ("MYSQL_LINK_OPTIONS".to_owned(), options.to_owned()),
        ]);
        replica.secrets.insert("MYSQL_LINK_PASSWORD".to_owned(), self.link.password.clone());
        Ok(replica)
    }
}

impl Server {
    fn known<'h>(&self, host: &'h Host) -> Result<Known<'h>, Finding> {
        let env = vec![
            ("CONFIG", host.fill(&self.config)?),
            ("SOCKET", host.fill(&self.socket)?),
            ("PORT", host.fill(&self.port)?),
            ("ADDRESS", server::address(self.address.as_ref(), host)?),
            ("USER", self.user.clone()),
        ];
        Ok(Known { host, env, password: self.password.clone() })
    }
}

/// What both sides say, and that they speak of the same source.
fn findings(replica: &Replicated, live: &dyn Live) -> Vec<Finding> {
    Answers::of(replica, live).findings_of_linked("MariaDB")
}
