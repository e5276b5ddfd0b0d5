//! `migrate status --follow`: a run as it goes on, from any record on.
//!
//! A live controller on this machine is asked, which tells of progress, too; else the records are read where they are kept.

use std::time::Duration;

use super::Exit;
use super::environment::Environment;
use crate::control;
use crate::event::{IllegalTransition, Notice, RunState, Status, Watch};
use crate::store::Follower;

/// How long one look for more records takes.
const LOOK: Duration = Duration::from_secs(1);

/// Shows a run, from that record on, until it has ended, or is held or stopped and nobody works on it.
pub fn follow(environment: &Environment, state: RunState, from: u64, watch: Box<dyn Watch>) -> anyhow::Result<Exit> {
    let run = state.started.run.clone();
    let mut kept = Follower::new(environment.store.clone(), &run, from.min(state.records));
    let mut following = Following { state, next: from, watch };
    loop {
        for record in kept.next(LOOK)? {
            following.take(Notice::Recorded(record))?;
        }
        if following.has_ended(environment.store.is_live(&run)) {
            break;
        }
        let mut illegal = None;
        let from = following.next.min(following.state.records);
        // Nobody there, or not any more: what it has written down is read as before.
        let _ = control::follow(&environment.store.socket(&run), from, |notice| {
            illegal = following.take(notice).err();
            illegal.is_some()
        });
        if let Some(illegal) = illegal {
            return Err(illegal.into());
        }
    }
    following.watch.close();
    Ok(match following.state.status {
        Status::Finished => Exit::Ok,
        Status::RolledBack => Exit::RolledBack,
        Status::Held { .. } | Status::Stopped { .. } | Status::Running | Status::Abandoned { .. } => Exit::Held,
    })
}

struct Following {
    state: RunState,
    /// The record that is shown next.
    next: u64,
    watch: Box<dyn Watch>,
}

impl Following {
    /// Shows what has not been shown yet.
    fn take(&mut self, notice: Notice) -> Result<(), IllegalTransition> {
        if let Notice::Recorded(record) = &notice {
            if record.seq >= self.state.records {
                self.state.apply(record.clone())?;
            }
            if record.seq < self.next {
                return Ok(());
            }
            self.next = record.seq + 1;
        }
        self.watch.see(&notice);
        Ok(())
    }

    fn has_ended(&self, live: bool) -> bool {
        match &self.state.status {
            Status::Finished | Status::RolledBack | Status::Abandoned { .. } => true,
            Status::Held { .. } | Status::Stopped { .. } => !live,
            // Its controller may be on another machine, or be started again.
            Status::Running => false,
        }
    }
}
