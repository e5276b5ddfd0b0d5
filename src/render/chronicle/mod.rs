//! What a run was, for those who were not there: what moved and when, what was seen, who decided what.
//!
//! Owns what every form of the report shows; all of it is folded from the run's records. Must never tell more than they say, and never
//! let anything that came from outside become markup.

mod bands;
mod charts;
mod gather;
mod html;
mod markdown;
mod said;
mod sections;
mod share;

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Serialize;

use super::cut_off::Outage;
use super::format::{Show, Style};
use crate::event::{DriftRecord, Relayed};
use crate::model::Input;

pub use gather::Beside;
pub(super) use gather::standing;
pub use share::shares;

/// The number of this format, for programs.
const FORMAT: u32 = 1;

/// What a run was.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Chronicle {
    /// The number of this format.
    pub migrate_report: u32,
    /// Name of the run.
    pub run: String,
    /// Name of its plan.
    pub plan: String,
    /// What the plan says of itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// As in `migrate status`.
    pub status: String,
    /// Why it is held.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// What to do next.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// All of it in a few sentences.
    pub summary: String,
    /// Pairs whose users may be cut off.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cut_off: Option<Outage>,
    /// Who began it: `user@host`.
    pub by: String,
    /// When it began.
    pub began: Timestamp,
    /// When something last happened.
    pub last: Timestamp,
    /// Version of the program that began it.
    pub version: String,
    /// The files it came from.
    pub inputs: Vec<Input>,
    /// In numbers.
    pub totals: Totals,
    /// Waves in order.
    pub waves: Vec<Wave>,
    /// Pairs in the order of their first steps.
    pub pairs: Vec<PairTold>,
    /// What was done for all pairs of a service together, or for a wave.
    pub together: Vec<Together>,
    /// The share of traffic that targets have, by service.
    pub shares: Vec<ServiceShare>,
    /// Data that went from host to host.
    pub carried: Vec<Carried>,
    /// Data that was found to be the same on both hosts.
    pub compared: Vec<Carried>,
    /// Checks, gates and looks at what had been set, with what they have seen.
    pub looks: Vec<Look>,
    /// Steps that have failed, or whose end nobody knew.
    pub failures: Vec<Failure>,
    /// When nothing new began, and who ended that.
    pub halts: Vec<Halt>,
    /// What people did.
    pub acts: Vec<Act>,
    /// Where others have changed what the run had set.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub drifts: Vec<DriftRecord>,
    /// Who came to old addresses, by the step that watches them.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub relayed: BTreeMap<String, Relayed>,
    /// How the bill falls, one for each currency.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub bills: Vec<Falling>,
    /// Hosts of which nobody knows what they cost.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub unknown_costs: Vec<String>,
    /// Whether its records are what they were.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub audit: Option<Audit>,
}

/// A run in numbers.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Totals {
    /// Pairs.
    pub pairs: usize,
    /// Those that have moved.
    pub moved: usize,
    /// Steps.
    pub steps: usize,
    /// Those that are done.
    pub done: usize,
    /// Attempts that have failed, or whose end nobody knew.
    pub failures: usize,
    /// From the first record to the last.
    pub took_ms: u64,
    /// Of that, when nothing new began.
    pub halted_ms: u64,
    /// Files that went from host to host.
    pub files: u64,
    /// Bytes that did.
    pub bytes: u64,
    /// The longest freeze of a pair.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub longest_freeze_ms: Option<u64>,
}

/// One wave.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Wave {
    /// Its name.
    pub wave: String,
    /// Its pairs.
    pub pairs: usize,
    /// When its first step began.
    pub began: Option<Timestamp>,
    /// When its last one ended, but for those that wait for the end of the way back.
    pub ended: Option<Timestamp>,
}

/// One pair.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PairTold {
    /// Its wave.
    pub wave: String,
    /// Its service.
    pub service: String,
    /// The host it leaves.
    pub source: String,
    /// The host it goes to.
    pub target: String,
    /// `not begun`, `under way`, `moved`, `back`.
    pub is: &'static str,
    /// When its first step began.
    pub began: Option<Timestamp>,
    /// When it had moved.
    pub ended: Option<Timestamp>,
    /// Percent of its full weight that the target has; `None` where no traffic is moved.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub share: Option<u8>,
    /// When nobody could write, once that is over.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub freeze: Option<Freeze>,
    /// Bytes that went over for it.
    pub bytes: u64,
    /// What is known of its way back.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub way_back: Vec<String>,
    /// What was done for it, an attempt each.
    pub spans: Vec<Span>,
}

/// What was done for more than one pair.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Together {
    /// The wave.
    pub wave: String,
    /// The service; empty for what concerns the wave.
    pub service: String,
    /// What was done, an attempt each.
    pub spans: Vec<Span>,
}

/// The time in which nobody could write.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Freeze {
    /// When the writer on the source was stopped.
    pub began: Timestamp,
    /// When the target was open.
    pub ended: Timestamp,
    /// How long that was.
    pub millis: u64,
}

