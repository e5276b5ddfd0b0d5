//! State = fold(journal): one total transition function, shared by the engine, `status` and every renderer.
//!
//! Must never guess: a record that cannot follow what is there is an error.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::status::{
    Approval, Direction, DriftRecord, Pause, ReleaseRecord, ReverseRecord, Status, StepRecord, StepState, Tuning,
};
use super::{Before, Event, ReadEvent, ReadRecord, Record, Relayed, ReversePace, Started, StepResult};
use crate::model::{Milestone, Paced};
use crate::step::{Graph, StepKind};

/// Where a run stands.
#[derive(Debug, Clone, PartialEq)]
pub struct RunState {
    /// How it began.
    pub started: Arc<Started>,
    /// What will be done.
    pub graph: Arc<Graph>,
    /// When it began.
    pub started_at: Timestamp,
    /// When the last record was written.
    pub last_at: Timestamp,
    /// Number of records.
    pub records: u64,
    /// Where it stands as a whole.
    pub status: Status,
    /// Which way it goes.
    pub direction: Direction,
    /// Whether targets may be taken out on the way back while nobody else of their pool is well.
    pub accepts_gap: bool,
    /// Who keeps it from beginning anything new, if somebody does.
    pub paused: Option<Pause>,
    /// Who has said yes to which gate.
    pub approvals: BTreeMap<String, Vec<Approval>>,
    /// What has been set while it went on.
    pub tuning: Tuning,
    /// Where others have changed what it had set.
    pub drifts: Vec<DriftRecord>,
    /// How sources keep in step with their targets, by the step that sees to it.
    pub reverses: BTreeMap<String, ReverseRecord>,
    /// How far connections have been moved away, by the step that does it.
    pub let_go: BTreeMap<String, Milestone>,
    /// The limits of copies that are governed, as they were recorded last.
    pub paced: BTreeMap<String, Paced>,
    /// Who came to the old addresses of sources, by the step that watches them.
    pub relayed: BTreeMap<String, Relayed>,
    /// Pairs that were frozen and have gone back into service, by the step from which on they are tried again.
    pub releases: BTreeMap<String, ReleaseRecord>,
    /// What is known of each step, in the order of the graph. A clone shares them until it takes in a record about one.
    steps: Vec<Arc<StepRecord>>,
}

/// A record that cannot follow what is there.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("record {seq} cannot follow: {why}")]
pub struct IllegalTransition {
    /// Its position.
    pub seq: u64,
    /// What is wrong with it.
    pub why: String,
}

impl RunState {
    /// Begins with the first record, and the graph that it names.
    pub fn begin(first: Record, graph: Arc<Graph>) -> Result<Self, IllegalTransition> {
        let illegal = |why: &str| IllegalTransition { seq: first.seq, why: why.to_owned() };
        if first.seq != 0 {
            return Err(illegal("the first record must have number 0"));
        }
        let Event::Started(started) = first.event else {
            return Err(illegal("a journal begins with `started`"));
        };
        graph.steps.check().map_err(|why| illegal(&why))?;
        if graph.steps.len() != started.steps {
            return Err(illegal("its graph has another number of steps than it says"));
        }
        let steps = vec![Arc::default(); graph.steps.len()];
        Ok(Self {
            started: Arc::new(*started),
            graph,
            started_at: first.at,
            last_at: first.at,
            records: 1,
            status: Status::Running,
            direction: Direction::Forward,
            accepts_gap: false,
            paused: None,
            approvals: BTreeMap::new(),
            tuning: Tuning::default(),
            drifts: Vec::new(),
            reverses: BTreeMap::new(),
            let_go: BTreeMap::new(),
            paced: BTreeMap::new(),
            relayed: BTreeMap::new(),
            releases: BTreeMap::new(),
            steps,
        })
    }

    /// Folds all records of a journal, with the graph that the first one names.
    pub fn fold(records: impl IntoIterator<Item = Record>, graph: Arc<Graph>) -> Result<Self, IllegalTransition> {
        let mut records = records.into_iter();
        let first = records.next().ok_or(IllegalTransition { seq: 0, why: "the journal is empty".into() })?;
        let mut state = Self::begin(first, graph)?;
        for record in records {
            state.apply(record)?;
        }
        Ok(state)
    }

