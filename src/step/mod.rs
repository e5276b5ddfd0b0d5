//! The step graph: what a plan compiles into, and the only thing the engine runs. One file a kind of step.
//!
//! Owns the closed list of kinds, with every value filled in, so that a journal that holds the graph can be taken up without planning
//! again, and what the other rooms ask of a step ([`Kind`]). Must never hold a secret: only references to them.

mod check;
mod clean_up;
mod commit;
mod compare;
mod confirm;
mod copy;
mod empty;
mod fence;
mod gate;
mod graph;
mod hand_over;
mod hook;
mod kind;
mod live;
mod moment;
mod persist;
mod probe;
mod replica;
mod reverse;
mod set_aside;
mod setters;
mod settle;
mod stream;
mod traffic;
mod tree;
mod ttl;
mod watch;

use serde::{Deserialize, Serialize};

use crate::model::{OnFailure, Pair};

pub use check::CheckStep;
pub use clean_up::CleanUpStep;
pub use commit::CommitStep;
pub use compare::{CompareStep, Comparison};
pub use confirm::{ConfirmStep, Drained};
pub use copy::{CopyPass, CopyStep};
pub use empty::{EmptyStep, QUIET};
pub use fence::{FenceStep, Fenced, UnfenceStep};
pub use gate::GateStep;
#[cfg(test)]
pub use graph::counting;
pub use graph::{Budgets, Graph, Steps};
pub use hand_over::HandOverStep;
pub use hook::HookStep;
pub use kind::{AtMost, Class, Ends, Kind, Lane, Look, Undo};
pub use live::{Answer, Live, Mark, Preview};
pub use moment::{Draft, Moment};
pub use persist::{PersistStep, RewriteStep};
pub use probe::ProbeStep;
pub use replica::{
    BothSides, CatchUp, Compare, Fence, Promote, Prove, Replica, ReplicaAct, ReplicaRun, ReplicaStep, Verb,
};
pub use reverse::ReverseStep;
pub use set_aside::SetAsideStep;
pub use setters::Setters;
pub use settle::SettleStep;
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
    /// The wave it belongs to.
    pub wave: String,
    /// The service it belongs to.
    pub service: String,
    /// The pair it belongs to; `None` for what concerns all pairs of the service.
    pub pair: Option<Pair>,
    /// What is done.
    pub kind: StepKind,
    /// Ids of the steps that must be done before.
    pub after: Vec<String>,
    /// Whether a run must not stop right before this step: its pair is frozen.
    pub urgent: bool,
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
    /// Waits until a member has no connections.
    Empty(EmptyStep),
    /// Lets the firewall of a source refuse new connections.
    Fence(FenceStep),
    /// Takes that away again.
    Unfence(UnfenceStep),
    /// Looks whether pools are as the run has set them.
    Confirm(ConfirmStep),
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
    /// Tries the agent on all hosts of a wave.
    Probe(ProbeStep),
    /// Removes what was put on the pair's hosts.
    CleanUp(CleanUpStep),
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
            Self::Empty(step) => step,
            Self::Fence(step) => step,
            Self::Unfence(step) => step,
            Self::Confirm(step) => step,
            Self::Persist(step) => step,
            Self::Rewrite(step) => step,
            Self::Watch(step) => step,
            Self::Gate(step) => step,
            Self::Hook(step) => step,
            Self::Probe(step) => step,
            Self::CleanUp(step) => step,
        }
    }
}
