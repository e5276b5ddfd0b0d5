//! Simulated replicas: a source and a target that lags behind it, over a link that can be there or not.
//!
//! The target gets what it lacks while nobody looks, some time after it was written. What it says of its lag is true of what it knows of,
//! which is less than all: a lag of nothing is no proof.

use std::hash::{Hash, Hasher};

use super::invariants::Violation;
use super::model::{Model, PairModel};
use super::simulation::{History, Turn};
use crate::host::{Command, Output};
use crate::model::Host;
use crate::step::{Graph, ReplicaAct, ReplicaRun, ReplicaStep, Step, StepKind, Verb};

/// A replica of a pair.
#[derive(Debug, Clone, Default)]
pub(super) struct ReplicaModel {
    pub job: String,
    /// Something that was prepared for it is still on the hosts.
    pub prepared: bool,
    pub seeded: bool,
    pub linked: bool,
    /// Whether the plan has a seed and a link of its own.
    pub seeds: bool,
    pub links: bool,
    /// The last write that the source has, and that the target has.
    pub source_has: u64,
    pub has: u64,
    /// The source takes no writes.
    pub fenced: bool,
    /// The source follows the target.
    pub follows: bool,
    /// The target takes writes.
    pub promoted: bool,
}

/// What a command means for a replica.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Means {
    Prepare,
    Seed,
    Link,
    Release,
    Fence,
    Promote,
    /// The source follows the target.
    Follow,
    /// The target is closed after it was promoted.
    Close,
    /// The source takes over again.
    TakeOver,
}

impl Means {
    /// What a step's command means, if it has one.
    pub fn of(step: &ReplicaStep) -> Option<Self> {
        match &step.act {
            ReplicaAct::Run(run) => match run.verb {
                Verb::Prepare => Some(Self::Prepare),
                Verb::Seed => Some(Self::Seed),
                Verb::Link => Some(Self::Link),
                Verb::Ahead | Verb::Back => None,
                Verb::Release => Some(Self::Release),
            },
            ReplicaAct::Fence(_) => Some(Self::Fence),
            ReplicaAct::Promote(_) => Some(Self::Promote),
            _ => None,
        }
    }

    /// What a command of the way back means, and whether that is taken back; a step of it has several.
    pub fn on_way_back(step: &ReplicaStep, command: &Command) -> Option<(Self, bool)> {
        let runs: &[ReplicaRun] = match &step.act {
            ReplicaAct::HandOver(switch) | ReplicaAct::Follow(switch) => &switch.back,
            // All that is left of it is to end it.
            ReplicaAct::Run(run) if run.verb == Verb::Back => &[],
            _ => return None,
        };
        match command.env.get("MIGRATE_VERB")?.as_str() {
            "back" => Some((Self::Follow, runs.iter().all(|run| run.run != command.script))),
            "fence" => Some((Self::Close, false)),
            "promote" => Some((Self::TakeOver, false)),
            _ => None,
        }
    }
}

/// What a command of the way back does to a replica.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct WayBack {
    pub pair: usize,
    pub replica: usize,
    pub means: Means,
    /// Whether that is taken back.
    pub ended: bool,
}

/// Whether doing a step again settles what its commands have done.
pub(super) fn asks_again(step: &Step) -> bool {
    matches!(&step.kind, StepKind::Replica(own) if matches!(own.act, ReplicaAct::HandOver(_) | ReplicaAct::Follow(_)))
}

