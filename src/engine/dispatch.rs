//! The loop that owns a run: begins steps, records how they end, stops where it is safe.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tokio::sync::{mpsc, watch};
use tokio::task::{JoinError, JoinSet};

use super::Worlds;
use super::ending::{Ending, EngineError, Stop, held_event};
use super::execute::{self, Context, Effect, History, Report};
use super::orders::Orders;
use super::ready::{Limits, Ready};
use super::undo;
use crate::event::{Before, Direction, Event, Notice, Operator, Record, RunState, StepRecord, StepResult, StepState};
use crate::journal::Log;
use crate::model::{OnFailure, Pair};
use crate::mutant::{self, Mutant};
use crate::step::{Step, StepKind, Steps};

/// One controller at work on one run.
pub struct Engine {
    journal: Box<dyn Log>,
    pub(super) state: RunState,
    operator: Operator,
    steps: Steps,
    ready: Ready,
    pub(super) context: Context,
    notices: mpsc::UnboundedSender<Notice>,
    pub(super) stop: watch::Receiver<Stop>,
    tasks: JoinSet<(String, Effect)>,
    active: BTreeSet<String>,
    /// Steps that ended badly in this session: they are not begun again before an operator looks.
    given_up: BTreeSet<String>,
    failures: Failures,
    pub(super) hold: Option<Ending>,
    /// Failures that the plan's budgets allow: other pairs go on meanwhile.
    tolerated: Vec<Ending>,
    undo: Vec<String>,
    cleaned: bool,
    orders: Orders,
    /// What happens within steps.
    reports: mpsc::UnboundedReceiver<Report>,
}

impl Engine {
    /// Takes over an open journal and what it folds to.
    pub fn new(
        worlds: Arc<dyn Worlds>,
        journal: Box<dyn Log>,
        state: RunState,
        operator: Operator,
        notices: mpsc::UnboundedSender<Notice>,
        stop: watch::Receiver<Stop>,
        orders: Orders,
    ) -> Self {
        let steps = state.graph.steps.clone();
        let ready = Ready::new(&state);
        let undo = undo::left(&state);
        let (report, reports) = mpsc::unbounded_channel();
        let context = Context::new(worlds, &state, notices.clone(), stop.clone(), report);
        Self {
            journal,
            state,
            operator,
            steps,
            ready,
            context,
            notices,
            stop,
            tasks: JoinSet::new(),
            active: BTreeSet::new(),
            given_up: BTreeSet::new(),
            failures: Failures::default(),
            hold: None,
            tolerated: Vec::new(),
            undo,
            cleaned: false,
            orders,
            reports,
        }
    }

    /// Works until everything is done, or a hold or a stop ends it.
    pub async fn run(mut self) -> Result<Ending, EngineError> {
        let guard = Arc::clone(&self.context.world.guard);
        let mut lost = guard.lost();
        loop {
            self.begin_ready()?;
            if self.only_ways_back() && !self.waits_for_orders() {
                self.context.let_go_of_all();
            }
            if self.tasks.is_empty() && !self.waits_for_orders() && !self.clean_up_behind() {
                return self.end();
            }
            tokio::select! {
                // The same order each time, so that a rehearsal can be repeated.
                biased;
                why = &mut lost => return Err(EngineError::Barred(why)),
                Some(report) = self.reports.recv(), if !self.tasks.is_empty() => self.keep(report)?,
                Some(ended) = self.tasks.join_next(), if !self.tasks.is_empty() => self.conclude(ended)?,
                Some(request) = self.orders.recv() => self.take_order(request)?,
                Ok(()) = self.stop.changed() => {}
                else => return self.end(),
            }
        }
    }

    pub(super) fn record(&mut self, event: Event) -> Result<(), EngineError> {
        // Folded first: a record that cannot follow must not get into the journal.
        let next = Record { seq: self.state.records, at: self.context.world.clock.wall(), event };
        let about = next.event.step().and_then(|id| self.steps.position(id));
        let was_done = about.is_some_and(|at| self.is_done(at));
        self.state.apply(next.clone())?;
        if let Some(at) = about {
            self.context.recorded(&self.state, at);
            let free = self.ready.recorded(&self.state, at, was_done);
            free.into_iter().for_each(|at| self.offer(at));
        }
        let record = self.journal.append(next.event)?;
        // A watcher that has gone away does not stop a run.
        let _ = self.notices.send(Notice::Recorded(record));
        Ok(())
    }

