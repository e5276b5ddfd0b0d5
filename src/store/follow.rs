//! Following a run: its records from any one on, those that are there and those that come.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{LOOK, RunStore, StoreError};
use crate::event::Record;
use crate::journal::format::{self, Position};

/// Reads a run on and on.
pub struct Follower {
    store: Arc<dyn RunStore>,
    run: String,
    /// What comes before this record is left out.
    from: u64,
    position: Position,
}

impl Follower {
    /// From that record on, from 0.
    pub fn new(store: Arc<dyn RunStore>, run: &str, from: u64) -> Self {
        Self { store, run: run.to_owned(), from, position: Position::default() }
    }

    /// What has come since it was asked last. Waits for something, at most so long.
    pub fn next(&mut self, at_most: Duration) -> Result<Vec<Record>, StoreError> {
        let until = Instant::now() + at_most;
        loop {
            let rest = until.saturating_duration_since(Instant::now());
            let bytes = self.store.wait(&self.run, self.position.offset, rest)?;
            let mut records = format::read_on(&self.store.place(&self.run), &bytes, &mut self.position)?;
            records.retain(|r| r.seq >= self.from);
            if !records.is_empty() || rest.is_zero() {
                return Ok(records);
            }
            // A frame that is being written, or records that are left out.
            std::thread::sleep(LOOK.min(rest));
        }
    }
}
