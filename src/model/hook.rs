//! Hooks, and what happens on failure.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Template;
use crate::secret::SecretRef;

/// A command at a named point, on a host of the pair or on the controller.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hook {
    /// When it runs.
    pub at: HookPoint,
    /// The host that it is about: whose values its commands get, and where they run unless that is the controller.
    pub on: Side,
    /// Whether it runs on the machine where the run's controller is.
    pub on_controller: bool,
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

impl Hook {
    /// Whether it runs on the host of this side.
    pub fn runs_on(&self, side: Side) -> bool {
        self.on == side && !self.on_controller
    }
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
    /// A command in the same place.
    Run(Template),
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
    /// Between two steps of a shift, once the first has been watched; only gates stand there.
    EachShift,
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
            Self::EachShift => "each_shift",
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
