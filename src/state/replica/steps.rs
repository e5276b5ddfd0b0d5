//! The steps that a replica contributes to the moments of a move: one set of them, whatever replicates.

use std::collections::BTreeMap;

use super::{Limits, Verify};
use crate::model::finding::Finding;
use crate::model::{Host, Side};
use crate::state::{Carried, Question};
use crate::step::{
    BothSides, CatchUp, Compare, Draft, Fence, Live, Moment, Promote, Prove, Replica, ReplicaAct, ReplicaRun,
    ReplicaStep, StepKind, Switch, Verb,
};

/// Commands with everything filled in, each for the side on which it runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Commands {
    /// Exits 0 where it can be done.
    pub check: Option<BothSides>,
    /// What changes something, in order.
    pub runs: Vec<ReplicaRun>,
    /// Prints how many bytes the target lacks; and where.
    pub lag: (Side, String),
    /// Prints a digest of what is there up to a position.
    pub digest: Option<BothSides>,
    /// Prints how far the source is.
    pub position: String,
    /// Exits 0 on the target when it has all up to a position.
    pub reached: String,
    /// Keeps the source from taking writes, also after a restart.
    pub fence: String,
    /// Lets it take writes again.
    pub unfence: String,
    /// Prints `yes` or `no`.
    pub writer: BothSides,
    /// Lets the target take writes.
    pub promote: String,
}

/// A replica between the two hosts of a pair.
#[derive(Debug, Clone)]
pub struct Replicated {
    /// The word for its kind: the begin of its steps' names.
    pub kind: &'static str,
    /// What all its steps know.
    pub replica: Replica,
    /// What they run.
    pub commands: Commands,
    /// The same with the roles swapped, where it can come back.
    pub back: Option<Box<Back>>,
    /// Their bounds.
    pub limits: Limits,
    /// What of the answers to its questions speaks against it.
    pub judge: Judge,
}

/// A replica with the roles swapped: the host that was promoted gives, and the one that was closed takes.
#[derive(Debug, Clone)]
pub struct Back {
    /// What all its steps know.
    pub replica: Replica,
    /// What they run; `runs` is what lets changes flow.
    pub commands: Commands,
}

/// Finds what speaks against a replica.
pub type Judge = fn(&Replicated, &dyn Live) -> Vec<Finding>;

/// What every command of a replica finds in its environment: who gives, who takes, and the variables of both.
pub fn environment(source: &Host, target: &Host) -> BTreeMap<String, String> {
    let of = |role: &str, host: &Host| -> Vec<(String, String)> {
        let variables = host.vars.iter().map(|(name, value)| (format!("{role}_{name}"), value.clone()));
        std::iter::once((role.to_owned(), host.address.clone())).chain(variables).collect()
    };
    of("MIGRATE_FROM", source).into_iter().chain(of("MIGRATE_TO", target)).collect()
}

impl Replicated {
    fn draft(&self, name: &str, act: ReplicaAct) -> Draft {
        let step = ReplicaStep { replica: self.replica.clone(), act };
        Draft::new(format!("{}-{name}", self.kind), StepKind::Replica(Box::new(step)))
    }

    /// The commands for a purpose, numbered where there are several.
    fn runs(&self, verb: Verb) -> impl Iterator<Item = Draft> {
        let runs = self.commands.runs.iter().filter(move |run| run.verb == verb);
        runs.zip(1..).map(move |(run, n)| {
            let name = if n == 1 { verb.name().to_owned() } else { format!("{}-{n}", verb.name()) };
            self.draft(&name, ReplicaAct::Run(run.clone()))
        })
    }

    fn catch_up(&self, name: &str) -> Draft {
        let (side, lag) = self.commands.lag.clone();
        let Limits { settle_below, settle_within: within, .. } = self.limits;
        self.draft(name, ReplicaAct::CatchUp(CatchUp { side, lag, settle_below, within }))
    }

    fn compare(&self, name: &str, frozen: bool) -> Option<Draft> {
        let wanted = match self.limits.verify {
            Verify::Ahead => !frozen,
            Verify::Frozen => frozen,
            Verify::Both => true,
        };
        let digest = self.commands.digest.clone().filter(|_| wanted)?;
        let Commands { position, reached, .. } = self.commands.clone();
        let within = if frozen { self.limits.freeze_within } else { self.limits.settle_within };
        Some(self.draft(name, ReplicaAct::Compare(Compare { digest, position, reached, within })))
    }

    fn fence(&self) -> Draft {
        let Commands { fence, unfence, writer, .. } = self.commands.clone();
        self.draft("fence", ReplicaAct::Fence(Fence { fence, unfence, writer }))
    }

