//! What is done for a state that is carried by its own replication, by commands of the plan or of a kind that knows them.
//!
//! Owns the steps that all such states share: one fence, one proof, one promote, whatever replicates. Every command gets in its environment
//! who gives and who takes, so that the same text serves the way back.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::kind::ROUND;
use super::{Class, Ends, HookStep, Kind, Lane, Live, Look, Mark, Played, Preview, Step, Undo};
use crate::model::{HookPoint, Side};
use crate::secret::SecretRef;
use crate::text;

/// One step of a replica.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplicaStep {
    /// The replica.
    pub replica: Replica,
    /// What is done.
    pub act: ReplicaAct,
}

/// A state and its replica, as far as all steps know them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Replica {
    /// Tells it from others of a pair.
    pub job: String,
    /// Inventory name of the host that has the writer.
    pub from: String,
    /// Inventory name of the host that gets it.
    pub to: String,
    /// What every command finds in its environment.
    pub env: BTreeMap<String, String>,
    /// Environment variables from secrets.
    pub secrets: BTreeMap<String, SecretRef>,
    /// How long a command may take that does not say it itself.
    pub timeout: Duration,
}

/// What is done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReplicaAct {
    /// Asks both sides whether it can be done at all.
    Check(BothSides),
    /// Runs a command that changes something.
    Run(ReplicaRun),
    /// Waits until the target lacks little.
    CatchUp(CatchUp),
    /// Compares what both sides have up to one position.
    Compare(Compare),
    /// Keeps the source from taking writes, also after a restart.
    Fence(Fence),
    /// Waits until the target has everything up to a position that was taken after the fence.
    Prove(Prove),
    /// From here on the target may be the one that has everything. Doing it does nothing; undoing it is the same switch the other way round.
    HandOver(Box<Switch>),
    /// Lets the target take writes.
    Promote(Promote),
    /// Lets the source follow the target, which serves, for as long as there is a way back.
    Follow(Box<Switch>),
}

/// A switch back, in the words of the roles that it ends in: `from` is the host that was promoted, and `to` the one that was closed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Switch {
    /// Lets changes flow.
    pub back: Vec<ReplicaRun>,
    /// Waits until little is missing.
    pub catch_up: CatchUp,
    /// Closes the one that was promoted.
    pub fence: Fence,
    /// Proves that the other one has everything.
    pub prove: Prove,
    /// Lets that one take writes.
    pub promote: Promote,
}

/// The same question, filled for both sides.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BothSides {
    /// On the source.
    pub from: String,
    /// On the target.
    pub to: String,
}

/// A command that changes something, run as hooks are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplicaRun {
    /// What it is for.
    pub verb: Verb,
    /// Where it runs.
    pub side: Side,
    /// The shell script.
    pub run: String,
    /// How long it may take; `None`: as the replica says.
    pub timeout: Option<Duration>,
    /// Whether running it twice is the same as once.
    pub idempotent: bool,
    /// A script that exits 0 when the work is already done.
    pub done_when: Option<String>,
    /// The script that takes it back.
    pub undo: Option<String>,
}

/// What a command that changes something is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verb {
    /// Settings, accounts, a slot.
    Prepare,
    /// The first copy.
    Seed,
    /// The link over which changes flow.
    Link,
    /// What makes the fence short, right before the source leaves service.
    Ahead,
    /// The link over which changes flow back.
    Back,
    /// Gives up what the move needed.
    Release,
}

/// Waiting until the target lacks little.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CatchUp {
    /// Where it is asked.
    pub side: Side,
    /// Prints how many bytes the target lacks.
    pub lag: String,
    /// Little is less than this.
    pub settle_below: u64,
    /// How long that may take.
    pub within: Duration,
}

/// A comparison of both sides.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Compare {
    /// Prints a digest of what is there up to the position in the environment.
    pub digest: BothSides,
    /// As in the proof.
    pub position: String,
    /// As in the proof.
    pub reached: String,
    /// How long the target may take to get that far.
    pub within: Duration,
}

/// Keeping the source from taking writes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fence {
    /// The script that closes it.
    pub fence: String,
    /// The script that opens it again.
    pub unfence: String,
    /// Prints whether a side would take a write.
    pub writer: BothSides,
}

/// Proving that the target has everything.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Prove {
    /// Prints a position on the source, which is one word of its own.
    pub position: String,
    /// Exits 0 on the target when it has all up to the position in the environment.
    pub reached: String,
    /// Prints whether a side would take a write.
    pub writer: BothSides,
    /// How long the source may be closed for it, from the beginning of the fence on.
    pub within: Duration,
}

/// Letting the target take writes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Promote {
    /// The script.
    pub promote: String,
    /// Prints whether a side would take a write.
    pub writer: BothSides,
}

impl BothSides {
    /// As it is for one of them.
    pub fn on(&self, side: Side) -> &str {
        match side {
            Side::Source => &self.from,
            Side::Target => &self.to,
        }
    }
}

