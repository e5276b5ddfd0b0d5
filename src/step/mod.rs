//! The step graph: what a plan compiles into, and the only thing the engine runs.
//!
//! Owns the closed list of step kinds, with every value filled in, so that a journal that holds the graph can be taken up without
//! planning again. Must never hold a secret: only references to them.

mod words;

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::model::Change;
use crate::model::{DataPath, Gate, HealthCheck, HookPoint, OnDeadline, OnFailure, Pair, Throttle, TreeRules};
use crate::secret::SecretRef;

/// Steps and what each waits for.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Graph {
    /// Steps in an order in which each stands behind all it waits for.
    pub steps: Vec<Step>,
    /// Pairs that may fail before others are held, too.
    #[serde(default)]
    pub budgets: Budgets,
    /// Bytes per second of all copies together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total_bandwidth: Option<u64>,
}

/// Pairs that may fail before others are held, too.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Budgets {
    /// By wave; none is 0.
    pub waves: BTreeMap<String, usize>,
    /// In all; `None` leaves it to the waves.
    pub all: Option<usize>,
}

impl Graph {
    /// The step with that id.
    pub fn step(&self, id: &str) -> Option<&Step> {
        self.steps.iter().find(|s| s.id == id)
    }
}

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
    /// Why there is no way back once this step may have been done; `None` when there is one.
    pub no_return: Option<String>,
}

/// Everything a step can be.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "do")]
pub enum StepKind {
    /// Waits until the host passes its checks; fails when it does not within the time of the check.
    Check {
        /// Inventory name.
        host: String,
        /// All must pass.
        checks: Vec<HealthCheck>,
    },
    /// Copy passes over one tree.
    Copy(CopyStep),
    /// Compares one tree on both sides by content.
    Verify(CopyStep),
    /// Pours what a command on the source writes into a command on the target.
    Stream(StreamStep),
    /// Absolute settings of members of one pool.
    Traffic {
        /// Inventory name of the director.
        director: String,
        /// The pool.
        pool: String,
        /// Applied in this order.
        changes: Vec<Change>,
        /// Percent of the full weight that targets have afterwards; `None` when the step drains.
        share: Option<u8>,
        /// What the way back has to respect.
        back: WayBack,
    },
    /// Lowers the TTL of a pool for the time of the move.
    LowerTtl {
        /// Inventory name of the director.
        director: String,
        /// The pool.
        pool: String,
        /// The TTL to set.
        ttl: Duration,
    },
    /// Puts the TTL back to what a [`StepKind::LowerTtl`] step found.
    RestoreTtl {
        /// Inventory name of the director.
        director: String,
        /// The pool.
        pool: String,
        /// Id of the step that found it.
        found_by: String,
    },
    /// Waits until nobody can have an older answer of the pool any more: the TTL in force before a step, then the listed resolvers.
    Settle {
        /// Inventory name of the director.
        director: String,
        /// The pool.
        pool: String,
        /// Id of the step whose earlier TTL is waited out; `None`: the TTL in force now.
        outlast: Option<String>,
    },
    /// Waits until a member has no connections.
    Empty {
        /// Inventory name of the director.
        director: String,
        /// The pool.
        pool: String,
        /// The member.
        member: String,
        /// Inventory name of its host, asked where the director cannot count.
        host: String,
        /// Local port of the service on that host.
        port: Option<u16>,
        /// How long it may take.
        deadline: Duration,
        /// How often it is counted.
        interval: Duration,
        /// What happens at the deadline.
        on_deadline: OnDeadline,
        /// Id of the traffic step that drained it.
        drained_by: String,
    },
    /// Lets time pass while checks go on.
    Watch {
        /// How long.
        hold: Duration,
        /// Checks by host; empty only waits.
        checks: BTreeMap<String, Vec<HealthCheck>>,
    },
    /// Waits until people, the calendar and the clock say yes.
    Gate {
        /// What it asks.
        asks: Gate,
        /// Why there is no way back behind what it lets pass: a gate of its own asks before the first such step.
        past: Vec<String>,
    },
    /// A command of the plan on a host.
    Hook(HookStep),
    /// Removes what was put on the pair's hosts: agents, manifests, receipts.
    CleanUp {
        /// Inventory names.
        hosts: Vec<String>,
        /// Ids of the copy jobs.
        jobs: Vec<String>,
    },
}