    /// Takes in the next record.
    pub fn apply(&mut self, record: Record) -> Result<(), IllegalTransition> {
        self.take_in(ReadRecord { seq: record.seq, at: record.at, event: record.event.into() })
    }

    /// Takes in the next record, as it was read.
    pub fn take_in(&mut self, record: ReadRecord<'_>) -> Result<(), IllegalTransition> {
        let ReadRecord { seq, at, event } = record;
        let illegal = |why: String| IllegalTransition { seq, why };
        if seq != self.records {
            return Err(illegal(format!("its number should be {}", self.records)));
        }
        let other = if let ReadEvent::Other(event) = &event { Some(&**event) } else { None };
        // The run stands as it did, and since when it did.
        let notified = matches!(other, Some(Event::Notified(_)));
        let goes_back = self.status == Status::Finished && matches!(other, Some(Event::RollbackBegan { .. }));
        if self.status.is_over() && !notified && !goes_back {
            return Err(illegal("the run has ended".into()));
        }
        match event {
            ReadEvent::Intent { step, attempt, undo, before } => self.intend(&step, attempt, undo, before, at),
            ReadEvent::Outcome { step, attempt, undo, result } => self.conclude(&step, attempt, undo, result, at),
            ReadEvent::Other(event) => self.happen(*event, at),
        }
        .map_err(illegal)?;
        self.records += 1;
        if !notified {
            self.last_at = at;
        }
        Ok(())
    }

    /// Takes in what is not about one step alone.
    fn happen(&mut self, event: Event, at: Timestamp) -> Result<(), String> {
        match event {
            Event::Started(_) => return Err("the run has already started".to_owned()),
            Event::Notified(_) => {}
            Event::Resumed { .. } => self.status = Status::Running,
            Event::Intent { step, attempt, undo, before } => self.intend(&step, attempt, undo, before, at)?,
            Event::Outcome { step, attempt, undo, result } => self.conclude(&step, attempt, undo, result, at)?,
            Event::Held { step, why, hint, stuck } => {
                step.as_deref().map_or(Ok(()), |id| self.position(id).map(drop))?;
                self.status = Status::Held { step, why, hint, stuck };
                // Whoever lets it go on has looked.
                self.releases.values_mut().for_each(|release| (release.times, release.again) = (0, None));
            }
            Event::Stopped { by } => self.status = Status::Stopped { by },
            Event::RollbackBegan { to, accept_gap, .. } => {
                self.accepts_gap = accept_gap;
                to.as_deref().map_or(Ok(()), |id| self.position(id).map(drop))?;
                self.status = Status::Running;
                self.direction = Direction::Back { to };
            }
            Event::Cleared { step, .. } => match (&self.direction, self.graph.step(&step).map(|s| &s.kind)) {
                (Direction::Back { to: None }, Some(StepKind::CleanUp(_))) => {}
                _ => return Err(format!("{step} clears nothing here")),
            },
            // It is held, or taken up again, by a record of its own.
            Event::Aborted { .. } => {}
            Event::RolledBack => self.end_rollback()?,
            Event::Resolved { step, done, why, .. } => self.resolve(&step, done, why, at)?,
            Event::Paused { by, why } => self.paused = Some(Pause { by, why, since: at }),
            Event::Unpaused { .. } => self.paused = None,
            Event::Approved { step, by, why } => self.approve(step, by, why)?,
            Event::Tuned { setting, .. } => self.tuning.set(setting),
            Event::Drifted { step, director, pool, members, clues, restores } => {
                self.position(&step)?;
                self.drifts.push(DriftRecord { at, step, director, pool, members, clues, restores });
            }
            Event::LetGo { step, progress } => self.let_go(step, progress)?,
            Event::Paced { step, pace } => self.paced(step, pace)?,
            Event::Reversed { step, pace } => self.reverse(step, pace, at)?,
            Event::Straggled { step, came } => {
                if self.state_of(&step) != Some(StepState::Running) {
                    return Err(format!("{step} watches nobody"));
                }
                self.relayed.entry(step).or_default().add(&came, at);
            }
            Event::Released { step, from, why, again } => {
                self.position(&step).and_then(|_| self.position(&from))?;
                self.release(from, why, again)?;
            }
            Event::Abandoned { by, why, goes_on_in } => self.status = Status::Abandoned { by, why, goes_on_in },
            Event::Finished => {
                if let Some(id) = self.find(|s| s.state != StepState::Done) {
                    return Err(format!("{id} is not done"));
                }
                self.status = Status::Finished;
            }
        }
        Ok(())
    }

