//! The durable log of a run: append-only, framed, chained. State is what it folds to, and nothing else is kept.
//!
//! Owns the format of its records and of what they name; where they are kept is a matter of stores. Must never repair anything but a torn
//! last frame.

pub mod blob;
pub mod format;
pub mod pack;

pub use blob::{BlobError, Chunks};
pub use format::JournalError;

use crate::event::{Event, Record};
use crate::step::Graph;

/// Where a run's records go. Returns once the record is durable; after an error nothing more is taken.
pub trait Log: Send {
    /// Appends one event.
    fn append(&mut self, event: Event) -> Result<Record, JournalError>;
}

/// The graph that the first of a run's records names; an empty one when there is none.
pub fn graph_of(records: &[Record], chunks: &dyn Chunks) -> Result<Graph, BlobError> {
    match records.first().map(|r| &r.event) {
        Some(Event::Started(started)) => blob::fetch(chunks, &started.graph),
        _ => Ok(Graph::default()),
    }
}
