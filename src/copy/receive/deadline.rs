//! The most time that the command of a stream may take.
//!
//! Must never call its end known when it had seen the end of its input before it was killed.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::peer::Responses;
use crate::copy::command::ChildCommand;
use crate::copy::failure::{Failure, Side};
use crate::copy::wire::response::Response;
use crate::text;

/// Counts from its start.
#[derive(Default)]
pub struct Deadline {
    state: Mutex<Inner>,
    changed: Condvar,
}

#[derive(Default)]
struct Inner {
    /// The command may see the end of its input.
    whole: bool,
    /// The command has ended.
    over: bool,
    late: Option<Failure>,
}

impl Deadline {
    /// Waits for the command's end; kills it when that takes longer than `most`, and tells the source, which may be waiting for it.
    pub fn watch(&self, most: Duration, running: &ChildCommand, responses: &Responses) {
        let waited = self.changed.wait_timeout_while(self.lock(), most, |state| !state.over);
        let (mut state, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
        if !timeout.timed_out() {
            return;
        }
        running.kill();
        let failure = too_late(most, state.whole);
        state.late = Some(failure.clone());
        drop(state);
        // Where nobody listens any more the stream itself has ended.
        let _ = responses.send(&Response::Failed(failure), Vec::new());
    }

    /// Everything has arrived; false when the command must not see the end of it any more.
    pub fn whole(&self) -> bool {
        let mut state = self.lock();
        state.whole = state.late.is_none();
        state.whole
    }

    /// The command has ended: the failure if that was for the deadline.
    pub fn over(&self) -> Option<Failure> {
        let mut state = self.lock();
        state.over = true;
        self.changed.notify_all();
        state.late.clone()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn too_late(most: Duration, whole: bool) -> Failure {
    let what = format!("the stream took longer than its timeout of {}: its commands were killed", text::duration(most));
    let failure = Failure::fatal(Side::Target, what);
    match whole {
        // Another try, which says that nobody can tell.
        true => Failure { retryable: true, ..failure }
            .hint("all of it had arrived: look what the command on the target has made of it, and raise `timeout`"),
        false => {
            failure.hint("find out what held it up, or raise `timeout`; the command had not seen the end of its input")
        }
    }
}
