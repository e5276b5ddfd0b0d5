//! Files that are arriving in parts, for all streams of a session.

use std::collections::HashMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use super::large::Partial;
use crate::copy::failure::{Failure, Side};

/// Files under way at most.
const MOST: usize = 1024;

/// By number.
#[derive(Default)]
pub struct Files {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    open: HashMap<u32, Arc<Partial>>,
    ended: bool,
}

impl Files {
    /// A file begins.
    pub fn open(&self, file: u32, partial: Partial) -> Result<(), Failure> {
        let mut state = self.lock();
        if state.open.len() >= MOST || state.open.insert(file, Arc::new(partial)).is_some() {
            return Err(Failure::protocol(Side::Source, "too many files at once"));
        }
        drop(state);
        self.changed.notify_all();
        Ok(())
    }

    /// A file that has begun. On a stream that may be `ahead` of the requests this waits for it; `None` when the session ends first.
    pub fn find(&self, file: u32, ahead: bool) -> Result<Option<Arc<Partial>>, Failure> {
        let mut state = self.lock();
        loop {
            match state.open.get(&file) {
                Some(partial) => return Ok(Some(Arc::clone(partial))),
                None if !ahead => return Err(Failure::protocol(Side::Source, "a part of a file that was not opened")),
                None if state.ended => return Ok(None),
                None => state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
            }
        }
    }

    /// A file is complete.
    pub fn close(&self, file: u32) {
        self.lock().open.remove(&file);
    }

    /// No file begins any more.
    pub fn end(&self) {
        self.lock().ended = true;
        self.changed.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
