//! What happens in a run: the one language between the engine and those who watch, and the fold that every reader shares.
//!
//! Durable [`Event`]s are in the journal; [`Notice`]s are what a watcher sees: events after they are durable, and progress that may
//! be lost. Must never hold a secret or unescaped remote bytes.

mod approval;
mod batch;
mod cut_off;
mod figures;
pub mod fold;
mod known;
mod read;
mod reverse;
mod setting;
mod standing;
pub mod status;
mod stragglers;
mod telling;
mod watch;
mod words;

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::copy::CopyProgress;
use crate::model::{Input, LettingGo, Milestone, Notified, Paced, Pool, Rewrite};

pub use batch::BatchUnderWay;
pub use cut_off::CutOff;
pub use figures::Figures;
pub use fold::{IllegalTransition, RunState};
pub use known::{Known, OfPair};
pub use read::{ReadEvent, ReadRecord};
pub use reverse::ReversePace;
pub use setting::Setting;
pub use standing::{Drift, SetMember, SetTtl, Standing};
pub use status::{
    Approval, Direction, DriftRecord, Pause, ReleaseRecord, ReverseRecord, Status, StepRecord, StepState, Tuning,
};
pub use stragglers::{Came, Counted, Relayed};
pub use telling::Teller;
pub use watch::{Watch, Watchers};
pub use words::LastWords;

/// One record of a journal.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// Position in the journal, from 0.
    pub seq: u64,
    /// When it was written.
    pub at: Timestamp,
    /// What happened.
    pub event: Event,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "event")]
pub enum Event {
    /// The run began; always the first record.
    Started(Box<Started>),
    /// A controller took the run up again.
    Resumed {
        /// Who and where.
        by: Operator,
    },
    /// A step is about to act.
    Intent {
        /// Its id.
        step: String,
        /// From 1.
        attempt: u32,
        /// Whether its effect is being undone.
        undo: bool,
        /// What is there before it acts, for the undo and for later steps. On disk before the effect: afterwards it cannot be seen.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        before: Option<Before>,
    },
    /// A step has come to an end.
    Outcome {
        /// Its id.
        step: String,
        /// As in the intent.
        attempt: u32,
        /// As in the intent.
        undo: bool,
        /// How it ended.
        result: StepResult,
    },
    /// The run stopped where an operator is needed.
    Held {
        /// The step, when it is about one.
        step: Option<String>,
        /// Why, in one sentence.
        why: String,
        /// What to do next.
        hint: Option<String>,
        /// An undo failed: the run can neither go on nor back by itself.
        #[serde(default)]
        stuck: bool,
    },
    /// The run goes back from here on.
    RollbackBegan {
        /// Who and where; the controller's own when the plan's policy asked for it.
        by: Operator,
        /// The step after which it ends; `None` goes back to the start.
        to: Option<String>,
        /// Who or what wanted it.
        why: String,
        /// Targets may be taken out while nobody else of their pool is well.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        accept_gap: bool,
    },
    /// After everything was undone: what a pair's hosts still had of the run was taken away, or could not be.
    Cleared {
        /// The step that would have done so at the end of the way there.
        step: String,
        /// How it ended.
        result: StepResult,
    },
    /// Everything that was to be undone has been.
    RolledBack,
    /// An operator says what became of a step whose outcome is unknown.
    Resolved {
        /// Its id.
        step: String,
        /// Whether it took hold (or, while it was being undone, whether the undo did).
        done: bool,
        /// Who and where.
        by: Operator,
        /// How they know.
        why: String,
    },
    /// Nothing new begins until it is taken back.
    Paused {
        /// Who and where.
        by: Operator,
        /// Why.
        why: String,
    },
    /// The pause is over.
    Unpaused {
        /// Who and where.
        by: Operator,
    },
    /// Nothing new begins, and the run is held once what is under way has ended.
    Aborted {
        /// Who and where.
        by: Operator,
        /// Why.
        why: String,
    },
    /// Somebody says yes to a gate.
    Approved {
        /// Id of the gate's step.
        step: String,
        /// Who and where.
        by: Operator,
        /// Why.
        why: String,
    },
    /// A setting of the run was changed while it goes on.
    Tuned {
        /// What was set.
        setting: Setting,
        /// Who and where.
        by: Operator,
    },
    /// Members of a pool were found otherwise than the run has set them.
    Drifted {
        /// Id of the step that looked.
        step: String,
        /// Inventory name of the director.
        director: String,
        /// The pool.
        pool: String,
        /// What is otherwise; empty where the places that answer disagree.
        members: Vec<Drift>,
        /// Who or what could have done it, and what else is known.
        clues: Vec<String>,
        /// Whether they are about to be set again; otherwise the run is held.
        restores: bool,
    },
    /// How a source keeps in step with its target has changed.
    Reversed {
        /// Id of the step that carries to the source what the target takes.
        step: String,
        /// How it is from here on.
        pace: ReversePace,
    },
    /// Connections are being moved away: said now and then, so that whoever takes the run up knows at which pace.
    LetGo {
        /// Id of the step that lets them go.
        step: String,
        /// How far it is.
        progress: Milestone,
    },
    /// The limit of a copy has changed by what governs it: said now and then, so that whoever takes the run up knows it.
    Paced {
        /// Id of the step that copies.
        step: String,
        /// The limit.
        pace: Paced,
    },
    /// Clients have come to the old address of a source, and were sent on.
    Straggled {
        /// Id of the step that watches it.
        step: String,
        /// Who.
        came: Came,
    },
    /// Somebody who does not watch was told, or could not be: this says nothing about the run itself.
    Notified(Notified),
    /// A pair that is frozen goes back into service on its source.
    Released {
        /// Id of the step that was under way.
        step: String,
        /// Id of the step from which on everything is undone, and tried again.
        from: String,
        /// Why.
        why: String,
        /// How long after that it is tried again; `None`: an operator looks first.
        again: Option<Duration>,
    },
    /// The controller was asked to stop and did, at a safe point.
    Stopped {
        /// `interrupt`, `terminate`.
        by: String,
    },
    /// Everything is done.
    Finished,
    /// An operator gives the run up where it is: it will go neither on nor back.
    Abandoned {
        /// Who and where.
        by: Operator,
        /// Why.
        why: String,
        /// The store in which it goes on, when it was carried there.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        goes_on_in: Option<String>,
    },
}