/// One attempt of a step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Span {
    /// The step.
    pub step: String,
    /// One word.
    pub phase: &'static str,
    /// What it is part of.
    pub band: Band,
    /// When it began.
    pub began: Timestamp,
    /// When it ended; `None`: not yet, as far as the records tell.
    pub ended: Option<Timestamp>,
    /// `done`, `failed`, `unknown`; `None` while it goes on.
    pub result: Option<&'static str>,
}

/// What a step is part of, for the eye.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Band {
    /// State is carried over or compared.
    State,
    /// Traffic is moved.
    Traffic,
    /// Something is looked at, or waited for.
    Wait,
    /// Everything else: commands, cleaning up.
    Other,
    /// The way back is kept open.
    WayBack,
    /// Something is put back.
    Undo,
}

/// The share of traffic that the targets of a service have.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ServiceShare {
    /// The service.
    pub service: String,
    /// Whether the run sets one share for all targets; else it is the mean of what each target has of its full weight.
    pub of_all: bool,
    /// What was set, each until the next.
    pub wanted: Vec<Wanted>,
    /// What was counted.
    pub measured: Vec<Measured>,
}

/// A share that was set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Wanted {
    /// From when on.
    pub at: Timestamp,
    /// In tenths of a percent.
    pub tenths: u16,
}

/// A share that was counted while a watch went on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Measured {
    /// The step.
    pub step: String,
    /// When it began.
    pub began: Timestamp,
    /// When it ended.
    pub ended: Timestamp,
    /// New sessions of the pool.
    pub sessions: u64,
    /// What the targets got of them, in tenths of a percent.
    pub tenths: u16,
    /// What they should have got by their weights.
    pub wanted: u16,
}

/// Data that went over, or was compared.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Carried {
    /// The step.
    pub step: String,
    /// One word.
    pub phase: &'static str,
    /// Whether it went back.
    pub back: bool,
    /// When it began.
    pub began: Timestamp,
    /// When it ended.
    pub ended: Timestamp,
    /// Regular files.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// In words.
    pub says: String,
}

impl Carried {
    /// How long it took.
    fn millis(&self) -> u64 {
        millis(self.began, self.ended)
    }

    /// Bytes in a second; `None` where it took no time that could be told.
    fn rate(&self) -> Option<u64> {
        let took = self.millis();
        (took > 0).then(|| u64::try_from(u128::from(self.bytes) * 1000 / u128::from(took)).unwrap_or(u64::MAX))
    }
}

/// Something that was asked, and what was seen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Look {
    /// When the answer came.
    pub at: Timestamp,
    /// The step.
    pub step: String,
    /// One word.
    pub phase: &'static str,
    /// What was asked.
    pub asked: String,
    /// What was seen.
    pub says: String,
}

/// An attempt that failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Failure {
    /// When.
    pub at: Timestamp,
    /// The step.
    pub step: String,
    /// Whether it was being undone.
    pub undo: bool,
    /// From 1.
    pub attempt: u32,
    /// `failed` or `unknown`.
    pub result: &'static str,
    /// Why.
    pub why: String,
}

/// A time in which nothing new began.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Halt {
    /// `held`, `stuck`, `paused`, `stopped`, `interrupted`.
    pub how: &'static str,
    /// Since when.
    pub began: Timestamp,
    /// Until when; `None`: it has not ended.
    pub ended: Option<Timestamp>,
    /// The step, when it is about one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub step: Option<String>,
    /// Why.
    pub why: String,
    /// Who ended it, and how.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ended_by: Option<String>,
}

/// Something that somebody did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Act {
    /// When.
    pub at: Timestamp,
    /// `user@host`.
    pub by: String,
    /// What, with why.
    pub did: String,
}

/// How a bill falls.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Falling {
    /// ISO 4217 code.
    pub currency: String,
    /// All hosts of the inventory a month, in hundredths.
    pub all: u64,
    /// Sources and targets of the plan.
    pub sources: u64,
    /// Those that it moves to.
    pub targets: u64,
    /// What a day costs in which all sources are kept after the move.
    pub way_back_a_day: u64,
    /// After each wave.
    pub waves: Vec<FallingWave>,
}

/// What a wave takes off a bill.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FallingWave {
    /// The wave.
    pub wave: String,
    /// When it was over, if it is.
    pub over: Option<Timestamp>,
    /// What its sources cost a month.
    pub ends: u64,
    /// What is left a month when they are given back.
    pub left: u64,
}

/// Whether the records of a run are what they were.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Audit {
    /// Whether nothing is wrong.
    pub intact: bool,
    /// What was found, and what could not be excluded, a sentence each.
    pub says: Vec<String>,
}

impl Show for Chronicle {
    fn text(&self, _: Style) -> String {
        self.markdown()
    }

    fn markdown(&self) -> String {
        markdown::page(self)
    }

    fn html(&self) -> String {
        html::page(self)
    }
}

/// From one moment to another.
fn millis(began: Timestamp, ended: Timestamp) -> u64 {
    u64::try_from(ended.duration_since(began).as_millis()).unwrap_or(0)
}