    fn prove(&self) -> Draft {
        let Commands { position, reached, writer, .. } = self.commands.clone();
        let within = self.limits.freeze_within;
        self.draft("prove", ReplicaAct::Prove(Prove { position, reached, writer, within }))
    }

    fn promote(&self) -> Draft {
        let Commands { promote, writer, .. } = self.commands.clone();
        let (from, to) = (&self.replica.from, &self.replica.to);
        let no_return = Some(format!("what {to} takes from then on {from} does not get"));
        let promote = self.draft("promote", ReplicaAct::Promote(Promote { promote, writer }));
        Draft { no_return, opens: true, ..promote }
    }

    /// A step of the way back.
    fn back(&self, name: &str, act: impl FnOnce(Box<Switch>) -> ReplicaAct) -> Option<Draft> {
        let Back { replica, commands } = self.back.as_deref()?.clone();
        let Commands { runs, lag: (side, lag), position, reached, fence, unfence, writer, promote, .. } = commands;
        let Limits { settle_below, settle_within, freeze_within, .. } = self.limits;
        let switch = Switch {
            back: runs,
            catch_up: CatchUp { side, lag, settle_below, within: settle_within },
            fence: Fence { fence, unfence, writer: writer.clone() },
            prove: Prove { position, reached, writer: writer.clone(), within: freeze_within },
            promote: Promote { promote, writer },
        };
        let step = ReplicaStep { replica, act: act(Box::new(switch)) };
        Some(Draft::new(format!("{}-{name}", self.kind), StepKind::Replica(Box::new(step))))
    }

    /// Nothing flows back any more.
    fn unlink(&self) -> Vec<Draft> {
        let Some(Back { replica, commands }) = self.back.as_deref() else { return Vec::new() };
        let ended = commands.runs.iter().rev().filter_map(|run| Some((run, run.undo.clone()?)));
        let step = |(n, (run, undo)): (usize, (&ReplicaRun, String))| {
            let run = ReplicaRun { run: undo, idempotent: true, done_when: None, undo: None, ..run.clone() };
            let step = ReplicaStep { replica: replica.clone(), act: ReplicaAct::Run(run) };
            let name = if n == 0 { "unlink".to_owned() } else { format!("unlink-{}", n + 1) };
            Draft::new(format!("{}-{name}", self.kind), StepKind::Replica(Box::new(step)))
        };
        ended.enumerate().map(step).collect()
    }
}

impl Carried for Replicated {
    fn jobs(&self) -> Vec<&str> {
        vec![&self.replica.job]
    }

    fn steps(&self, moment: Moment) -> Vec<Draft> {
        match moment {
            Moment::Prepare => {
                let check = self.commands.check.clone().map(|check| self.draft("check", ReplicaAct::Check(check)));
                check.into_iter().chain(self.runs(Verb::Prepare)).collect()
            }
            Moment::Seed => self.runs(Verb::Seed).chain(self.runs(Verb::Link)).collect(),
            Moment::CatchUp => std::iter::once(self.catch_up("catch-up")).chain(self.runs(Verb::Ahead)).collect(),
            Moment::CompareAhead => self.compare("compare", false).into_iter().collect(),
            Moment::CatchUpAgain => vec![self.catch_up("catch-up-again")],
            Moment::Fenced => vec![self.fence()],
            Moment::Frozen => vec![self.prove()],
            Moment::Proved => self.compare("verify", true).into_iter().collect(),
            Moment::HandedOver => self.back("hand-over", ReplicaAct::HandOver).into_iter().collect(),
            Moment::Promoted => vec![self.promote()],
            Moment::Reversed => self.back("reverse", ReplicaAct::Follow).into_iter().collect(),
            Moment::Unlinked => self.unlink(),
            Moment::Released => self.runs(Verb::Release).collect(),
            _ => Vec::new(),
        }
    }

    /// What can be asked before a plan is made needs no secret: those are looked up late.
    fn questions(&self) -> Vec<Question> {
        let Some(check) = self.commands.check.as_ref().filter(|_| self.replica.secrets.is_empty()) else {
            return Vec::new();
        };
        let question = |side| Question {
            host: self.replica.host(side).to_owned(),
            about: self.replica.job.clone(),
            script: check.on(side).to_owned(),
            env: self.replica.environment("check", side),
            timeout: self.limits.timeout,
        };
        vec![question(Side::Source), question(Side::Target)]
    }

    fn findings(&self, live: &dyn Live) -> Vec<Finding> {
        (self.judge)(self, live)
    }
}
