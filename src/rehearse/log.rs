//! The simulated journal: what is durable, and what a new controller would read.

use std::io;
use std::sync::Arc;

use jiff::Timestamp;

use super::fault::{Call, Fault};
use super::promise::Broken;
use super::stage::{Script, Sim, Stage};
use crate::event::{Event, Record, RunState, StepResult};
use crate::journal::{JournalError, Log};

/// A controller's hold on the journal.
pub(super) struct SimLog(pub Arc<Stage>);

impl Log for SimLog {
    fn append(&mut self, event: Event) -> Result<Record, JournalError> {
        let mut sim = self.0.lock();
        if sim.dead || sim.disk_full {
            return Err(full());
        }
        let appended = sim.append(&self.0.script, event);
        sim.settle();
        if sim.dead { Err(full()) } else { appended }
    }
}

fn full() -> JournalError {
    JournalError::Io { path: "the journal".into(), source: io::Error::from(io::ErrorKind::StorageFull) }
}

fn step_of(event: &Event) -> Option<&str> {
    match event {
        Event::Intent { step, .. } | Event::Outcome { step, .. } => Some(step),
        _ => None,
    }
}

impl Sim {
    fn append(&mut self, script: &Script, event: Event) -> Result<Record, JournalError> {
        let step = step_of(&event).and_then(|s| script.index.get(s)).copied();
        let what = if self.tale.is_some() { describe(&event) } else { String::new() };
        let turn = matches!(event, Event::Outcome { undo: false, .. } | Event::Held { .. });
        let fault = self.point_of(script, Call::Append { turn }, step, &what);
        if matches!(fault, Some(Fault::DiskFull | Fault::KilledBefore)) {
            self.disk_full = fault == Some(Fault::DiskFull);
            return Err(full());
        }
        let record = self.keep_record(script, event, step);
        if fault == Some(Fault::SyncFailed) {
            self.disk_full = true;
            return Err(full());
        }
        if fault == Some(Fault::RollBack) {
            self.ask_to_stop();
        }
        self.merge(script, &record.event);
        Ok(record)
    }

    /// Makes a record durable. Also for what is recorded outside of the engine.
    pub fn keep_record(&mut self, script: &Script, event: Event, step: Option<usize>) -> Record {
        let at = Timestamp::from_second(self.now.as_secs() as i64).unwrap_or_default();
        let record = Record { seq: self.state.as_ref().map_or(0, |s| s.records), at, event };
        let intent = matches!(record.event, Event::Intent { .. });
        self.clean &=
            !matches!(&record.event, Event::Outcome { result, .. } if !matches!(result, StepResult::Done { .. }));
        let folded = match &mut self.state {
            Some(state) => state.apply(record.clone()),
            None => RunState::begin(record.clone(), Arc::clone(&script.graph)).map(|s| self.state = Some(s)),
        };
        if let (Event::Outcome { undo: true, result: StepResult::Done { .. }, .. }, Some(step)) = (&record.event, step)
            && let Some(hook) = self.model.hooks.get_mut(step)
        {
            // What has nothing to take back may be done anew.
            hook.took = 0;
        }
        if let Err(e) = folded {
            self.fail(Broken::DoesNotFold { why: e.to_string() });
        }
        self.recorded(step, intent);
        record
    }

    /// Ends a history whose state was reached before, when no fault is left to strike.
    fn merge(&mut self, script: &Script, event: &Event) {
        let ended = matches!(event, Event::Outcome { .. });
        if !ended || self.struck < self.strikes.len() || self.tale.is_some() {
            return;
        }
        let Some(print) = self.fingerprint(script) else { return };
        let left = self.left + 1;
        let seen = self.seen.entry(print).or_default();
        if *seen >= left {
            (self.merged, self.dead) = (true, true);
            return;
        }
        *seen = left;
        if self.left > 0 || self.may_turn() {
            self.keep_quiet();
        }
    }
}

fn describe(event: &Event) -> String {
    match event {
        Event::Started(_) => "journal: the run begins".into(),
        Event::Resumed { .. } => "journal: taken up again".into(),
        Event::Intent { undo: false, .. } => "journal: intent".into(),
        Event::Intent { undo: true, .. } => "journal: intent to undo".into(),
        Event::Outcome { result, .. } => match result {
            StepResult::Done { .. } => "journal: done".into(),
            StepResult::Failed { why, .. } => format!("journal: failed: {why}"),
            StepResult::Unknown { why, .. } => format!("journal: unknown: {why}"),
        },
        Event::Paused { .. } | Event::Unpaused { .. } | Event::Approved { .. } | Event::Tuned { .. } => {
            "journal: an operator's order".into()
        }
        Event::Aborted { .. } => "journal: an operator aborts".into(),
        Event::Cleared { .. } => "journal: nothing of the run is left on the hosts".into(),
        Event::Held { why, .. } => format!("journal: held: {why}"),
        Event::Stopped { by } => format!("journal: stopped by {by}"),
        Event::Finished => "journal: finished".into(),
        Event::RollbackBegan { .. } => "journal: the run goes back".into(),
        Event::RolledBack => "journal: rolled back".into(),
        Event::Resolved { done, .. } => format!("journal: resolved as {}done", if *done { "" } else { "not " }),
    }
}