    fn intend(
        &mut self,
        id: &str,
        attempt: u32,
        undo: bool,
        before: Option<Before>,
        at: Timestamp,
    ) -> Result<(), String> {
        let position = self.position(id)?;
        if self.status != Status::Running {
            return Err(format!("{id} begins while the run does not run"));
        }
        if !undo {
            if self.direction != Direction::Forward {
                return Err(format!("{id} begins while the run goes back"));
            }
            self.check_order(position)?;
        }
        let step = self.step_mut(position, id)?;
        if attempt != step.attempts + 1 {
            return Err(format!("{id}: attempt {attempt} after {}", step.attempts));
        }
        let unclear = matches!(step.state, StepState::Running | StepState::Unknown);
        step.state = match (undo, step.state) {
            (false, StepState::Waiting | StepState::Running | StepState::Failed | StepState::Unknown) => {
                StepState::Running
            }
            (false, state) => return Err(format!("{id} begins but is {state:?}")),
            (true, StepState::Waiting) => return Err(format!("{id} is undone before it was done")),
            (true, _) => StepState::Undoing,
        };
        step.attempts = attempt;
        step.in_flight |= !undo;
        step.unclear = unclear;
        step.began = Some(at);
        let anew = !undo && step.first.is_none();
        step.first = step.first.or(Some(at));
        step.ended = None;
        // A second attempt sees what the first one left: it looks again only where that has certainly done nothing.
        step.before = before.or(step.before.take());
        if let Some(relayed) = self.relayed.get_mut(id).filter(|_| anew) {
            relayed.begin_anew();
        }
        if !undo {
            self.open(position);
        }
        Ok(())
    }

    /// From here on a target may take writes.
    fn open(&mut self, position: usize) {
        let Some(step) = self.graph.steps.get(position).filter(|step| !step.opens.is_empty()).cloned() else { return };
        for opened in &step.opens {
            let Ok(at) = self.position(opened) else { continue };
            if let Ok(record) = self.step_mut(at, opened) {
                record.opened = true;
            }
        }
    }

    fn release(&mut self, from: String, why: String, again: Option<Duration>) -> Result<(), String> {
        if self.direction != Direction::Forward {
            return Err(format!("{from} is let go while the run goes back"));
        }
        let times = self.releases.get(&from).map_or(0, |before| before.times) + 1;
        self.releases.insert(from, ReleaseRecord { why, times, again, ended: None });
        Ok(())
    }

    /// A pair is back in service once the first step of what was to be undone is.
    fn end_release(&mut self, id: &str, at: Timestamp) {
        if let Some(release) = self.releases.get_mut(id).filter(|r| r.ended.is_none()) {
            release.ended = Some(at);
        }
    }

    fn reverse(&mut self, id: String, pace: ReversePace, at: Timestamp) -> Result<(), String> {
        if self.state_of(&id) != Some(StepState::Running) {
            return Err(format!("{id} carries nothing back"));
        }
        let known = self.reverses.get(&id).and_then(|known| known.in_step);
        let in_step = if pace.is_in_step() { Some(at) } else { known };
        self.reverses.insert(id, ReverseRecord { since: at, pace, in_step });
        Ok(())
    }

    fn let_go(&mut self, id: String, progress: Milestone) -> Result<(), String> {
        match self.state_of(&id) {
            Some(StepState::Running | StepState::Undoing) => {}
            _ => return Err(format!("{id} lets nobody go")),
        }
        self.let_go.insert(id, progress);
        Ok(())
    }

