//! How a controller's work on a run ends.

use crate::event::{Event, IllegalTransition};
use crate::journal::JournalError;

/// How a controller's work on a run ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ending {
    /// Everything is done.
    Finished,
    /// Everything that was to be undone has been.
    RolledBack,
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
    /// It was asked to stop and did.
    Stopped,
}

/// Why a run could not be worked on at all.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The journal failed: nothing more was begun.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The engine's own records do not fit together.
    #[error("internal error: {0}")]
    Illegal(#[from] IllegalTransition),
    /// This controller may not act any more; what it had under way was let go.
    #[error("{0}")]
    Barred(String),
    /// A step broke down.
    #[error("internal error: step {step} broke down: {why}")]
    Broken {
        /// The step.
        step: String,
        /// What the runtime says.
        why: String,
    },
}

/// Asks a run to stop.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Stop {
    /// Not asked.
    #[default]
    No,
    /// At the next safe point.
    Soon {
        /// `interrupt`, `terminate`.
        by: String,
    },
}

/// The record of a hold.
pub(super) fn held_event(held: &Ending) -> Event {
    match held {
        Ending::Held { step, why, hint, stuck } => {
            Event::Held { step: step.clone(), why: why.clone(), hint: hint.clone(), stuck: *stuck }
        }
        Ending::Finished | Ending::RolledBack | Ending::Stopped => {
            Event::Held { step: None, why: String::new(), hint: None, stuck: false }
        }
    }
}