impl ReplicaModel {
    /// The replicas of a pair: what its steps tell of them.
    pub fn of<'a>(steps: impl Iterator<Item = &'a ReplicaStep>) -> Vec<Self> {
        let mut replicas: Vec<Self> = Vec::new();
        for step in steps {
            let job = &step.replica.job;
            let at = replicas.iter().position(|r| r.job == *job).unwrap_or_else(|| {
                replicas.push(Self { job: job.clone(), source_has: 1, ..Self::default() });
                replicas.len() - 1
            });
            let Some(replica) = replicas.get_mut(at) else { continue };
            replica.seeds |= Means::of(step) == Some(Means::Seed);
            replica.links |= Means::of(step) == Some(Means::Link);
        }
        replicas
    }

    /// Whether changes flow.
    fn flows(&self) -> bool {
        (self.seeded || !self.seeds) && (self.linked || !self.links) && !self.promoted
    }

    fn take(&mut self, means: Means) {
        match means {
            Means::Prepare => self.prepared = true,
            Means::Seed => (self.seeded, self.has) = (true, self.source_has),
            Means::Link => self.linked = true,
            Means::Release => (self.prepared, self.linked) = (false, false),
            Means::Fence => self.fenced = true,
            Means::Promote => self.promoted = true,
            Means::Follow => self.follows = true,
            Means::Close => self.promoted = false,
            Means::TakeOver => (self.fenced, self.follows) = (false, false),
        }
    }

    fn take_back(&mut self, means: Means) {
        match means {
            Means::Prepare => self.prepared = false,
            Means::Seed => (self.seeded, self.has) = (false, 0),
            Means::Link => self.linked = false,
            Means::Fence => self.fenced = false,
            Means::Promote => self.promoted = false,
            Means::Follow => self.follows = false,
            Means::Release | Means::Close | Means::TakeOver => {}
        }
    }

    /// Hashes what makes a difference to what comes next.
    pub fn fingerprint(&self, pair: &PairModel, to: &mut impl Hasher) {
        (self.prepared, self.seeded, self.linked, self.fenced, self.promoted, self.follows).hash(to);
        (self.has.cmp(&self.source_has), self.has == pair.acked, self.source_has == pair.acked).hash(to);
    }

    /// Where it stands, for comparing ends.
    pub fn facts(&self, pair: &PairModel) -> [String; 5] {
        let (source, target) = (&pair.source, &pair.target);
        let word = |is: bool| if is { "" } else { "no " };
        [
            format!("{source}: {}fence", word(self.fenced)),
            format!("{target}: takes {}writes", word(self.promoted)),
            format!("{source}: {}slot for {target}", word(self.prepared)),
            format!("{target}: {}link", word(self.linked)),
            format!("{source}: {}link", word(self.follows)),
        ]
    }
}

impl PairModel {
    /// Whether its replicas let the source and the target take a write.
    pub fn replicas_let(&self) -> (bool, bool) {
        (self.replicas.iter().all(|r| !r.fenced), self.replicas.iter().all(|r| r.promoted))
    }

    /// Whether both sides of a replica take writes, whoever has users.
    pub fn has_two_writers(&self) -> bool {
        self.replicas.iter().any(|r| r.promoted && !r.fenced)
    }
}

impl Model {
    /// A command of a replica takes hold, or is taken back.
    pub fn act_on_replica(&mut self, pair: usize, job: usize, means: Means, back: bool) -> Result<(), Violation> {
        let Some(pair) = self.pairs.get_mut(pair) else { return Ok(()) };
        let source = pair.source.clone();
        let Some(replica) = pair.replicas.get_mut(job) else { return Ok(()) };
        if back {
            replica.take_back(means)
        } else if means == Means::Follow && !replica.fenced {
            // It would throw away what it takes.
            return Err(Violation::WriteLost { host: source });
        } else {
            replica.take(means)
        }
        match pair.has_two_writers() {
            true => Err(Violation::TwoWriters { old: pair.source.clone(), new: pair.target.clone() }),
            false => Ok(()),
        }
    }

    /// The pair and the replica of a step.
    pub fn replica_of(&self, step: &ReplicaStep) -> Option<(usize, usize)> {
        let of = |pair: &PairModel| pair.replicas.iter().position(|r| r.job == step.replica.job);
        self.pairs.iter().enumerate().find_map(|(n, pair)| Some((n, of(pair)?)))
    }
}