    fn paced(&mut self, id: String, pace: Paced) -> Result<(), String> {
        match self.state_of(&id) {
            Some(StepState::Running | StepState::Undoing) => {}
            _ => return Err(format!("{id} copies nothing")),
        }
        self.paced.insert(id, pace);
        Ok(())
    }

    fn end_rollback(&mut self) -> Result<(), String> {
        let Direction::Back { to } = std::mem::take(&mut self.direction) else {
            return Err("the run does not go back".into());
        };
        self.accepts_gap = false;
        self.status = match to {
            Some(step) => {
                let why = format!("it was rolled back to {step}");
                Status::Held { step: Some(step), why, hint: None, stuck: false }
            }
            None => match self.find(|s| s.state != StepState::Waiting) {
                Some(id) => return Err(format!("{id} is not undone")),
                None => Status::RolledBack,
            },
        };
        Ok(())
    }

    fn resolve(&mut self, id: &str, done: bool, why: String, at: Timestamp) -> Result<(), String> {
        let position = self.position(id)?;
        let step = self.step_mut(position, id)?;
        step.state = match (step.state, done) {
            (StepState::Undoing, true) | (StepState::Unknown | StepState::Running | StepState::Failed, false) => {
                StepState::Waiting
            }
            (StepState::Undoing, false) | (StepState::Unknown | StepState::Running | StepState::Failed, true) => {
                StepState::Done
            }
            (StepState::Waiting | StepState::Done, _) => return Err(format!("the outcome of {id} is known")),
        };
        step.settle();
        step.ended = Some(at);
        step.says = why;
        let state = step.state;
        self.begin_anew(id, state, at);
        Ok(())
    }

    /// What ends with the undo of a step: its pair is back in service, and who goes back over a gate is asked again at the next time.
    fn begin_anew(&mut self, id: &str, state: StepState, at: Timestamp) {
        if state == StepState::Waiting {
            self.end_release(id, at);
            self.approvals.remove(id);
        }
    }

    /// A step may only begin when all it waits for is done: a journal that says otherwise was not written by us.
    fn check_order(&self, position: usize) -> Result<(), String> {
        let steps = &self.graph.steps;
        let is_open = |at: usize| self.at(at).is_none_or(|step| step.state != StepState::Done);
        let early = steps.waits_for(position).any(is_open);
        let why = steps.get(position).filter(|_| early).and_then(|step| self.too_early(step));
        why.map_or(Ok(()), Err)
    }

    fn conclude(
        &mut self,
        id: &str,
        attempt: u32,
        undo: bool,
        result: StepResult,
        at: Timestamp,
    ) -> Result<(), String> {
        let position = self.position(id)?;
        let step = self.step_mut(position, id)?;
        let expected = if undo { StepState::Undoing } else { StepState::Running };
        if step.state != expected || step.attempts != attempt {
            return Err(format!("{id}: an outcome of attempt {attempt} without its intent"));
        }
        let (state, says, figures) = match result {
            StepResult::Done { evidence, figures, .. } => (StepState::Done, evidence, figures),
            StepResult::Failed { why, .. } => (StepState::Failed, why, None),
            StepResult::Unknown { why, .. } => (StepState::Unknown, why, None),
        };
        (step.says, step.figures) = (says, figures);
        step.ended = Some(at);
        step.failures += u32::from(!undo && state == StepState::Failed);
        step.state = match (undo, state) {
            (true, StepState::Done) => StepState::Waiting,
            // Still in effect, as far as anybody knows: the undo is tried again.
            (true, _) => StepState::Undoing,
            (false, state) => state,
        };
        match (undo, state) {
            (_, StepState::Unknown) => {}
            (false, StepState::Done) => step.in_flight = false,
            _ => step.settle(),
        }
        let state = step.state;
        self.begin_anew(id, state, at);
        Ok(())
    }

    /// What is known of a step; nothing of one that the graph does not have.
    pub fn step(&self, id: &str) -> Option<&StepRecord> {
        self.graph.steps.position(id).and_then(|at| self.at(at))
    }

