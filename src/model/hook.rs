//! Hooks, gates, secrets, and what happens on failure.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Template;
use crate::secret::SecretRef;

/// A command on a host at a named point.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hook {
    /// When it runs.
    pub at: HookPoint,
    /// Where it runs.
    pub on: Side,
    /// The shell command; values put in for `{{ name }}` are quoted as one word.
    pub run: Template,
    /// How long it may take.
    pub timeout: Duration,
    /// Whether running it twice is the same as once.
    pub idempotent: bool,
    /// A command that tells (exit 0) whether the hook's work is already done.
    pub done_when: Option<Template>,
    /// How its work is taken back.
    pub undo: Undo,
    /// Environment variables of the command, from secrets.
    pub secrets: BTreeMap<String, SecretRef>,
}

/// How the work of a hook is taken back.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Undo {
    /// The plan does not say: there is no way back behind the hook.
    #[default]
    Unsaid,
    /// There is nothing to take back.
    Nothing,
    /// A command on the same host.
    Run(Template),
}

/// A question that must be answered yes before a pair goes on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gate {
    /// Where it stands.
    pub at: HookPoint,
    /// How many different people have to approve.
    pub approvals: u8,
    /// Closed before this time.
    pub not_before: Option<jiff::Timestamp>,
    /// Open only in this window of the week.
    pub window: Option<Window>,
    /// How long may pass until it opens; `None`: any time.
    pub within: Option<std::time::Duration>,
    /// What happens when it did not open in time; `None`: as the service says.
    pub on_failure: Option<OnFailure>,
}

/// A weekly window of time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Window {
    /// Days on which it opens, Monday is 1.
    pub days: Vec<i8>,
    /// Minute of the day at which it opens.
    pub from: u16,
    /// Minute of the day at which it closes; not after `from`: on the next day.
    pub to: u16,
    /// IANA name of the time zone.
    pub zone: String,
}

/// What happens when a step fails.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnFailure {
    /// Stop and ask.
    #[default]
    Hold,
    /// Put the last shift back, then stop and ask.
    StepBack,
    /// Put everything back.
    Rollback,
}

/// The points of a pair's move that hooks can be tied to, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HookPoint {
    /// Before anything is done for the pair.
    BeforePair,
    /// Before the first copy.
    BeforeSeed,
    /// After the copy has caught up.
    AfterSeed,
    /// Before the source loses traffic.
    BeforeDrain,
    /// After its connections have ended.
    AfterDrain,
    /// Stops the writer on the source (cutover).
    Freeze,
    /// Starts the writer on the target (cutover).
    Thaw,
    /// Before the target gets traffic.
    BeforeShift,
    /// After the target has its full weight.
    AfterShift,
    /// After everything for the pair is done.
    AfterPair,
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

/// The side of a pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Side {
    /// The host that is left.
    Source,
    /// The host that takes over.
    Target,
}
