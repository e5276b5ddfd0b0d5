//! The files that are arriving in parts, shared by all channels of a session.

use std::collections::HashMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use super::large::PartialFile;
use crate::copy::failure::{Failure, Side};

/// Files under way at most.
const MOST: usize = 1024;

/// Open files by their number.
#[derive(Default)]
pub struct OpenFiles {
    state: Mutex<Inner>,
    changed: Condvar,
}

#[derive(Default)]
struct Inner {
    open: HashMap<u32, Arc<PartialFile>>,
    ended: bool,
}

impl OpenFiles {
    /// A file begins.
    pub fn open(&self, file: u32, partial: PartialFile) -> Result<(), Failure> {
        let mut state = self.lock();
        if state.open.len() >= MOST || state.open.insert(file, Arc::new(partial)).is_some() {
            return Err(Failure::protocol(Side::Source, "too many open files"));
        }
        drop(state);
        self.changed.notify_all();
        Ok(())
    }

    /// An open file. A channel that may be `ahead` of the requests waits for it. `None` when the session ends first.
    pub fn find(&self, file: u32, ahead: bool) -> Result<Option<Arc<PartialFile>>, Failure> {
        let mut state = self.lock();
        loop {
            match state.open.get(&file) {
                Some(partial) => return Ok(Some(Arc::clone(partial))),
                None if !ahead => return Err(Failure::protocol(Side::Source, "a part of a file that is not open")),
                None if state.ended => return Ok(None),
                None => state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
            }
        }
    }

    /// A file is complete.
    pub fn close(&self, file: u32) {
        self.lock().open.remove(&file);
    }

    /// No file is opened any more.
    pub fn end(&self) {
        self.lock().ended = true;
        self.changed.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