    /// Records what happens within a step, which waits for that.
    fn keep(&mut self, report: Report) -> Result<(), EngineError> {
        self.record(report.event)?;
        // The step may have been let go meanwhile.
        let _ = report.kept.send(());
        Ok(())
    }

    fn stopping(&self) -> bool {
        self.hold.is_some() || self.state.paused.is_some() || *self.stop.borrow() != Stop::No
    }

    fn begin_ready(&mut self) -> Result<(), EngineError> {
        if !self.undo.is_empty() {
            return self.begin_undo();
        }
        if self.state.direction != Direction::Forward {
            return Ok(());
        }
        let limits = Limits { stopping: self.stopping(), out_of_service: self.state.tuning.max_unavailable };
        while let Some(step) = self.ready.take(limits).and_then(|at| self.steps.get(at).cloned()) {
            self.begin(step)?;
        }
        Ok(())
    }

    /// Whether anything is under way that others must not be undone beside.
    fn is_busy(&self) -> bool {
        let is_way_back = |step: &Step| step.beside.is_some() || matches!(step.kind, StepKind::Commit(_));
        self.active.iter().filter_map(|id| self.steps.by_id(id)).any(|step| !is_way_back(step))
    }

    /// Whether all that is under way keeps ways back open, and would do so for ever.
    fn only_ways_back(&self) -> bool {
        let no_more = self.hold.is_some() || self.state.direction != Direction::Forward;
        let for_ever = |step: &Step| match &step.beside {
            Some(commit) => self.state.state_of(commit) != Some(StepState::Done),
            None => no_more && matches!(step.kind, StepKind::Commit(_)),
        };
        let mut active = self.active.iter().filter_map(|id| self.steps.by_id(id)).peekable();
        active.peek().is_some() && active.all(|step| for_ever(step))
    }

    fn is_done(&self, at: usize) -> bool {
        self.state.at(at).is_some_and(|r| r.state == StepState::Done)
    }

    /// Lets a step begin when it can, unless it is under way or ended badly.
    fn offer(&mut self, at: usize) {
        let Some(step) = self.steps.get(at) else { return };
        if !self.active.contains(&step.id) && !self.given_up.contains(&step.id) {
            self.ready.offer(&self.state, at);
        }
    }

    /// A step is not begun again before an operator has looked.
    fn give_up(&mut self, step: &Step) {
        self.given_up.insert(step.id.clone());
        if let Some(at) = self.steps.position(&step.id) {
            self.ready.withdraw(at);
        }
    }

    /// One step back at a time, and none while anything is under way but what keeps ways back open, as long as that is not undone itself. A
    /// stop ends a whole way back between two of them.
    fn begin_undo(&mut self) -> Result<(), EngineError> {
        let going_back = self.state.direction != Direction::Forward;
        if self.is_busy() || (going_back && (self.stopping() || !self.tasks.is_empty())) {
            return Ok(());
        }
        if self.undo.iter().any(|id| self.active.contains(id)) {
            self.context.let_go_of_all();
            return Ok(());
        }
        let Some(step) = self.undo.pop().and_then(|id| self.steps.by_id(&id).cloned()) else { return Ok(()) };
        let history = History::new(&self.state, &step);
        self.intend(&step, true, None)?;
        let context = self.context.for_step(&step.id);
        self.spawn(&step.id.clone(), async move { undo::undo(&context, &step, &history).await });
        Ok(())
    }

    /// Once everything is undone, takes from the hosts what the run has put there; whether there is anything to take. It needs no
    /// intent: it can be repeated, and what stays behind does no harm.
    fn clean_up_behind(&mut self) -> bool {
        let whole = matches!(self.state.direction, Direction::Back { to: None });
        if !whole || self.cleaned || self.stopping() || !undo::left(&self.state).is_empty() {
            return false;
        }
        self.cleaned = true;
        let begun = self.steps.iter().filter(|s| self.state.step(&s.id).is_some_and(|r| r.attempts > 0));
        let (mut visited, mut probed) = (BTreeSet::<&Pair>::new(), BTreeSet::new());
        for step in begun {
            visited.extend(step.pair.as_ref());
            if let StepKind::Probe(probe) = &step.kind {
                probed.extend(&probe.hosts);
            }
        }
        let clean_up = |s: &Step| {
            let StepKind::CleanUp(clean_up) = &s.kind else { return false };
            s.pair.as_ref().is_some_and(|p| visited.contains(p)) || clean_up.hosts.iter().any(|h| probed.contains(h))
        };
        let steps = (0..self.steps.len()).filter_map(|at| self.steps.get(at)).filter(|s| clean_up(s));
        let steps: Vec<Arc<Step>> = steps.cloned().collect();
        for step in steps {
            let (context, history) = (self.context.for_step(&step.id), History::new(&self.state, &step));
            self.spawn(&step.id.clone(), async move {
                match execute::execute(&context, &step, &history).await {
                    Effect::Ended(result) => Effect::Cleared(result),
                    other => other,
                }
            });
        }
        !self.tasks.is_empty()
    }

