//! The durable log of a run: append-only, framed, chained. State is what it folds to, and nothing else is kept.
//!
//! Owns the format of its records and of what they name; where they are kept is a matter of stores. Must never repair anything but a torn
//! last frame.

pub mod blob;
pub mod format;
pub mod pack;
pub mod parts;
mod quick;

pub use blob::{BlobError, Chunks};
pub use format::JournalError;

use std::sync::Arc;

use crate::event::{Event, Record, RunState};
use crate::step::Graph;
use format::Position;

/// Where a run's records go. Returns once the record is durable; after an error nothing more is taken.
pub trait Log: Send {
    /// Appends one event.
    fn append(&mut self, event: Event) -> Result<Record, JournalError>;

    /// Appends several in this order. After an error, or a crash in the middle, the first of them may be there, and are whole.
    fn append_all(&mut self, events: Vec<Event>) -> Result<Vec<Record>, JournalError> {
        events.into_iter().map(|event| self.append(event)).collect()
    }
}

/// What a journal folds to, and how far it is whole. `chunks` is where what its first record names is kept.
pub fn fold(
    place: &str,
    bytes: &[u8],
    chunks: &(dyn Fn() -> Box<dyn Chunks> + Sync),
) -> Result<(RunState, Position), JournalError> {
    let illegal = |source| JournalError::Illegal { path: place.to_owned(), source };
    let first = Vec::from_iter(format::first(place, bytes)?);
    // The graph of a large plan takes as long as its records, which are taken in as they are read: all of them would be as large once more.
    std::thread::scope(|scope| {
        let mut reading = Some(scope.spawn(|| graph_of(&first, chunks().as_ref())));
        let mut state: Option<RunState> = None;
        let end = parts::each(place, bytes, |record| -> Result<(), JournalError> {
            if let Some(state) = &mut state {
                return state.take_in(record).map_err(illegal);
            }
            let read =
                reading.take().map(|graph| graph.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
            let graph = read.transpose().map_err(|source| JournalError::Blob { path: place.to_owned(), source })?;
            state = Some(RunState::begin(record.into(), Arc::new(graph.unwrap_or_default())).map_err(illegal)?);
            Ok(())
        })?;
        let state = state.map_or_else(|| RunState::fold([], Arc::default()).map_err(illegal), Ok)?;
        Ok((state, end))
    })
}

/// The graph that the first of a run's records names; an empty one when there is none.
pub fn graph_of(records: &[Record], chunks: &dyn Chunks) -> Result<Graph, BlobError> {
    match records.first().map(|r| &r.event) {
        Some(Event::Started(started)) => blob::fetch(chunks, &started.graph),
        _ => Ok(Graph::default()),
    }
}