/// The rails of a traffic step's undo: going back is moving traffic, too.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WayBack {
    /// Hosts that get traffic again, and must pass these checks before.
    pub checks: BTreeMap<String, Vec<HealthCheck>>,
    /// Time to let pass afterwards, as on the way there.
    pub hold: Duration,
    /// Whether caches must run out before the next step back.
    pub settle: bool,
}

/// One tree to carry, with its paths filled in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CopyStep {
    /// Id of the copy job: the same for all passes over this tree.
    pub job: String,
    /// What the pass is for.
    pub phase: CopyPhase,
    /// Root on the source.
    pub from: String,
    /// Root on the target.
    pub to: String,
    /// What the target is to have of the source.
    pub rules: TreeRules,
    /// Bytes per second.
    pub bandwidth: Option<u64>,
    /// Which way the data takes.
    #[serde(default)]
    pub path: DataPath,
    /// Holds the copy back while the source serves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub throttle: Option<Throttle>,
    /// Catch-up ends when a pass had less than this many bytes to send.
    pub settle_below: u64,
    /// Catch-up ends after this many passes.
    pub max_passes: u32,
}

/// A stream with its commands filled in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamStep {
    /// Id of the job.
    pub job: String,
    /// The shell script on the source.
    pub from: String,
    /// The shell script on the target.
    pub to: String,
    /// How long both may take.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Duration>,
    /// Bytes per second.
    pub bandwidth: Option<u64>,
    /// Whether pouring it twice is the same as once.
    pub idempotent: bool,
}

/// Which of the passes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CopyPhase {
    /// The first, long before the drain.
    Seed,
    /// Passes until little is left.
    CatchUp,
    /// The comparison before the drain, while the source lives.
    VerifyAhead,
    /// The one pass after the freeze.
    Last,
    /// The comparison after that.
    Verify,
}

/// A command with its values filled in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HookStep {
    /// Inventory name of the host.
    pub host: String,
    /// When it runs.
    pub at: HookPoint,
    /// The shell script.
    pub run: String,
    /// How long it may take.
    pub timeout: Duration,
    /// Whether running it twice is the same as once.
    pub idempotent: bool,
    /// A script that exits 0 when the work is already done.
    pub done_when: Option<String>,
    /// The script that takes it back.
    pub undo: Option<String>,
    /// Environment variables from secrets.
    pub secrets: BTreeMap<String, SecretRef>,
}

/// What may be assumed when the outcome of a step is not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Class {
    /// Only reads or waits.
    Reading,
    /// Can be repeated.
    Convergent,
    /// The host keeps a receipt per key; a repeat gets the first result.
    Keyed,
    /// The result can be asked for.
    Probed,
    /// Nobody can be asked: an unknown outcome holds.
    Opaque,
}

impl StepKind {
    /// The effect class.
    pub fn class(&self) -> Class {
        match self {
            Self::Check { .. }
            | Self::Verify(_)
            | Self::Settle { .. }
            | Self::Empty { .. }
            | Self::Watch { .. }
            | Self::Gate { .. } => Class::Reading,
            Self::Copy(_)
            | Self::Traffic { .. }
            | Self::LowerTtl { .. }
            | Self::RestoreTtl { .. }
            | Self::CleanUp { .. } => Class::Convergent,
            Self::Stream(stream) if stream.idempotent => Class::Convergent,
            Self::Stream(_) => Class::Opaque,
            Self::Hook(hook) if hook.done_when.is_some() => Class::Probed,
            Self::Hook(hook) if hook.idempotent => Class::Convergent,
            Self::Hook(_) => Class::Keyed,
        }
    }

    /// Whether undoing it does anything.
    pub fn has_undo(&self) -> bool {
        match self {
            Self::Traffic { .. } | Self::LowerTtl { .. } | Self::RestoreTtl { .. } => true,
            Self::Hook(hook) => hook.undo.is_some(),
            _ => false,
        }
    }
}