    /// Where a step of the graph stands.
    pub fn state_of(&self, id: &str) -> Option<StepState> {
        self.step(id).map(|step| step.state)
    }

    /// What is known of all steps, in the order of the graph.
    pub(super) fn records_of_steps(&self) -> impl Iterator<Item = &StepRecord> {
        self.steps.iter().map(AsRef::as_ref)
    }

    /// What is known of the step at a position of the graph.
    pub fn at(&self, position: usize) -> Option<&StepRecord> {
        self.steps.get(position).map(AsRef::as_ref)
    }

    /// The record of the step at a position, which has that id.
    fn step_mut(&mut self, at: usize, id: &str) -> Result<&mut StepRecord, String> {
        self.steps.get_mut(at).map(Arc::make_mut).ok_or_else(|| no_step(id))
    }

    fn position(&self, id: &str) -> Result<usize, String> {
        self.graph.steps.position(id).ok_or_else(|| no_step(id))
    }

    /// The first step of which something holds.
    fn find(&self, holds: impl Fn(&StepRecord) -> bool) -> Option<&str> {
        self.known().find(|known| holds(known.record)).map(|known| known.step.id.as_str())
    }

    /// Number of steps in a state.
    pub fn count(&self, state: StepState) -> usize {
        self.steps.iter().filter(|s| s.state == state).count()
    }

    /// Whether every step is done.
    pub fn all_done(&self) -> bool {
        self.steps.iter().all(|s| s.state == StepState::Done)
    }
}

pub(super) fn no_step(id: &str) -> String {
    format!("there is no step {id}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Blob, Operator};
    use crate::gate::Gate;
    use crate::model::{HookPoint, OnFailure};
    use crate::step::{GateStep, Step};

    const GATE: &str = "web/no-return";

    fn ada() -> Operator {
        Operator { user: "ada".into(), host: "desk".into(), pid: 7 }
    }

    fn gate() -> Step {
        let asks = Gate::for_approval(HookPoint::BeforeDrain);
        Step {
            id: GATE.into(),
            wave: "w".into(),
            service: "web".into(),
            pair: None,
            kind: StepKind::Gate(GateStep { asks, past: vec!["writes".into()] }),
            after: Vec::new(),
            urgent: false,
            on_failure: OnFailure::Hold,
            no_return: None,
            opens: Vec::new(),
            freeze: None,
            beside: None,
        }
    }

    fn folded(events: impl IntoIterator<Item = Event>) -> RunState {
        let records = (0..).zip(events).map(|(seq, event)| Record { seq, at: Timestamp::UNIX_EPOCH, event });
        RunState::fold(records, Arc::new(Graph { steps: vec![gate()].into(), ..Graph::default() })).unwrap()
    }

    #[test]
    fn a_gate_that_was_gone_back_over_asks_again() {
        let (run, plan, version) = ("web-1".into(), "web".into(), "0".into());
        let started = Started {
            run,
            plan,
            inputs: Vec::new(),
            texts: Vec::new(),
            graph: Blob::default(),
            steps: 1,
            by: ada(),
            version,
        };
        let done = || StepResult::Done { evidence: "open".into(), millis: 0, figures: None };
        let intent = |attempt, undo| Event::Intent { step: GATE.into(), attempt, undo, before: None };
        let outcome = |attempt, undo| Event::Outcome { step: GATE.into(), attempt, undo, result: done() };
        let there = vec![
            Event::Started(Box::new(started)),
            Event::Approved { step: GATE.into(), by: ada(), why: "all is copied".into() },
            intent(1, false),
            outcome(1, false),
        ];
        assert!(folded(there.clone()).check_approval(GATE, &ada()).is_err(), "once is enough");
        let back = [
            Event::RollbackBegan { by: ada(), to: None, why: "wrong day".into(), accept_gap: false },
            intent(2, true),
            outcome(2, true),
        ];
        let state = folded(there.into_iter().chain(back));
        assert_eq!(state.approvals.get(GATE), None);
        assert_eq!(state.check_approval(GATE, &ada()), Ok(()));
    }
}
