//! Threads that do what frames ask for, side by side.
//!
//! Owns the bounded queue between the reader of the stream and those who write to disk.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// Jobs that wait at most; each may hold a megabyte.
const WAITING: usize = 16;

/// A queue of jobs and the count of those under way.
pub struct Pool<J> {
    state: Mutex<Inner<J>>,
    changed: Condvar,
}

struct Inner<J> {
    waiting: VecDeque<J>,
    running: usize,
    closed: bool,
}

impl<J> Pool<J> {
    /// An empty queue.
    pub fn new() -> Self {
        Self {
            state: Mutex::new(Inner { waiting: VecDeque::new(), running: 0, closed: false }),
            changed: Condvar::new(),
        }
    }

    /// Adds a job; waits while the queue is full.
    pub fn push(&self, job: J) {
        let mut state = self.lock();
        while state.waiting.len() >= WAITING {
            state = self.wait(state);
        }
        state.waiting.push_back(job);
        drop(state);
        self.changed.notify_all();
    }

    /// Waits until every job is done.
    pub fn drain(&self) {
        let mut state = self.lock();
        while !state.waiting.is_empty() || state.running > 0 {
            state = self.wait(state);
        }
    }

    /// Lets the workers end once the queue is empty.
    pub fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_all();
    }

    /// Does jobs until the queue is closed and empty.
    pub fn work(&self, mut run: impl FnMut(J)) {
        while let Some(job) = self.next() {
            run(job);
            self.lock().running -= 1;
            self.changed.notify_all();
        }
    }

    fn next(&self) -> Option<J> {
        let mut state = self.lock();
        loop {
            if let Some(job) = state.waiting.pop_front() {
                state.running += 1;
                drop(state);
                self.changed.notify_all();
                return Some(job);
            }
            if state.closed {
                return None;
            }
            state = self.wait(state);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner<J>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(&self, guard: MutexGuard<'a, Inner<J>>) -> MutexGuard<'a, Inner<J>> {
        self.changed.wait(guard).unwrap_or_else(PoisonError::into_inner)
    }
}
