//! The durable log of a run: append-only, framed, chained. State is what it folds to, and nothing else is kept.
//!
//! Owns the format and the file. A write or a sync that fails poisons the journal: nothing more is written, and the run stops.
//! Must never repair anything but a torn last frame.

pub mod blob;
pub mod file;
pub mod format;
pub mod pack;

pub use blob::{BlobError, ChunkDir, Chunks};
pub use file::Journal;
pub use format::JournalError;

use crate::event::{Event, Record};

/// Where a run's records go. Returns once the record is durable; after an error nothing more is taken.
pub trait Log: Send {
    /// Appends one event.
    fn append(&mut self, event: Event) -> Result<Record, JournalError>;
}
