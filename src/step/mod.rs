//! The step graph: what a plan compiles into, and the only thing the engine runs. One file a kind of step.
//!
//! Owns the closed list of kinds, with every value filled in, so that a journal that holds the graph can be taken up without planning
//! again, and what the other rooms ask of a step ([`Kind`]). Must never hold a secret: only references to them.

mod batch;
mod check;
mod clean_up;
mod commit;
mod compare;
mod confirm;
mod connections;
mod copy;
mod decommission;
mod empty;
mod fence;
mod gate;
mod graph;
mod hand_over;
mod hook;
mod kind;
mod leaving;
mod left_out;
mod live;
mod moment;
mod persist;
mod places;
mod probe;
mod relay;
mod replica;
pub mod reset;
mod reverse;
mod set_aside;
mod setters;
mod settle;
mod silence;
mod stream;
mod traffic;
mod tree;
mod ttl;
mod watch;

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::model::{Freeze, OnFailure, Pair, shared};

pub use batch::BatchStep;
pub use check::CheckStep;
pub use clean_up::CleanUpStep;
pub use commit::CommitStep;
pub use compare::{CompareStep, Comparison};
pub use confirm::{ConfirmStep, Drained};
pub use connections::{ConnectionsStep, LetGoBy, Watched};
pub use copy::{CopyPass, CopyStep};
pub use decommission::{Counted, DecommissionAct, DecommissionStep};
pub use empty::{EmptyStep, QUIET, Who};
pub use fence::{FenceStep, Fenced, UnfenceStep};
pub use gate::GateStep;
#[cfg(test)]
pub use graph::counting;
pub use graph::{Budgets, Graph, Steps};
pub use hand_over::HandOverStep;
pub use hook::HookStep;
pub use kind::{AtMost, Class, Ends, Kind, Lane, Look, Undo};
pub use leaving::Leaving;
pub use left_out::LeftOut;
pub use live::{Answer, Live, Mark, Preview};
pub use moment::{Draft, Moment};
pub use persist::{PersistStep, RewriteStep};
pub use places::Places;
pub use probe::ProbeStep;
pub use relay::{RelayStep, Route, StragglersStep, UnrelayStep};
pub use replica::{
    BothSides, CatchUp, Compare, Fence, Promote, Prove, Replica, ReplicaAct, ReplicaRun, ReplicaStep, Switch, Verb,
};
pub use reverse::ReverseStep;
pub use set_aside::SetAsideStep;
pub use setters::Setters;
pub use settle::SettleStep;
pub use silence::SilenceStep;
pub use stream::StreamStep;
pub use traffic::{Played, Purpose, TrafficStep, WayBack};
pub use tree::TreeStep;
pub use ttl::{LowerTtlStep, RestoreTtlStep};
pub use watch::{MeasuredPool, WatchStep};

/// The smallest thing the engine runs and records.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// Unique, stable and readable: `uploads/dal-1/seed`.
    pub id: String,
    /// The wave it belongs to. Many steps of a plan have the same names, and share them.
    #[serde(deserialize_with = "shared::text")]
    pub wave: Arc<str>,
    /// The service it belongs to.
    #[serde(deserialize_with = "shared::text")]
    pub service: Arc<str>,
    /// The pair it belongs to; `None` for what concerns all pairs of the service.
    #[serde(default, deserialize_with = "shared::pair")]
    pub pair: Option<Arc<Pair>>,
    /// What is done.
    pub kind: StepKind,
    /// Ids of the steps that must be done before.
    pub after: Vec<String>,
    /// Whether a run must not stop right before this step: its pair is frozen.
    pub urgent: bool,
    /// How long its pair may be frozen before it is done; `None` where nothing bounds that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub freeze: Option<Freeze>,
    /// What happens when it fails.
    pub on_failure: OnFailure,
    /// Why there is no way back once this step may have been done; `None` when there is one. A step that only reads gives nothing up before
    /// it is done.
    pub no_return: Option<String>,
    /// Ids of the steps whose undo brings back what the target may take from this step on.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub opens: Vec<String>,
    /// Id of the step at whose end this one ends: it has no end of its own, and stays under way beside others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub beside: Option<String>,
}

impl Step {
    /// One that concerns all of a wave: nothing but its wait holds it back, and a failure holds the run.
    pub fn of_wave(id: String, wave: Arc<str>, kind: StepKind, after: Vec<String>) -> Self {
        Self {
            id,
            wave,
            service: Arc::default(),
            pair: None,
            kind,
            after,
            urgent: false,
            freeze: None,
            on_failure: OnFailure::Hold,
            no_return: None,
            opens: Vec::new(),
            beside: None,
        }
    }

