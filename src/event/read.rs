//! A record as it is read from a journal: of what most records are, the step's name is not copied.
//!
//! Must never say anything else than the record that it becomes.

use std::borrow::Cow;

use jiff::Timestamp;

use super::{Before, Event, Record, StepResult};

/// A record that may borrow from the bytes that it was read from.
#[derive(Debug, Clone, PartialEq)]
pub struct ReadRecord<'a> {
    /// Position in the journal, from 0.
    pub seq: u64,
    /// When it was written.
    pub at: Timestamp,
    /// What happened.
    pub event: ReadEvent<'a>,
}

/// What happened.
#[derive(Debug, Clone, PartialEq)]
pub enum ReadEvent<'a> {
    /// As in [`Event::Intent`].
    Intent {
        /// Its id.
        step: Cow<'a, str>,
        /// From 1.
        attempt: u32,
        /// Whether its effect is being undone.
        undo: bool,
        /// What is there before it acts.
        before: Option<Before>,
    },
    /// As in [`Event::Outcome`].
    Outcome {
        /// Its id.
        step: Cow<'a, str>,
        /// As in the intent.
        attempt: u32,
        /// As in the intent.
        undo: bool,
        /// How it ended.
        result: StepResult,
    },
    /// Anything else.
    Other(Box<Event>),
}

impl From<ReadRecord<'_>> for Record {
    fn from(ReadRecord { seq, at, event }: ReadRecord<'_>) -> Self {
        Self { seq, at, event: event.into() }
    }
}

impl From<ReadEvent<'_>> for Event {
    fn from(event: ReadEvent<'_>) -> Self {
        match event {
            ReadEvent::Intent { step, attempt, undo, before } => {
                Self::Intent { step: step.into_owned(), attempt, undo, before }
            }
            ReadEvent::Outcome { step, attempt, undo, result } => {
                Self::Outcome { step: step.into_owned(), attempt, undo, result }
            }
            ReadEvent::Other(event) => *event,
        }
    }
}

impl From<Event> for ReadEvent<'_> {
    fn from(event: Event) -> Self {
        match event {
            Event::Intent { step, attempt, undo, before } => Self::Intent { step: step.into(), attempt, undo, before },
            Event::Outcome { step, attempt, undo, result } => {
                Self::Outcome { step: step.into(), attempt, undo, result }
            }
            event => Self::Other(Box::new(event)),
        }
    }
}