impl Verb {
    /// The word in plans.
    pub fn name(self) -> &'static str {
        match self {
            Self::Prepare => "prepare",
            Self::Seed => "seed",
            Self::Link => "link",
            Self::Ahead => "ahead",
            Self::Back => "back",
            Self::Release => "release",
        }
    }
}

impl Replica {
    /// Inventory name of the host on a side.
    pub fn host(&self, side: Side) -> &str {
        match side {
            Side::Source => &self.from,
            Side::Target => &self.to,
        }
    }

    /// The environment of a command on a side.
    pub fn environment(&self, verb: &str, side: Side) -> BTreeMap<String, String> {
        let side = match side {
            Side::Source => "from",
            Side::Target => "to",
        };
        let own = [("MIGRATE_VERB", verb), ("MIGRATE_SIDE", side)].map(|(k, v)| (k.to_owned(), v.to_owned()));
        self.env.clone().into_iter().chain(own).collect()
    }

    /// A command in the form in which all such commands run.
    pub fn command(&self, verb: &str, side: Side, run: &str) -> HookStep {
        HookStep {
            host: self.host(side).to_owned(),
            at: HookPoint::BeforePair,
            run: run.to_owned(),
            timeout: self.timeout,
            idempotent: true,
            done_when: None,
            undo: None,
            secrets: self.secrets.clone(),
            env: self.environment(verb, side),
        }
    }
}

impl ReplicaStep {
    /// What it runs under a receipt, in the form in which all such commands run; `None` where it only asks.
    pub fn under_receipt(&self) -> Option<HookStep> {
        match &self.act {
            ReplicaAct::Run(run) => Some(self.runs(run)),
            ReplicaAct::Fence(fence) => Some(self.replica.command("fence", Side::Source, &fence.fence)),
            ReplicaAct::Promote(promote) => Some(self.replica.command("promote", Side::Target, &promote.promote)),
            ReplicaAct::Check(_) | ReplicaAct::CatchUp(_) | ReplicaAct::Compare(_) | ReplicaAct::Prove(_) => None,
            ReplicaAct::HandOver(_) | ReplicaAct::Follow(_) => None,
        }
    }

    /// A command that changes something, in that form.
    pub fn runs(&self, run: &ReplicaRun) -> HookStep {
        HookStep {
            timeout: run.timeout.unwrap_or(self.replica.timeout),
            idempotent: run.idempotent,
            done_when: run.done_when.clone(),
            undo: run.undo.clone(),
            ..self.replica.command(run.verb.name(), run.side, &run.run)
        }
    }

    /// The command that opens a source again.
    pub fn unfence(&self, fence: &Fence) -> HookStep {
        let unfence = self.replica.command("unfence", Side::Source, &fence.unfence);
        HookStep { undo: Some(fence.unfence.clone()), ..unfence }
    }

    /// Whether the pair goes back into service when it fails: it has kept the source closed for too long, or may have closed it.
    pub fn gives_up(&self) -> bool {
        matches!(self.act, ReplicaAct::Fence(_) | ReplicaAct::Prove(_))
    }

    /// Whether undoing it does anything.
    pub fn takes_back(&self) -> bool {
        match &self.act {
            ReplicaAct::Run(run) => run.undo.is_some(),
            ReplicaAct::Fence(_) | ReplicaAct::HandOver(_) | ReplicaAct::Follow(_) => true,
            _ => false,
        }
    }

    /// Whether it is the fence of the same replica.
    pub fn fences(&self, other: &Self) -> bool {
        matches!(self.act, ReplicaAct::Fence(_)) && self.replica.job == other.replica.job
    }

    /// Whether it is the proof of the same replica.
    pub fn proves(&self, other: &Self) -> bool {
        matches!(self.act, ReplicaAct::Prove(_)) && self.replica.job == other.replica.job
    }

    /// Whether it lets the target of the same replica take writes.
    pub fn promotes(&self, other: &Self) -> bool {
        matches!(self.act, ReplicaAct::Promote(_)) && self.replica.job == other.replica.job
    }
}

fn shown(script: &str) -> String {
    text::escape(script.as_bytes(), 100)
}

impl Kind for ReplicaStep {
    fn class(&self) -> Class {
        match &self.act {
            ReplicaAct::Check(_) | ReplicaAct::CatchUp(_) | ReplicaAct::Compare(_) | ReplicaAct::Prove(_) => {
                Class::Reading
            }
            ReplicaAct::Run(run) => match (&run.done_when, run.idempotent) {
                (Some(_), _) => Class::Probed,
                (None, true) => Class::Convergent,
                (None, false) => Class::Keyed,
            },
            ReplicaAct::Fence(_) | ReplicaAct::HandOver(_) | ReplicaAct::Follow(_) => Class::Convergent,
            ReplicaAct::Promote(_) => Class::Probed,
        }
    }

