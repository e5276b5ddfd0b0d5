//! Where a run and its steps stand: the words that the fold speaks in.

use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;

use super::{Before, Drift, Figures, Operator, ReversePace, Setting};
use crate::model::{OnDrift, Portion};

/// Which way a run goes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// To the end of the plan.
    #[default]
    Forward,
    /// Back.
    Back {
        /// To right after this step; `None` to the start.
        to: Option<String>,
    },
}

/// Who keeps a run from beginning anything new.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Pause {
    /// Who and where.
    pub by: Operator,
    /// Why.
    pub why: String,
    /// Since when.
    pub since: Timestamp,
}

/// Somebody's yes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Approval {
    /// Who and where.
    pub by: Operator,
    /// Why.
    pub why: String,
}

/// What has been set while a run went on; `None` leaves it to the plan.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Tuning {
    /// As in [`Setting::Hold`].
    pub hold: Option<Duration>,
    /// As in [`Setting::Bandwidth`].
    pub bandwidth: Option<u64>,
    /// As in [`Setting::TotalBandwidth`].
    pub total_bandwidth: Option<u64>,
    /// As in [`Setting::MaxUnavailable`].
    pub max_unavailable: Option<Portion>,
    /// As in [`Setting::OnDrift`].
    pub on_drift: Option<OnDrift>,
    /// As in [`Setting::Pace`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pace: Option<u64>,
}

impl Tuning {
    pub(super) fn set(&mut self, setting: Setting) {
        match setting {
            Setting::Hold(hold) => self.hold = Some(hold),
            Setting::Bandwidth(bytes) => self.bandwidth = Some(bytes),
            Setting::TotalBandwidth(bytes) => self.total_bandwidth = Some(bytes),
            Setting::MaxUnavailable(pairs) => self.max_unavailable = Some(pairs),
            Setting::OnDrift(on_drift) => self.on_drift = Some(on_drift),
            Setting::Pace(pace) => self.pace = Some(pace),
        }
    }
}

/// Members of a pool that were found otherwise than the run had set them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DriftRecord {
    /// When.
    pub at: Timestamp,
    /// Id of the step that looked.
    pub step: String,
    /// Inventory name of the director.
    pub director: String,
    /// The pool.
    pub pool: String,
    /// What was otherwise.
    pub members: Vec<Drift>,
    /// Who or what could have done it, and what else is known.
    pub clues: Vec<String>,
    /// Whether they were about to be set again.
    pub restores: bool,
}

impl std::fmt::Display for DriftRecord {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let said = self.members.iter().map(Drift::to_string).chain(self.clues.iter().cloned());
        write!(f, "{} {}: {}", self.director, self.pool, said.collect::<Vec<_>>().join("; "))
    }
}

/// How a source keeps in step with its target.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ReverseRecord {
    /// Since when it is so.
    pub since: Timestamp,
    /// How it is.
    pub pace: ReversePace,
    /// When it was last recorded to be in step.
    pub in_step: Option<Timestamp>,
}

/// A pair that was frozen and has gone back into service on its source, or is on its way there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ReleaseRecord {
    /// Why.
    pub why: String,
    /// How often, since somebody has looked.
    pub times: u32,
    /// How long after its end it is tried again; `None`: an operator looks first.
    pub again: Option<Duration>,
    /// When all of it had been put back; `None`: it has not yet.
    pub ended: Option<Timestamp>,
}

impl ReleaseRecord {
    /// When it is tried again.
    pub fn until(&self) -> Option<Timestamp> {
        self.ended?.checked_add(self.again?).ok()
    }
}

/// A run as a whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "status")]
pub enum Status {
    /// A controller works on it, or died while it did.
    Running,
    /// An operator is needed.
    Held {
        /// The step, when it is about one.
        step: Option<String>,
        /// Why.
        why: String,
        /// What to do next.
        hint: Option<String>,
        /// An undo failed.
        stuck: bool,
    },
    /// Was asked to stop.
    Stopped {
        /// By what.
        by: String,
    },
    /// Everything is done.
    Finished,
    /// Everything is as it was at the start.
    RolledBack,
    /// It was given up where it was.
    Abandoned {
        /// Who and where.
        by: Operator,
        /// Why.
        why: String,
        /// The store in which it goes on, when it was carried there.
        goes_on_in: Option<String>,
    },
}

impl Status {
    /// Whether nothing can come any more. A run that is not over keeps its hosts and pools.
    pub fn is_over(&self) -> bool {
        matches!(self, Self::Finished | Self::RolledBack | Self::Abandoned { .. })
    }
}

/// What is known of one step.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct StepRecord {
    /// Where it stands.
    pub state: StepState,
    /// Attempts begun.
    pub attempts: u32,
    /// When the first attempt began since it was last undone.
    pub first: Option<Timestamp>,
    /// When the last attempt began.
    pub began: Option<Timestamp>,
    /// When the last attempt ended.
    pub ended: Option<Timestamp>,
    /// Attempts that failed for certain since it was last undone.
    pub failures: u32,
    /// Executions, of the step or of its undo, whose end is known: what runs next is a new one.
    pub settled: u32,
    /// Whether an attempt has begun whose end nobody knows: what it has begun may still go on.
    pub in_flight: bool,
    /// Whether the attempt before the last one has an end that nobody knows.
    pub unclear: bool,
    /// Whether a step has begun since from which on the target may have taken writes: its undo has to bring them back.
    pub opened: bool,
    /// What was there before the first attempt.
    pub before: Option<Before>,
    /// What was seen at the end, or why it failed.
    pub says: String,
    /// What was measured by then.
    pub figures: Option<Figures>,
}

impl StepRecord {
    /// Its last execution has an end that is known. What is undone begins as if it had never been done.
    pub(super) fn settle(&mut self) {
        self.in_flight = false;
        self.settled += 1;
        if self.state == StepState::Waiting {
            (self.before, self.failures, self.opened, self.first) = (None, 0, false, None);
        }
    }
}

/// Where a step stands.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum StepState {
    /// Not begun, or undone.
    #[default]
    Waiting,
    /// Intended; without an outcome it may or may not have happened.
    Running,
    /// Took hold.
    Done,
    /// Did not.
    Failed,
    /// Nobody can tell.
    Unknown,
    /// Its undo was intended.
    Undoing,
}
