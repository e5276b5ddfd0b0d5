//! The simulated journal: what is durable, and what a new controller would read.

use std::hash::{Hash, Hasher};
use std::io;
use std::sync::Arc;

use xxhash_rust::xxh3::Xxh3Default;

use super::fault::{Call, Fault};
use super::invariants::Violation;
use super::simulation::{History, Scenario, Simulation};
use super::transcript::hash_debug;
use super::world::wall;
use crate::event::{Event, Record, RunState, StepResult, StepState};
use crate::journal::{JournalError, Log};

/// A controller's hold on the journal.
pub(super) struct SimLog(pub Arc<Simulation>);

impl Log for SimLog {
    fn append(&mut self, event: Event) -> Result<Record, JournalError> {
        let mut history = self.0.lock();
        if history.dead || history.disk_full {
            return Err(full());
        }
        let appended = history.append(&self.0.scenario, event);
        history.settle();
        if history.dead { Err(full()) } else { appended }
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

impl History {
    fn append(&mut self, scenario: &Scenario, event: Event) -> Result<Record, JournalError> {
        let step = step_of(&event).and_then(|s| scenario.index.get(s)).copied();
        let what = if self.transcript.is_some() { describe(&event) } else { String::new() };
        let turn = matches!(event, Event::Outcome { undo: false, .. } | Event::Held { .. });
        let fault = self.point(scenario, Call::Append { turn }, step, &what);
        if matches!(fault, Some(Fault::DiskFull | Fault::KilledBefore)) {
            self.disk_full = fault == Some(Fault::DiskFull);
            return Err(full());
        }
        let record = self.keep_record(scenario, event, step);
        if fault == Some(Fault::SyncFailed) {
            self.disk_full = true;
            return Err(full());
        }
        if fault == Some(Fault::RollBack) {
            self.ask_to_stop();
        }
        self.merge(&record.event);
        Ok(record)
    }

    /// Makes a record durable. Also for what is recorded outside of the engine.
    pub fn keep_record(&mut self, scenario: &Scenario, event: Event, step: Option<usize>) -> Record {
        let at = wall(self.now);
        let record = Record { seq: self.state.as_ref().map_or(0, |s| s.records), at, event };
        let intent = matches!(record.event, Event::Intent { .. });
        self.clean &=
            !matches!(&record.event, Event::Outcome { result, .. } if !matches!(result, StepResult::Done { .. }));
        let folded = match &mut self.state {
            Some(state) => state.apply(record.clone()),
            None => RunState::begin(record.clone(), Arc::clone(&scenario.graph)).map(|s| self.state = Some(s)),
        };
        if let (Event::Outcome { undo: true, result: StepResult::Done { .. }, .. }, Some(step)) = (&record.event, step)
            && let Some(hook) = self.model.hooks.get_mut(step)
        {
            // What has been taken back, or has nothing to take back, may be done and taken back anew.
            (hook.took, hook.taken_back) = (0, 0);
        }
        if let Err(e) = folded {
            self.fail(Violation::DoesNotFold { why: e.to_string() });
        }
        self.recorded(step, intent);
        record
    }

    /// Ends a history whose state was reached before, when no fault is left to strike.
    fn merge(&mut self, event: &Event) {
        let ended = matches!(event, Event::Outcome { .. });
        if !ended || self.struck < self.strikes.len() || self.transcript.is_some() {
            return;
        }
        let Some(print) = self.fingerprint() else { return };
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

impl History {
    /// A number for everything that decides how it goes on; `None` while something is under way.
    pub fn fingerprint(&mut self) -> Option<u64> {
        let may_turn = self.may_turn();
        let state = self.state.as_ref().filter(|_| self.clean && self.looking.is_empty() && self.late.is_empty())?;
        let mut all = Xxh3Default::new();
        for (at, known) in self.hashes.iter_mut().enumerate() {
            let record = state.at(at)?;
            let known = known.unwrap_or_else(|| {
                let mut hash = Xxh3Default::new();
                (record.state as u8, record.failures, record.in_flight).hash(&mut hash);
                hash_debug(&record.before, &mut hash);
                // The lowest bit says that it is under way.
                let under_way = matches!(record.state, StepState::Running | StepState::Undoing);
                *known.insert(hash.finish() & !1 | u64::from(under_way))
            });
            if known & 1 == 1 {
                return None;
            }
            known.hash(&mut all);
        }
        self.model.fingerprint(self.now, &mut all);
        self.reach.hash(&mut all);
        let open =
            |step: usize| state.at(step).is_some_and(|r| matches!(r.state, StepState::Failed | StepState::Unknown));
        self.receipts.fingerprint(open, &mut all);
        (self.turn, may_turn).hash(&mut all);
        for (from, release) in &state.releases {
            (from, release.times, release.again, release.ended.is_some()).hash(&mut all);
        }
        hash_debug(&state.direction, &mut all);
        self.disk_full.hash(&mut all);
        Some(all.finish())
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
        Event::Drifted { restores, .. } => {
            format!("journal: found otherwise than set, {}", if *restores { "to be set again" } else { "to be held" })
        }
        Event::Notified(notified) => format!("journal: {notified}"),
        Event::LetGo { progress, .. } => format!("journal: {progress}"),
        Event::Paced { pace, .. } => format!("journal: {pace}"),
        Event::Straggled { .. } => "journal: clients came".to_owned(),
        Event::Released { why, again, .. } => {
            let then = if again.is_some() { "to be tried again" } else { "to be held" };
            format!("journal: let go, {then}: {why}")
        }
        Event::Reversed { pace, .. } => format!("journal: {pace}"),
        Event::Cleared { .. } => "journal: nothing of the run is left on the hosts".into(),
        Event::Held { why, .. } => format!("journal: held: {why}"),
        Event::Stopped { by } => format!("journal: stopped by {by}"),
        Event::Finished => "journal: finished".into(),
        Event::Abandoned { .. } => "journal: given up".into(),
        Event::RollbackBegan { .. } => "journal: the run goes back".into(),
        Event::RolledBack => "journal: rolled back".into(),
        Event::Resolved { done, .. } => format!("journal: resolved as {}done", if *done { "" } else { "not " }),
    }
}