    fn phase(&self) -> &'static str {
        match &self.act {
            ReplicaAct::Check(_) => "check",
            ReplicaAct::Run(run) => run.verb.name(),
            ReplicaAct::CatchUp(_) => "catch up",
            ReplicaAct::Compare(_) => "compare",
            ReplicaAct::Fence(_) => "fence",
            ReplicaAct::Prove(_) => "prove",
            ReplicaAct::HandOver(_) => "hand over",
            ReplicaAct::Promote(_) => "promote",
            ReplicaAct::Follow(_) => "reverse",
        }
    }

    fn describe(&self) -> String {
        let Replica { from, to, .. } = &self.replica;
        match &self.act {
            ReplicaAct::Check(check) => format!("on {from} and {to}: {}", shown(&check.from)),
            ReplicaAct::Run(run) => format!("on {}: {}", self.replica.host(run.side), shown(&run.run)),
            ReplicaAct::CatchUp(catch_up) => {
                format!("{to} lacks less than {} of {from}", text::bytes(catch_up.settle_below))
            }
            ReplicaAct::Compare(_) => format!("{from} and {to} have the same up to one position"),
            ReplicaAct::Fence(fence) => format!("{from} takes no writes any more: {}", shown(&fence.fence)),
            ReplicaAct::Prove(prove) => {
                let within = text::duration(prove.within);
                format!("{to} has everything up to where {from} was after the fence, within {within}")
            }
            ReplicaAct::HandOver(_) => format!("what {from} takes from here on goes back to {to} with a rollback"),
            ReplicaAct::Promote(promote) => format!("{to} takes writes: {}", shown(&promote.promote)),
            ReplicaAct::Follow(_) => format!("{to} follows {from}, live"),
        }
    }

    fn ends(&self, _: &str, _: &str) -> Ends {
        let Replica { from, to, timeout, .. } = &self.replica;
        match &self.act {
            ReplicaAct::Check(_) => Ends::when("both sides have answered"),
            ReplicaAct::Run(run) => Ends::when("the command ends").within(run.timeout.unwrap_or(*timeout)),
            ReplicaAct::CatchUp(catch_up) => {
                let small = text::bytes(catch_up.settle_below);
                Ends::when(format!("{to} lacks less than {small}")).within(catch_up.within).otherwise(", else it holds")
            }
            ReplicaAct::Compare(compare) => {
                Ends::when("both sides have printed their digests").within(compare.within).otherwise(", else it holds")
            }
            ReplicaAct::Fence(_) => Ends::when(format!("{from} says that it takes no writes")).within(*timeout),
            ReplicaAct::Prove(prove) => {
                let ends = Ends::when(format!("{to} has what {from} had after the fence"));
                ends.within(prove.within).otherwise(format!(", else {from} is opened again and it holds"))
            }
            ReplicaAct::HandOver(_) => Ends::when("all of it has arrived"),
            ReplicaAct::Follow(_) => Ends::when("the way back ends"),
            ReplicaAct::Promote(_) => {
                Ends::when(format!("{to} says that it takes writes, and {from} that it does not")).within(*timeout)
            }
        }
    }

    fn hosts(&self) -> Option<Vec<&str>> {
        let side = match &self.act {
            ReplicaAct::Run(run) => run.side,
            ReplicaAct::Fence(_) => Side::Source,
            ReplicaAct::Promote(_) => Side::Target,
            _ => return Some(vec![&self.replica.from, &self.replica.to]),
        };
        Some(vec![self.replica.host(side)])
    }

    fn command(&self) -> Option<&str> {
        match &self.act {
            ReplicaAct::Run(run) => Some(&run.run),
            ReplicaAct::Fence(fence) => Some(&fence.fence),
            ReplicaAct::Promote(promote) => Some(&promote.promote),
            _ => None,
        }
    }

    fn is_stream(&self) -> bool {
        self.lane() == Some(Lane::Seeds)
    }

    fn lane(&self) -> Option<Lane> {
        let seeds = matches!(&self.act, ReplicaAct::Run(run) if run.verb == Verb::Seed);
        seeds.then_some(Lane::Seeds)
    }

    fn looks(&self) -> Option<Look<'_>> {
        matches!(self.act, ReplicaAct::Prove(_)).then_some(Look::Position(self))
    }

    fn brings_in_step(&self) -> bool {
        match &self.act {
            ReplicaAct::CatchUp(_) => true,
            ReplicaAct::Run(run) => run.verb == Verb::Ahead,
            _ => false,
        }
    }

    fn undo(&self) -> Undo<'_> {
        match &self.act {
            ReplicaAct::Run(_) | ReplicaAct::Fence(_) => Undo::Replica(self),
            ReplicaAct::HandOver(_) | ReplicaAct::Follow(_) => Undo::Replica(self),
            _ => Undo::Nothing,
        }
    }

    fn takes(&self, _: &Step, _: &dyn Live) -> Duration {
        match &self.act {
            // The move itself does not wait for them.
            ReplicaAct::HandOver(_) | ReplicaAct::Follow(_) => Duration::ZERO,
            _ => ROUND * 2,
        }
    }

    fn preview(&self, _: &Step, live: &dyn Live, _: &mut Played) -> Preview {
        let Replica { from, to, .. } = &self.replica;
        let reached = [from, to].iter().all(|host| live.host(host).is_some());
        Preview { seen: reached.then(|| format!("{from} and {to} can be reached")), mark: Mark::CannotBeChecked }
    }
}
