//! A pooler in front of a cluster, whose clients wait while that changes hands: they see a stall, and no error.
//!
//! It pauses right before the fence and goes to the new server right after the promote; undone, the same steps stall the clients on the way
//! back. Must never leave a pause behind: what pauses leaves somebody on the host who ends it, whatever becomes of the controller.

mod read;

pub(super) use read::read;

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Cluster;
use crate::model::finding::Finding;
use crate::model::{HookPoint, Host, Template};
use crate::state::replica::answers::Told;
use crate::state::replica::script::Script;
use crate::state::server::address;
use crate::state::{Carried, Question};
use crate::step::{Draft, HookStep, Live, Moment, StepKind};

/// All that is done on its host.
const SCRIPT: Script = Script { variable: "MIGRATE_PGBOUNCER", prefix: "PGB", text: include_str!("pgbouncer.sh") };
/// How often a pause is tried, as the script does.
const TRIES: u32 = 5;

/// A database of PgBouncer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pooler {
    /// Inventory name of its host.
    pub on: String,
    /// The database, as its clients know it.
    pub database: String,
    /// By which name or address the pooler reaches the target; `None`: its address in the inventory.
    pub host: Option<Template>,
    /// Its configuration file.
    pub config: String,
    /// The directory of its socket.
    pub socket: String,
    /// Its port.
    pub port: u16,
    /// The user of the system that it runs as.
    pub user: String,
    /// Who may give orders at its console.
    pub admin: String,
    /// How long transactions that are open may hold up all others, each time.
    pub pause_within: Duration,
    /// How long after a pause it resumes, when nobody has said so.
    pub resumes_after: Duration,
}

/// A cluster with a pooler in front.
pub(super) struct Pooled<'a> {
    pooler: &'a Pooler,
    cluster: Box<dyn Carried + 'a>,
    about: String,
    env: BTreeMap<String, String>,
}

impl Pooler {
    /// The cluster, as what pauses its clients meanwhile.
    pub(super) fn before<'a>(
        &'a self,
        cluster: Box<dyn Carried + 'a>,
        to: &Cluster,
        target: &Host,
        job: &str,
    ) -> Result<Box<dyn Carried + 'a>, Finding> {
        let seconds = |time: Duration| format!("{:.3}", time.as_secs_f64());
        let values = [
            ("CONFIG", self.config.clone()),
            ("SOCKET", self.socket.clone()),
            ("PORT", self.port.to_string()),
            ("USER", self.user.clone()),
            ("ADMIN", self.admin.clone()),
            ("DATABASE", self.database.clone()),
            ("HOST", address(self.host.as_ref(), target)?),
            ("TARGET_PORT", target.fill(&to.port)?),
            ("WITHIN", seconds(self.pause_within)),
            ("AFTER", seconds(self.resumes_after)),
            ("JOB", job.rsplit('.').next().unwrap_or_default().to_owned()),
        ];
        let env = values.into_iter().map(|(name, value)| (format!("{}_{name}", SCRIPT.prefix), value));
        let env = env.chain([SCRIPT.environment()]).collect();
        Ok(Box::new(Pooled { pooler: self, cluster, about: format!("pooler.{job}"), env }))
    }
}

impl Pooled<'_> {
    /// A command on the pooler's host, and what takes it back.
    fn step(&self, name: &str, at: HookPoint, run: &str, undo: Option<&str>) -> Draft {
        let step = HookStep {
            host: self.pooler.on.clone(),
            at,
            run: SCRIPT.command(run),
            timeout: self.timeout(),
            idempotent: true,
            done_when: None,
            undo: undo.map(|verb| SCRIPT.command(verb)),
            secrets: BTreeMap::new(),
            env: self.env.clone(),
        };
        Draft::new(name, StepKind::Hook(step))
    }

    fn timeout(&self) -> Duration {
        (self.pooler.pause_within + Duration::from_secs(30)) * TRIES
    }
}

impl Carried for Pooled<'_> {
    fn settle(&mut self, live: &dyn Live) {
        self.cluster.settle(live);
    }

    fn jobs(&self) -> Vec<&str> {
        self.cluster.jobs()
    }

    fn steps(&self, moment: Moment) -> Vec<Draft> {
        let own = self.cluster.steps(moment);
        match moment {
            Moment::Fenced => {
                let pause = self.step("postgres-pause", HookPoint::AfterDrain, "pause", Some("back"));
                std::iter::once(pause).chain(own).collect()
            }
            Moment::Promoted => {
                let resume = self.step("postgres-resume", HookPoint::BeforeShift, "there", Some("pause"));
                own.into_iter().chain([resume]).collect()
            }
            Moment::Released => {
                let forget = self.step("postgres-forget-pause", HookPoint::AfterPair, "forget", None);
                own.into_iter().chain([forget]).collect()
            }
            _ => own,
        }
    }

    fn questions(&self) -> Vec<Question> {
        let own = Question {
            host: self.pooler.on.clone(),
            about: self.about.clone(),
            script: SCRIPT.command("check"),
            env: self.env.clone(),
            timeout: self.timeout(),
        };
        self.cluster.questions().into_iter().chain([own]).collect()
    }

    fn findings(&self, live: &dyn Live) -> Vec<Finding> {
        let Pooler { on, database, .. } = self.pooler;
        let told = live.answer(on, &self.about).map(|answer| Told { host: on, answer }.findings("PgBouncer"));
        let direct = format!(
            "clients of {database} that come through PgBouncer there wait while PostgreSQL changes hands; all others see an error, and connect again"
        );
        let findings = self.cluster.findings(live).into_iter().chain(told.into_iter().flatten());
        findings.chain([Finding::note(on, direct)]).collect()
    }

    fn findings_back(&self, live: &dyn Live) -> Vec<Finding> {
        self.cluster.findings_back(live)
    }
}