    /// Inventory names of the hosts it acts on.
    pub fn hosts(&self) -> Vec<&str> {
        let own = self.kind.hosts();
        let pair = || self.pair.iter().flat_map(|p| [p.source.as_str(), p.target.as_str()]).collect();
        own.unwrap_or_else(pair)
    }
}

/// Everything a step can be: one file and one line a kind.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StepKind {
    /// Waits until all checks pass.
    Check(CheckStep),
    /// Copies one tree: one pass, or passes until little is left.
    Copy(CopyStep),
    /// Compares one tree on both sides by content.
    Compare(CompareStep),
    /// Lets a tree change hands.
    HandOver(HandOverStep),
    /// Carries a tree from the target back to the source.
    Reverse(ReverseStep),
    /// Waits until the way back of a pair may end.
    Commit(CommitStep),
    /// Puts what is at a path aside.
    SetAside(SetAsideStep),
    /// Pours what a command on the source writes into a command on the target.
    Stream(StreamStep),
    /// Does something for a state that its own replication carries.
    Replica(Box<ReplicaStep>),
    /// Sets members of one pool.
    Traffic(TrafficStep),
    /// Lowers the TTL of a pool for the time of the move.
    LowerTtl(LowerTtlStep),
    /// Puts the TTL back to what was there before.
    RestoreTtl(RestoreTtlStep),
    /// Waits until nobody can have an older answer of the pool any more.
    Settle(SettleStep),
    /// Moves the connections away that a member still holds.
    Connections(Box<ConnectionsStep>),
    /// Waits until a member has no connections.
    Empty(EmptyStep),
    /// Lets the firewall of a source refuse new connections.
    Fence(FenceStep),
    /// Takes that away again.
    Unfence(UnfenceStep),
    /// Lets a drained source send on who still comes to it.
    Relay(RelayStep),
    /// Waits until nobody does any more.
    Stragglers(StragglersStep),
    /// Takes that away again.
    Unrelay(UnrelayStep),
    /// Looks whether pools are as the run has set them.
    Confirm(Box<ConfirmStep>),
    /// Looks whether a restart keeps what the run has set.
    Persist(PersistStep),
    /// Changes what is read at a restart.
    Rewrite(RewriteStep),
    /// Lets time pass while checks go on.
    Watch(WatchStep),
    /// Waits until every condition holds.
    Gate(GateStep),
    /// Runs a command of the plan on a host.
    Hook(HookStep),
    /// Waits until the pairs of a batch have moved.
    Batch(BatchStep),
    /// Tries the agent on all hosts of a wave.
    Probe(ProbeStep),
    /// Removes what was put on the pair's hosts.
    CleanUp(CleanUpStep),
    /// Silences alerts of hosts, or lets them be heard again.
    Silence(Box<SilenceStep>),
    /// Gives a source back to whom it is rented from.
    Decommission(Box<DecommissionStep>),
}

impl StepKind {
    /// The drained source of which it proves that it has taken nothing more, if that is what it does.
    pub fn confirms(&self) -> Option<&Drained> {
        match self {
            Self::Confirm(step) => step.source.as_ref(),
            _ => None,
        }
    }
}

impl std::ops::Deref for StepKind {
    type Target = dyn Kind;

    fn deref(&self) -> &Self::Target {
        match self {
            Self::Check(step) => step,
            Self::Copy(step) => step,
            Self::Compare(step) => step,
            Self::HandOver(step) => step,
            Self::Reverse(step) => step,
            Self::Commit(step) => step,
            Self::SetAside(step) => step,
            Self::Stream(step) => step,
            Self::Replica(step) => step.as_ref(),
            Self::Traffic(step) => step,
            Self::LowerTtl(step) => step,
            Self::RestoreTtl(step) => step,
            Self::Settle(step) => step,
            Self::Connections(step) => step.as_ref(),
            Self::Empty(step) => step,
            Self::Fence(step) => step,
            Self::Unfence(step) => step,
            Self::Relay(step) => step,
            Self::Stragglers(step) => step,
            Self::Unrelay(step) => step,
            Self::Confirm(step) => step.as_ref(),
            Self::Persist(step) => step,
            Self::Rewrite(step) => step,
            Self::Watch(step) => step,
            Self::Gate(step) => step,
            Self::Hook(step) => step,
            Self::Batch(step) => step,
            Self::Probe(step) => step,
            Self::CleanUp(step) => step,
            Self::Silence(step) => step.as_ref(),
            Self::Decommission(step) => step.as_ref(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_is_small_because_a_plan_may_have_hundreds_of_thousands() {
        assert!(size_of::<StepKind>() <= 208, "{}", size_of::<StepKind>());
        assert!(size_of::<Step>() <= 480, "{}", size_of::<Step>());
    }
}