    /// Looks first, where the step's undo will need what is there; else acts.
    fn begin(&mut self, step: Arc<Step>) -> Result<(), EngineError> {
        let anew = |r: &StepRecord| step.kind.looks_anew() && r.state == StepState::Failed;
        let seen = |r: &StepRecord| r.before.is_some() && !anew(r);
        if step.kind.looks().is_none() || self.state.step(&step.id).is_some_and(seen) {
            return self.act(step, None);
        }
        let context = self.context.for_step(&step.id);
        self.spawn(&step.id.clone(), async move { execute::look(&context, &step).await });
        Ok(())
    }

    /// Intent on disk, then the effect.
    fn act(&mut self, step: Arc<Step>, before: Option<Before>) -> Result<(), EngineError> {
        if !mutant::is(Mutant::IntentAfterEffect) {
            self.intend(&step, false, before)?;
        }
        let history = History::new(&self.state, &step);
        let context = self.context.for_step(&step.id);
        self.spawn(&step.id.clone(), async move { execute::execute(&context, &step, &history).await });
        Ok(())
    }

    fn attempts(&self, step: &Step) -> u32 {
        self.state.step(&step.id).map_or(0, |record| record.attempts)
    }

    fn intend(&mut self, step: &Step, undo: bool, before: Option<Before>) -> Result<(), EngineError> {
        let attempt = self.attempts(step) + 1;
        self.record(Event::Intent { step: step.id.clone(), attempt, undo, before })
    }

    fn spawn(&mut self, id: &str, effect: impl Future<Output = Effect> + Send + 'static) {
        self.active.insert(id.to_owned());
        if let Some(at) = self.steps.position(id) {
            self.ready.under_way(at, true);
        }
        let id = id.to_owned();
        self.tasks.spawn(async move { (id, effect.await) });
    }

    fn conclude(&mut self, ended: Result<(String, Effect), JoinError>) -> Result<(), EngineError> {
        let (id, effect) = match ended {
            Ok(ended) => ended,
            Err(e) => {
                let step = self.active.iter().next().cloned().unwrap_or_default();
                return Err(EngineError::Broken { step, why: e.to_string() });
            }
        };
        self.active.remove(&id);
        let Some(at) = self.steps.position(&id) else { return Ok(()) };
        self.ready.under_way(at, false);
        let Some(step) = self.steps.get(at).cloned() else { return Ok(()) };
        match effect {
            // Interrupted while it only waited: the intent stays open and is taken up again.
            Effect::Interrupted => {
                match step.beside {
                    // It was let go: the next controller takes it up.
                    Some(_) => self.give_up(&step),
                    None => self.offer(at),
                }
                Ok(())
            }
            Effect::Drifted { why, hint, members } => {
                self.hold_for(&step, why, hint, &members);
                Ok(())
            }
            Effect::Barred(why) => Err(EngineError::Barred(why)),
            Effect::Cleared(result) => self.record(Event::Cleared { step: id, result }),
            Effect::Looked(before) => self.act_if_still_wanted(at, step, before),
            Effect::Ended(result) => {
                let state = self.state.state_of(&id);
                let undo = state == Some(StepState::Undoing);
                if !matches!(state, Some(StepState::Running | StepState::Undoing)) {
                    if self.state.direction != Direction::Forward {
                        return Ok(());
                    }
                    // It could not even look: that is an attempt, too.
                    self.intend(&step, false, None)?;
                }
                self.close(&step, undo, result)
            }
        }
    }

    /// Somebody has to look before this step goes on; it is neither done nor failed.
    fn hold_for(&mut self, step: &Step, why: String, hint: String, members: &[String]) {
        self.give_up(step);
        self.undo = undo::to_the_proof(&self.state, step, members);
        self.hold.get_or_insert(Ending::Held { step: Some(step.id.clone()), why, hint: Some(hint), stuck: false });
    }