impl Event {
    /// The step whose standing it changes.
    pub fn step(&self) -> Option<&str> {
        match self {
            Self::Intent { step, .. } | Self::Outcome { step, .. } | Self::Resolved { step, .. } => Some(step),
            Self::Started(_)
            | Self::Resumed { .. }
            | Self::Held { .. }
            | Self::RollbackBegan { .. }
            | Self::Cleared { .. }
            | Self::RolledBack
            | Self::Paused { .. }
            | Self::Unpaused { .. }
            | Self::Aborted { .. }
            | Self::Approved { .. }
            | Self::Tuned { .. }
            | Self::Drifted { .. }
            | Self::Reversed { .. }
            | Self::LetGo { .. }
            | Self::Paced { .. }
            | Self::Straggled { .. }
            | Self::Notified(_)
            | Self::Released { .. }
            | Self::Stopped { .. }
            | Self::Finished
            | Self::Abandoned { .. } => None,
        }
    }
}

/// How a run began.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Started {
    /// Name of the run.
    pub run: String,
    /// Name of the plan.
    pub plan: String,
    /// The files it came from.
    pub inputs: Vec<Input>,
    /// Where what each of them said is kept.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub texts: Vec<Blob>,
    /// Where what will be done is kept: a graph may be larger than any record.
    pub graph: Blob,
    /// Number of its steps.
    pub steps: usize,
    /// Who and where.
    pub by: Operator,
    /// Version of the tool.
    pub version: String,
}

/// Something that is kept beside the journal, because it is too large for a record. By its hashes the chain of the records covers it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Blob {
    /// Its size before it was compressed.
    pub bytes: u64,
    /// The SHA-256, hex, of each chunk of it, in order.
    pub chunks: Vec<String>,
}

/// Who runs the controller, and where.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Operator {
    /// Login name.
    pub user: String,
    /// Host name.
    pub host: String,
    /// Process id.
    pub pid: u32,
}

/// How a step ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "is")]
pub enum StepResult {
    /// It took hold, and that was read back.
    Done {
        /// What was seen, in one line.
        evidence: String,
        /// How long it took.
        millis: u64,
        /// What was measured, as numbers.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        figures: Option<Figures>,
    },
    /// It did not, and nothing more will come of it.
    Failed {
        /// Why, in one sentence.
        why: String,
        /// What to do next.
        hint: Option<String>,
    },
    /// Nobody can tell whether it did.
    Unknown {
        /// Why, in one sentence.
        why: String,
        /// What to do next.
        hint: Option<String>,
    },
}

/// What a step found before it changed it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Before {
    /// A pool.
    Pool(Pool),
    /// A TTL.
    Ttl(Duration),
    /// What is about to change in files that a director reads when it starts: no more of them than these words.
    Files(Vec<Rewrite>),
    /// How far the source of a replica was when it took no writes any more: a word of its own kind.
    Position(String),
}

/// What a watcher sees.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "notice")]
pub enum Notice {
    /// A record, after it is durable.
    Recorded(Record),
    /// How far a copy is. May be lost.
    Copying {
        /// The step.
        step: String,
        /// How far.
        progress: CopyProgress,
    },
    /// What a step waits for, with the last values seen. May be lost.
    Waiting {
        /// The step.
        step: String,
        /// `12 connections on dal-1, 10.0.0.7 among them`.
        what: String,
    },
    /// How far connections are moved away. May be lost.
    LettingGo {
        /// The step.
        step: String,
        /// How far.
        progress: LettingGo,
    },
    /// How fast a copy that is governed may go. May be lost.
    Paced {
        /// The step.
        step: String,
        /// Its limit.
        pace: Paced,
    },
    /// Something beside the run does not work, and the run goes on.
    Warning {
        /// In one sentence.
        what: String,
    },
}

impl Notice {
    /// Whether a watcher that has missed it has missed nothing for good.
    pub fn may_be_lost(&self) -> bool {
        match self {
            Self::Copying { .. } | Self::Waiting { .. } | Self::LettingGo { .. } | Self::Paced { .. } => true,
            Self::Recorded(_) | Self::Warning { .. } => false,
        }
    }
}