impl History {
    /// An operator who wants to go back, where a promote is open, looks at the target: it is not promoted, as far as can be seen.
    pub fn seems_not_promoted(&self, graph: &Graph, id: &str) -> bool {
        let Some(StepKind::Replica(step)) = graph.step(id).map(|step| &step.kind) else { return false };
        let found = self.model.replica_of(step).and_then(|(p, r)| self.model.pairs.get(p)?.replicas.get(r));
        Means::of(step) == Some(Means::Promote) && found.is_some_and(|replica| !replica.promoted)
    }

    /// The operator takes a target out of the way that was promoted, while the run goes back and nobody uses it.
    pub fn demote(&mut self, graph: &Graph, id: &str) {
        let Some(StepKind::Replica(step)) = graph.step(id).map(|step| &step.kind) else { return };
        if Means::of(step) != Some(Means::Fence) {
            return;
        }
        if let Some((pair, replica)) = self.model.replica_of(step)
            && let Some(replica) = self.model.pairs.get_mut(pair).and_then(|p| p.replicas.get_mut(replica))
        {
            replica.promoted = false;
        }
    }
}

/// What can be asked of a side.
const ASKED: [&str; 7] = ["check", "lag", "position", "digest", "writer", "reached", "back"];

impl Turn<'_> {
    /// What a command does that is one of several of its step.
    pub fn means_on_way_back(&self, command: &Command) -> Option<WayBack> {
        let StepKind::Replica(step) = &self.scenario.graph.steps.get(self.step?)?.kind else { return None };
        let (means, ended) = Means::on_way_back(step, command)?;
        let (pair, replica) = self.history.model.replica_of(step)?;
        Some(WayBack { pair, replica, means, ended })
    }

    /// Whether a command asks how a replica stands.
    pub fn asks_replica(&self, command: &Command) -> bool {
        command.env.get("MIGRATE_VERB").is_some_and(|verb| ASKED.contains(&verb.as_str()))
    }

    /// What a side of a replica says; `None` where it is no question of one.
    pub fn answer_of_replica(&mut self, host: &Host, command: &Command) -> Option<Output> {
        let Some(StepKind::Replica(step)) = self.step.and_then(|s| self.scenario.graph.steps.get(s)).map(|s| &s.kind)
        else {
            return None;
        };
        let verb = command.env.get("MIGRATE_VERB")?;
        let (pair, replica) = self.history.model.replica_of(step)?;
        let pair = self.history.model.pairs.get_mut(pair)?;
        let at_source = pair.source == host.name;
        let replica = pair.replicas.get_mut(replica)?;
        let back = matches!(step.act, ReplicaAct::HandOver(_) | ReplicaAct::Follow(_));
        let flows = if back { replica.follows } else { replica.flows() };
        let position = command.env.get("MIGRATE_POSITION").and_then(|p| p.parse::<u64>().ok());
        let said = |status: i32, text: String| {
            Some(Output { status, stdout: text.into_bytes(), stderr: Vec::new(), truncated: false })
        };
        match verb.as_str() {
            "check" => said(0, String::new()),
            "lag" => said(i32::from(!flows), "0".to_owned()),
            "position" => said(0, if at_source { replica.source_has } else { replica.has }.to_string()),
            "digest" => said(0, format!("all up to {}", position.unwrap_or_default())),
            "writer" => {
                let takes = if at_source { !replica.fenced } else { replica.promoted };
                said(0, if takes { "yes" } else { "no" }.to_owned())
            }
            "reached" => {
                let has = if at_source { replica.source_has } else { replica.has };
                // By the next time it has what was on its way.
                match (flows, at_source) {
                    (true, true) => replica.source_has = replica.has,
                    (true, false) => replica.has = replica.source_has,
                    (false, _) => {}
                }
                said(i32::from(position.is_none_or(|p| has < p)), String::new())
            }
            "back" => said(i32::from(!replica.follows), String::new()),
            _ => None,
        }
    }
}