    /// A stop, a hold or the way back may have come while a step looked: nothing has happened yet, so it need not.
    fn act_if_still_wanted(&mut self, at: usize, step: Arc<Step>, before: Before) -> Result<(), EngineError> {
        let unwanted = self.state.direction != Direction::Forward || (self.stopping() && !step.urgent);
        if !unwanted {
            return self.act(step, Some(before));
        }
        self.offer(at);
        Ok(())
    }

    /// Records an outcome, and what it makes the run do next.
    fn close(&mut self, step: &Step, undo: bool, result: StepResult) -> Result<(), EngineError> {
        let result = match result {
            StepResult::Unknown { why, .. } if mutant::is(Mutant::UnknownIsDone) => {
                StepResult::Done { evidence: why, millis: 0 }
            }
            result => result,
        };
        let trouble = match &result {
            StepResult::Done { .. } => None,
            StepResult::Failed { why, hint } | StepResult::Unknown { why, hint } => Some((why.clone(), hint.clone())),
        };
        let attempt = self.attempts(step);
        self.record(Event::Outcome { step: step.id.clone(), attempt, undo, result })?;
        // What was put back stays so until an operator has looked, too.
        if trouble.is_some() || undo {
            self.give_up(step);
        }
        let Some((why, hint)) = trouble else { return Ok(()) };
        let held = Ending::Held { step: Some(step.id.clone()), why: why.clone(), hint, stuck: undo };
        if undo {
            self.undo.clear();
            self.hold = Some(held);
            return Ok(());
        }
        if self.state.direction != Direction::Forward {
            // It was under way when the run turned back, and is among what is undone.
            return Ok(());
        }
        self.undo = undo::on_failure(&self.state, step);
        if step.kind.holds_alone() || self.within_budget(step) {
            self.tolerated.push(held);
            return Ok(());
        }
        self.hold.get_or_insert(held);
        if step.on_failure == OnFailure::Rollback {
            self.roll_back(format!("{}: {why}", step.id))?;
        }
        Ok(())
    }

    /// Whether the pair of a failed step is one that may fail while others go on.
    fn within_budget(&mut self, step: &Step) -> bool {
        let budgets = &self.state.graph.budgets;
        let (in_wave, in_all) = self.failures.count(step);
        let wave = budgets.waves.get(&step.wave).copied().unwrap_or(0);
        step.pair.is_some()
            && step.on_failure == OnFailure::Hold
            && in_wave <= wave
            && budgets.all.is_none_or(|all| in_all <= all)
    }

    /// The plan's policy. Where there is no way back, the run holds as if it had none.
    fn roll_back(&mut self, why: String) -> Result<(), EngineError> {
        if undo::rollback_steps(&self.state, None).is_err() || self.state.direction != Direction::Forward {
            return Ok(());
        }
        let by = self.operator.clone();
        self.record(Event::RollbackBegan { by, to: None, why })?;
        self.hold = None;
        self.tolerated.clear();
        self.undo = undo::left(&self.state);
        Ok(())
    }

    fn end(mut self) -> Result<Ending, EngineError> {
        let stop = self.stop.borrow().clone();
        let back = self.state.direction != Direction::Forward;
        let tolerated = self.tolerated.pop();
        let (event, ending) = if let Some(held @ Ending::Held { .. }) = self.hold.take().or(tolerated) {
            (held_event(&held), held)
        } else if back && undo::left(&self.state).is_empty() {
            (Event::RolledBack, Ending::RolledBack)
        } else if !back && self.state.all_done() {
            (Event::Finished, Ending::Finished)
        } else if let Stop::Soon { by } = stop {
            (Event::Stopped { by }, Ending::Stopped)
        } else {
            let why = "no step can begin, and not all are done".to_owned();
            let held = Ending::Held { step: None, why, hint: None, stuck: false };
            (held_event(&held), held)
        };
        self.record(event)?;
        Ok(ending)
    }
}

/// Pairs that failed in this session, and services where that was a step of no pair.
#[derive(Default)]
struct Failures {
    waves: BTreeMap<String, BTreeSet<(String, Option<String>)>>,
    all: usize,
}

impl Failures {
    /// Counts a failed step; how many pairs have failed in its wave and in all.
    fn count(&mut self, step: &Step) -> (usize, usize) {
        let wave = self.waves.entry(step.wave.clone()).or_default();
        let new = wave.insert((step.service.clone(), step.pair.as_ref().map(|p| p.source.clone())));
        self.all += usize::from(new);
        (wave.len(), self.all)
    }
}
