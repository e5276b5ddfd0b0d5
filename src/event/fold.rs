//! State = fold(journal): one total transition function, shared by the engine, `status` and every renderer.
//!
//! Must never guess: a record that cannot follow what is there is an error.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;

use super::status::{Approval, Direction, DriftRecord, Pause, ReverseRecord, Status, StepRecord, StepState, Tuning};
use super::{Before, Event, Operator, Record, ReversePace, Started, StepResult};
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
    /// What is known of each step, in the order of the graph.
    steps: Vec<StepRecord>,
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
        let steps = vec![StepRecord::default(); graph.steps.len()];
        Ok(Self {
            started: Arc::new(*started),
            graph,
            started_at: first.at,
            last_at: first.at,
            records: 1,
            status: Status::Running,
            direction: Direction::Forward,
            paused: None,
            approvals: BTreeMap::new(),
            tuning: Tuning::default(),
            drifts: Vec::new(),
            reverses: BTreeMap::new(),
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
        let seq = record.seq;
        let illegal = |why: String| IllegalTransition { seq, why };
        if seq != self.records {
            return Err(illegal(format!("its number should be {}", self.records)));
        }
        match (&self.status, &record.event) {
            (Status::Finished, Event::RollbackBegan { .. }) => {}
            (Status::Finished | Status::RolledBack, _) => return Err(illegal("the run has ended".into())),
            _ => {}
        }
        match record.event {
            Event::Started(_) => return Err(illegal("the run has already started".into())),
            Event::Resumed { .. } => self.status = Status::Running,
            Event::Intent { step, attempt, undo, before } => {
                self.intend(&step, attempt, undo, before, record.at).map_err(illegal)?;
            }
            Event::Outcome { step, attempt, undo, result } => {
                self.conclude(&step, attempt, undo, result, record.at).map_err(illegal)?;
            }
            Event::Held { step, why, hint, stuck } => {
                step.as_deref().map_or(Ok(()), |id| self.position(id).map(drop)).map_err(illegal)?;
                self.status = Status::Held { step, why, hint, stuck };
            }
            Event::Stopped { by } => self.status = Status::Stopped { by },
            Event::RollbackBegan { to, .. } => {
                to.as_deref().map_or(Ok(()), |id| self.position(id).map(drop)).map_err(illegal)?;
                self.status = Status::Running;
                self.direction = Direction::Back { to };
            }
            Event::Cleared { step, .. } => match (&self.direction, self.graph.step(&step).map(|s| &s.kind)) {
                (Direction::Back { to: None }, Some(StepKind::CleanUp(_))) => {}
                _ => return Err(illegal(format!("{step} clears nothing here"))),
            },
            // It is held, or taken up again, by a record of its own.
            Event::Aborted { .. } => {}
            Event::RolledBack => self.end_rollback().map_err(illegal)?,
            Event::Resolved { step, done, why, .. } => self.resolve(&step, done, why, record.at).map_err(illegal)?,
            Event::Paused { by, why } => self.paused = Some(Pause { by, why, since: record.at }),
            Event::Unpaused { .. } => self.paused = None,
            Event::Approved { step, by, why } => self.approve(step, by, why).map_err(illegal)?,
            Event::Tuned { setting, .. } => self.tuning.set(setting),
            Event::Drifted { step, director, pool, members, clues, restores } => {
                self.position(&step).map_err(illegal)?;
                let at = record.at;
                self.drifts.push(DriftRecord { at, step, director, pool, members, clues, restores });
            }
            Event::Reversed { step, pace } => self.reverse(step, pace, record.at).map_err(illegal)?,
            Event::Finished => {
                if let Some(id) = self.find(|s| s.state != StepState::Done) {
                    return Err(illegal(format!("{id} is not done")));
                }
                self.status = Status::Finished;
            }
        }
        self.records += 1;
        self.last_at = record.at;
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
        if self.status != Status::Running {
            return Err(format!("{id} begins while the run does not run"));
        }
        if !undo {
            if self.direction != Direction::Forward {
                return Err(format!("{id} begins while the run goes back"));
            }
            self.check_order(id)?;
        }
        let step = self.step_mut(id)?;
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
        step.ended = None;
        // A second attempt sees what the first one left: it looks again only where that has certainly done nothing.
        step.before = before.or(step.before.take());
        if !undo {
            self.open(id);
        }
        Ok(())
    }

    /// From here on a target may take writes.
    fn open(&mut self, id: &str) {
        let graph = Arc::clone(&self.graph);
        for opened in graph.step(id).into_iter().flat_map(|step| &step.opens) {
            if let Ok(opened) = self.step_mut(opened) {
                opened.opened = true;
            }
        }
    }

    fn reverse(&mut self, id: String, pace: ReversePace, at: Timestamp) -> Result<(), String> {
        if self.state_of(&id) != Some(StepState::Running) {
            return Err(format!("{id} carries nothing back"));
        }
        let known = self.reverses.get(&id).and_then(|known| known.in_step);
        let in_step = if matches!(pace, ReversePace::InStep { .. }) { Some(at) } else { known };
        self.reverses.insert(id, ReverseRecord { since: at, pace, in_step });
        Ok(())
    }

    /// Why nobody, or not this user, can say yes to a step.
    pub fn check_approval(&self, step: &str, by: &Operator) -> Result<(), String> {
        match self.graph.step(step).map(|s| &s.kind) {
            Some(StepKind::Gate(_)) => {}
            Some(StepKind::Commit(_)) => self.check_commit(step)?,
            Some(_) => return Err(format!("{step} is not a gate")),
            None => return Err(no_step(step)),
        }
        match self.approvals.get(step).into_iter().flatten().any(|a| a.by.user == by.user) {
            true => Err(format!("{} has approved {step} already", by.user)),
            false => Ok(()),
        }
    }

    /// A way back can be given up once its pair has moved, and before it has ended.
    fn check_commit(&self, step: &str) -> Result<(), String> {
        let waits = self.graph.step(step).into_iter().flat_map(|s| &s.after);
        if self.direction != Direction::Forward {
            return Err("the run goes back".to_owned());
        }
        if self.state_of(step) == Some(StepState::Done) {
            return Err(format!("{step}: the way back has ended already"));
        }
        match waits.into_iter().find(|id| self.state_of(id) != Some(StepState::Done)) {
            Some(id) => Err(format!("{step}: the pair has not moved yet: {id} is not done")),
            None => Ok(()),
        }
    }

    fn approve(&mut self, step: String, by: Operator, why: String) -> Result<(), String> {
        self.check_approval(&step, &by)?;
        self.approvals.entry(step).or_default().push(Approval { by, why });
        Ok(())
    }

    fn end_rollback(&mut self) -> Result<(), String> {
        let Direction::Back { to } = std::mem::take(&mut self.direction) else {
            return Err("the run does not go back".into());
        };
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
        let step = self.step_mut(id)?;
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
        self.forget_approvals(id);
        Ok(())
    }

    /// Who goes back over a gate is asked again at the next time.
    fn forget_approvals(&mut self, id: &str) {
        if self.state_of(id) == Some(StepState::Waiting) {
            self.approvals.remove(id);
        }
    }

    /// A step may only begin when all it waits for is done: a journal that says otherwise was not written by us.
    fn check_order(&self, id: &str) -> Result<(), String> {
        let Some(step) = self.graph.step(id) else { return Err(no_step(id)) };
        match step.after.iter().find(|a| self.state_of(a) != Some(StepState::Done)) {
            Some(a) => Err(format!("{id} begins before {a} is done")),
            None => Ok(()),
        }
    }

    fn conclude(
        &mut self,
        id: &str,
        attempt: u32,
        undo: bool,
        result: StepResult,
        at: Timestamp,
    ) -> Result<(), String> {
        let step = self.step_mut(id)?;
        let expected = if undo { StepState::Undoing } else { StepState::Running };
        if step.state != expected || step.attempts != attempt {
            return Err(format!("{id}: an outcome of attempt {attempt} without its intent"));
        }
        let (state, says) = match result {
            StepResult::Done { evidence, .. } => (StepState::Done, evidence),
            StepResult::Failed { why, .. } => (StepState::Failed, why),
            StepResult::Unknown { why, .. } => (StepState::Unknown, why),
        };
        step.says = says;
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
        self.forget_approvals(id);
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

    /// What is known of the step at a position of the graph.
    pub fn at(&self, position: usize) -> Option<&StepRecord> {
        self.steps.get(position)
    }

    fn step_mut(&mut self, id: &str) -> Result<&mut StepRecord, String> {
        let at = self.position(id)?;
        self.steps.get_mut(at).ok_or_else(|| no_step(id))
    }

    fn position(&self, id: &str) -> Result<usize, String> {
        self.graph.steps.position(id).ok_or_else(|| no_step(id))
    }

    /// The first step of which something holds.
    fn find(&self, holds: impl Fn(&StepRecord) -> bool) -> Option<&str> {
        self.graph.steps.iter().zip(&self.steps).find(|(_, record)| holds(record)).map(|(step, _)| step.id.as_str())
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

fn no_step(id: &str) -> String {
    format!("there is no step {id}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Blob;
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
        let done = || StepResult::Done { evidence: "open".into(), millis: 0 };
        let intent = |attempt, undo| Event::Intent { step: GATE.into(), attempt, undo, before: None };
        let outcome = |attempt, undo| Event::Outcome { step: GATE.into(), attempt, undo, result: done() };
        let there = vec![
            Event::Started(Box::new(started)),
            Event::Approved { step: GATE.into(), by: ada(), why: "all is copied".into() },
            intent(1, false),
            outcome(1, false),
        ];
        assert!(folded(there.clone()).check_approval(GATE, &ada()).is_err(), "once is enough");
        let back =
            [Event::RollbackBegan { by: ada(), to: None, why: "wrong day".into() }, intent(2, true), outcome(2, true)];
        let state = folded(there.into_iter().chain(back));
        assert_eq!(state.approvals.get(GATE), None);
        assert_eq!(state.check_approval(GATE, &ada()), Ok(()));
    }
}
