//! What has a replication of its own, carried by commands of the plan.
//!
//! Owns which commands there are, and the steps that come of them, for this kind and for those that know their commands themselves. Every
//! command is filled for both hosts: with the roles swapped it is the same text.

pub mod answers;
mod read;
pub mod script;
pub mod steps;

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Carried, Replicates, Risk};
use crate::model::finding::Finding;
use crate::model::{Host, Side, Template};
use crate::secret::SecretRef;
use crate::step::{BothSides, Replica, ReplicaRun, Verb};
use steps::{Back, Commands, Replicated};

/// A state that is carried by commands of the plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplicaState {
    /// Asks a side whether it can be done at all.
    pub check: Option<Template>,
    /// Commands that change something, in the order of the plan.
    pub runs: Vec<Run>,
    /// Commands that let the source follow the target, with the roles swapped; none where nothing comes back.
    pub back: Vec<Run>,
    /// Where `lag` runs.
    pub lag_on: Side,
    /// Prints how many bytes the target lacks.
    pub lag: Template,
    /// Prints a digest of what is there up to a position.
    pub digest: Option<Template>,
    /// Prints how far the source is.
    pub position: Template,
    /// Tells whether the target has all up to a position.
    pub reached: Template,
    /// Keeps the source from taking writes.
    pub fence: Template,
    /// Lets it take writes again.
    pub unfence: Template,
    /// Prints whether a side would take a write.
    pub writer: Template,
    /// Lets the target take writes.
    pub promote: Template,
    /// Bounds.
    pub limits: Limits,
    /// Environment variables of all commands, from secrets.
    pub secrets: BTreeMap<String, SecretRef>,
}

/// A command that changes something.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    /// What it is for.
    pub verb: Verb,
    /// Where it runs.
    pub on: Side,
    /// The command.
    pub run: Template,
    /// How long it may take.
    pub timeout: Option<Duration>,
    /// Whether running it twice is the same as once.
    pub idempotent: bool,
    /// Tells whether its work is done.
    pub done_when: Option<Template>,
    /// Takes it back; `None` where there is nothing to take back.
    pub undo: Option<Template>,
}

/// Bounds of a replica.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// The source is closed when the target lacks less than this.
    pub settle_below: u64,
    /// How long that may take.
    pub settle_within: Duration,
    /// How long the source may be closed before it is proved that the target has everything.
    pub freeze_within: Duration,
    /// How long a command may take.
    pub timeout: Duration,
    /// When both sides are compared.
    pub verify: Verify,
}

/// When both sides of a replica are compared.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verify {
    /// While the source takes writes.
    #[default]
    Ahead,
    /// When it takes none.
    Frozen,
    /// Both.
    Both,
}

impl Replicates for ReplicaState {
    fn one_writer(&self) -> &'static str {
        "a replica takes over after a freeze"
    }

    fn risks(&self) -> Vec<Risk> {
        let not_compared = Risk {
            what: "has a replica that nobody compares: what its replication leaves out would be noticed by its users",
            hint: "give it a `digest`",
        };
        let kept = Risk {
            what: "has a replica without a `release`: what was prepared for it stays when it is done",
            hint: "give it a `release`",
        };
        let release = self.runs.iter().any(|run| run.verb == Verb::Release);
        let risks = [self.digest.is_none().then_some(not_compared), (!release).then_some(kept)];
        risks.into_iter().flatten().collect()
    }

    fn comes_back(&self) -> bool {
        !self.back.is_empty()
    }

    fn between<'a>(
        &'a self,
        source: &'a Host,
        target: &'a Host,
        job: String,
    ) -> Result<Box<dyn Carried + 'a>, Finding> {
        let back = match self.back.is_empty() {
            true => None,
            false => Some(Box::new(Back {
                replica: self.replica(target, source, &job),
                commands: self.commands(&self.back, target, source)?,
            })),
        };
        let commands = self.commands(&self.runs, source, target)?;
        let replica = self.replica(source, target, &job);
        let (kind, limits, judge) = ("replica", self.limits, answers::of_check as steps::Judge);
        Ok(Box::new(Replicated { kind, replica, commands, back, limits, judge }))
    }
}

impl ReplicaState {
    fn replica(&self, from: &Host, to: &Host, job: &str) -> Replica {
        Replica {
            job: job.to_owned(),
            from: from.name.clone(),
            to: to.name.clone(),
            env: steps::environment(from, to),
            secrets: self.secrets.clone(),
            timeout: self.limits.timeout,
        }
    }

    /// All commands, for the roles that the hosts have.
    fn commands(&self, runs: &[Run], from: &Host, to: &Host) -> Result<Commands, Finding> {
        let on = |side| if side == Side::Source { from } else { to };
        let both = |template: &Template| -> Result<BothSides, Finding> {
            Ok(BothSides { from: from.fill_command(template)?, to: to.fill_command(template)? })
        };
        let optional = |template: &Option<Template>| template.as_ref().map(both).transpose();
        Ok(Commands {
            check: optional(&self.check)?,
            runs: runs.iter().map(|run| run.on(on(run.on))).collect::<Result<_, _>>()?,
            lag: (self.lag_on, on(self.lag_on).fill_command(&self.lag)?),
            digest: optional(&self.digest)?,
            position: from.fill_command(&self.position)?,
            reached: to.fill_command(&self.reached)?,
            fence: from.fill_command(&self.fence)?,
            unfence: from.fill_command(&self.unfence)?,
            writer: both(&self.writer)?,
            promote: to.fill_command(&self.promote)?,
        })
    }
}

impl Run {
    fn on(&self, host: &Host) -> Result<ReplicaRun, Finding> {
        let optional = |template: &Option<Template>| template.as_ref().map(|t| host.fill_command(t)).transpose();
        Ok(ReplicaRun {
            verb: self.verb,
            side: self.on,
            run: host.fill_command(&self.run)?,
            timeout: self.timeout,
            idempotent: self.idempotent,
            done_when: optional(&self.done_when)?,
            undo: optional(&self.undo)?,
        })
    }
}
