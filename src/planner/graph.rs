//! The step graph: what a plan compiles into, and the only thing the engine runs.
//!
//! Owns the closed list of step kinds, with every value filled in, so that a journal that holds the graph can be taken up without
//! planning again. Must never hold a secret: only references to them.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::spec::model::{DataPath, Gate, HealthCheck, HookPoint, OnDeadline, OnFailure, Pair, SecretRef, Throttle};
use crate::text;
use crate::traffic::{Change, Mode};

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
    Gate(Gate),
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
    /// Patterns of what stays behind.
    pub exclude: Vec<String>,
    /// Deletions follow.
    pub delete: bool,
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

/// Which of the passes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CopyPhase {
    /// The first, long before the drain.
    Seed,
    /// Passes until little is left.
    CatchUp,
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
            | Self::Gate(_) => Class::Reading,
            Self::Copy(_)
            | Self::Traffic { .. }
            | Self::LowerTtl { .. }
            | Self::RestoreTtl { .. }
            | Self::CleanUp { .. } => Class::Convergent,
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

    /// One word for people: the phase that the step is part of.
    pub fn phase(&self) -> &'static str {
        match self {
            Self::Check { .. } => "check",
            Self::Copy(c) => match c.phase {
                CopyPhase::Seed => "seed",
                CopyPhase::CatchUp => "catch up",
                CopyPhase::Last => "last pass",
                CopyPhase::Verify => "verify",
            },
            Self::Verify(_) => "verify",
            Self::Traffic { share: Some(_), .. } => "shift",
            Self::Traffic { changes, .. } if changes.iter().all(|c| c.mode == Mode::Maint) => "retire",
            Self::Traffic { .. } => "drain",
            Self::LowerTtl { .. } => "lower ttl",
            Self::RestoreTtl { .. } => "restore ttl",
            Self::Settle { .. } => "settle",
            Self::Empty { .. } => "empty",
            Self::Watch { .. } => "watch",
            Self::Gate(_) => "gate",
            Self::Hook(hook) => hook.at.name(),
            Self::CleanUp { .. } => "clean up",
        }
    }

    /// What is done, in one line for people.
    pub fn describe(&self) -> String {
        match self {
            Self::Check { host, checks } => format!("{host} passes {}", text::count(checks.len() as u64, "check")),
            Self::Copy(c) => describe_copy(c),
            Self::Verify(c) => format!("{}, by the content of every file on both sides", describe_copy(c)),
            Self::Traffic { director, pool, changes, .. } => {
                let changes: Vec<String> = changes.iter().map(describe_change).collect();
                format!("{director} {pool}: {}", changes.join(", "))
            }
            Self::LowerTtl { director, pool, ttl } => format!("{director} {pool}: TTL {}", text::duration(*ttl)),
            Self::RestoreTtl { director, pool, .. } => format!("{director} {pool}: TTL as it was before"),
            Self::Settle { director, pool, outlast } => match outlast {
                Some(_) => format!("{director} {pool}: the old TTL has run out and resolvers answer anew"),
                None => format!("{director} {pool}: its TTL has run out and resolvers answer anew"),
            },
            Self::Empty { member, deadline, on_deadline, .. } => format!(
                "until {member} has no connections, at most {}, then {}",
                text::duration(*deadline),
                on_deadline.name()
            ),
            Self::Watch { hold, checks } if checks.is_empty() => format!("for {}", text::duration(*hold)),
            Self::Watch { hold, checks } => {
                let hosts: Vec<&String> = checks.keys().collect();
                format!("health of {} for {}", text::list(&hosts), text::duration(*hold))
            }
            Self::Gate(gate) => describe_gate(gate),
            Self::Hook(hook) => format!("on {}: {}", hook.host, text::escape(hook.run.as_bytes(), 100)),
            Self::CleanUp { hosts, .. } => format!("nothing of migrate is left on {}", text::list(hosts)),
        }
    }
}

/// What a gate waits for.
pub fn describe_gate(gate: &Gate) -> String {
    let mut asks = Vec::new();
    match gate.approvals {
        0 => {}
        1 => asks.push("somebody approves".to_owned()),
        n => asks.push(format!("{n} different people approve")),
    }
    if let Some(time) = gate.not_before {
        asks.push(format!("it is {time}"));
    }
    if let Some(window) = &gate.window {
        let clock = |minute: u16| format!("{:02}:{:02}", minute / 60, minute % 60);
        let names = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
        let days: Vec<&str> =
            (1_i8..).zip(names).filter(|(n, _)| window.days.contains(n)).map(|(_, name)| name).collect();
        let days = if days.len() == 7 { "any day".to_owned() } else { text::list(&days) };
        asks.push(format!("it is {days} between {} and {} in {}", clock(window.from), clock(window.to), window.zone));
    }
    format!("until {}", text::list(&asks))
}

fn describe_copy(c: &CopyStep) -> String {
    let way = match c.path {
        DataPath::Auto => "",
        DataPath::Direct => ", only from host to host",
        DataPath::Relay => ", through this machine",
    };
    let trees = if c.from == c.to { format!("{}{way}", c.from) } else { format!("{} → {}{way}", c.from, c.to) };
    match c.phase {
        CopyPhase::Seed => format!("{trees}, live"),
        CopyPhase::CatchUp => {
            format!("{trees} until less than {} is left, at most {} passes", text::bytes(c.settle_below), c.max_passes)
        }
        CopyPhase::Last | CopyPhase::Verify => trees,
    }
}

fn describe_change(change: &Change) -> String {
    match change.mode {
        Mode::Ready => format!("{} weight {}", change.member, change.weight),
        Mode::Drain => format!("{} drain", change.member),
        Mode::Maint => format!("{} maintenance", change.member),
    }
}

impl OnDeadline {
    /// The word in plans.
    pub fn name(self) -> &'static str {
        match self {
            Self::Hold => "hold",
            Self::Restore => "restore",
            Self::Proceed => "proceed",
        }
    }
}

impl HookPoint {
    /// The word in plans.
    pub fn name(self) -> &'static str {
        match self {
            Self::BeforePair => "before_pair",
            Self::BeforeSeed => "before_seed",
            Self::AfterSeed => "after_seed",
            Self::BeforeDrain => "before_drain",
            Self::AfterDrain => "after_drain",
            Self::Freeze => "freeze",
            Self::Thaw => "thaw",
            Self::BeforeShift => "before_shift",
            Self::AfterShift => "after_shift",
            Self::AfterPair => "after_pair",
        }
    }
}
