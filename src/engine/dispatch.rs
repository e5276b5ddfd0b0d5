//! The loop that owns a run: begins steps, records how they end, stops where it is safe.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tokio::sync::{mpsc, watch};
use tokio::task::{AbortHandle, JoinError, JoinSet};

use super::Worlds;
use super::ending::{Ending, EngineError, Stop, held_event};
use super::execute::{self, Context, Effect, History, Report};
use super::failures::Failures;
use super::orders::Orders;
use super::ready::{Limits, Ready};
use super::release::Release;
use super::undo;
use crate::event::{Before, Direction, Event, Notice, Operator, Record, RunState, StepRecord, StepResult, StepState};
use crate::journal::Log;
use crate::model::OnFailure;
use crate::mutant::{self, Mutant};
use crate::step::{Step, StepKind, Steps};

/// One controller at work on one run.
pub struct Engine {
    journal: Box<dyn Log>,
    pub(super) state: RunState,
    operator: Operator,
    pub(super) steps: Steps,
    pub(super) ready: Ready,
    pub(super) context: Context,
    notices: mpsc::UnboundedSender<Notice>,
    pub(super) stop: watch::Receiver<Stop>,
    pub(super) tasks: JoinSet<(String, Effect)>,
    pub(super) active: BTreeSet<String>,
    /// Steps that ended badly in this session: they are not begun again before an operator looks.
    pub(super) given_up: BTreeSet<String>,
    failures: Failures,
    pub(super) hold: Option<Ending>,
    /// Failures that the plan's budgets allow: other pairs go on meanwhile.
    tolerated: Vec<Ending>,
    pub(super) undo: Vec<String>,
    /// Pairs that go back into service meanwhile.
    pub(super) releases: Vec<Release>,
    /// Pairs that wait until they are tried again, by the first step of that.
    pub(super) pausing: BTreeMap<String, AbortHandle>,
    pub(super) cleaned: bool,
    orders: Orders,
    /// What happens within steps.
    reports: mpsc::UnboundedReceiver<Report>,
    /// What has happened and is not in the journal yet, with the position of the step that it is about.
    unwritten: Vec<(Option<usize>, Event)>,
    /// How many records are in the journal.
    written: watch::Sender<u64>,
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
        let mut ready = Ready::new(&state);
        let releases = Release::open(&state);
        let given_up: BTreeSet<String> = releases.iter().flat_map(Release::left).cloned().collect();
        let undo = undo::left(&state).into_iter().filter(|id| !given_up.contains(id)).collect();
        given_up.iter().filter_map(|id| steps.position(id)).for_each(|at| ready.withdraw(at));
        let failures = Failures::new(&state.graph.left_out);
        let (report, reports) = mpsc::unbounded_channel();
        let (written, _) = watch::channel(state.records);
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
            given_up,
            failures,
            hold: None,
            tolerated: Vec::new(),
            undo,
            releases,
            pausing: BTreeMap::new(),
            cleaned: false,
            orders,
            reports,
            unwritten: Vec::new(),
            written,
        }
    }

    /// Works until everything is done, or a hold or a stop ends it.
    pub async fn run(mut self) -> Result<Ending, EngineError> {
        let guard = Arc::clone(&self.context.world.guard);
        let mut lost = guard.lost();
        loop {
            self.end_pauses();
            let begun = self.begin_ready();
            // Whatever else happens: what has ended stands in the journal.
            self.write()?;
            begun?;
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
                Some(ended) = self.tasks.join_next(), if !self.tasks.is_empty() => self.conclude_all(ended)?,
                Some(request) = self.orders.recv() => self.take_order(request)?,
                Ok(()) = self.stop.changed() => {}
                else => return self.end(),
            }
        }
    }

    /// Takes in what has happened. It is in the journal with the next [`Self::write`], and what is begun from here on waits for that.
    pub(super) fn record(&mut self, event: Event) -> Result<(), EngineError> {
        // Folded first: a record that cannot follow must not get into the journal.
        let next = Record { seq: self.state.records, at: self.context.world.clock.wall(), event };
        let about = next.event.step().and_then(|id| self.steps.position(id));
        let was_done = about.is_some_and(|at| self.is_done(at));
        self.state.apply(next.clone())?;
        if let Some(at) = about {
            let free = self.ready.recorded(&self.state, at, was_done);
            free.into_iter().for_each(|at| self.offer(at));
        }
        self.unwritten.push((about, next.event));
        Ok(())
    }

    /// Puts everything into the journal that has happened since the last time; then tells it, and lets begin what waits for that.
    pub(super) fn write(&mut self) -> Result<(), EngineError> {
        if self.unwritten.is_empty() {
            return Ok(());
        }
        let (about, events): (Vec<_>, Vec<_>) = self.unwritten.drain(..).unzip();
        let records = self.journal.append_all(events)?;
        about.into_iter().flatten().for_each(|at| self.context.recorded(&self.state, at));
        for record in records {
            // A watcher that has gone away does not stop a run.
            let _ = self.notices.send(Notice::Recorded(record));
        }
        self.written.send_replace(self.state.records);
        Ok(())
    }

    /// Records what happens within a step, which waits for that.
    fn keep(&mut self, report: Report) -> Result<(), EngineError> {
        self.record(report.event)?;
        self.write()?;
        // The step may have been let go meanwhile.
        let _ = report.kept.send(());
        Ok(())
    }

    pub(super) fn stopping(&self) -> bool {
        self.hold.is_some() || self.state.paused.is_some() || *self.stop.borrow() != Stop::No
    }

    fn begin_ready(&mut self) -> Result<(), EngineError> {
        self.begin_releases()?;
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
    pub(super) fn is_busy(&self) -> bool {
        let is_aside =
            |step: &Step| step.beside.is_some() || step.kind.stands_aside() || self.pausing.contains_key(&step.id);
        self.active.iter().filter_map(|id| self.steps.by_id(id)).any(|step| !is_aside(step))
    }

    /// Whether all that is under way stands aside, keeps ways back open among it, and would do so for ever.
    fn only_ways_back(&self) -> bool {
        let no_more = self.hold.is_some() || self.state.direction != Direction::Forward;
        let for_ever = |step: &Step| match &step.beside {
            Some(commit) => self.state.state_of(commit) != Some(StepState::Done),
            None => no_more && step.kind.stands_aside(),
        };
        let mut active = self.active.iter().filter_map(|id| self.steps.by_id(id)).peekable();
        active.peek().is_some() && active.all(|step| for_ever(step))
    }

    fn is_done(&self, at: usize) -> bool {
        self.state.at(at).is_some_and(|r| r.state == StepState::Done)
    }

    /// Lets a step begin when it can, unless it is under way or ended badly.
    pub(super) fn offer(&mut self, at: usize) {
        let Some(step) = self.steps.get(at) else { return };
        if !self.active.contains(&step.id) && !self.given_up.contains(&step.id) {
            self.ready.offer(&self.state, at);
        }
    }

    /// A step is not begun again before an operator has looked.
    pub(super) fn give_up(&mut self, step: &Step) {
        self.given_up.insert(step.id.clone());
        if let Some(at) = self.steps.position(&step.id) {
            self.ready.withdraw(at);
        }
    }

    /// Looks first, where the step's undo will need what is there; else acts.
    fn begin(&mut self, step: Arc<Step>) -> Result<(), EngineError> {
        if let Some(pause) = self.pause_before(&step) {
            self.wait_out(step, pause);
            return Ok(());
        }
        if let Some(why) = self.is_overdue(&step) {
            return self.overdue(&step, why);
        }
        let anew = |r: &StepRecord| step.kind.looks_anew() && r.state == StepState::Failed;
        let seen = |r: &StepRecord| r.before.is_some() && !anew(r);
        if step.kind.looks().is_none() || self.state.step(&step.id).is_some_and(seen) {
            return self.act(step, None);
        }
        let context = self.context.for_step(&step.id);
        self.spawn_bounded(&Arc::clone(&step), async move { execute::look(&context, &step).await });
        Ok(())
    }

    /// Intent, then the effect: it begins when the intent is in the journal.
    fn act(&mut self, step: Arc<Step>, before: Option<Before>) -> Result<(), EngineError> {
        if !mutant::is(Mutant::IntentAfterEffect) {
            self.intend(&step, false, before)?;
        }
        let history = History::new(&self.state, &step);
        let context = self.context.for_step(&step.id);
        self.spawn_bounded(&Arc::clone(&step), async move { execute::execute(&context, &step, &history).await });
        Ok(())
    }

    fn attempts(&self, step: &Step) -> u32 {
        self.state.step(&step.id).map_or(0, |record| record.attempts)
    }

    pub(super) fn intend(&mut self, step: &Step, undo: bool, before: Option<Before>) -> Result<(), EngineError> {
        let attempt = self.attempts(step) + 1;
        self.record(Event::Intent { step: step.id.clone(), attempt, undo, before })
    }

    pub(super) fn spawn(&mut self, id: &str, effect: impl Future<Output = Effect> + Send + 'static) -> AbortHandle {
        self.active.insert(id.to_owned());
        if let Some(at) = self.steps.position(id) {
            self.ready.under_way(at, true);
        }
        let (id, upto, mut written) = (id.to_owned(), self.state.records, self.written.subscribe());
        self.tasks.spawn(async move {
            execute::until(&mut written, |records| *records >= upto).await;
            (id, effect.await)
        })
    }

    /// A step is not under way any more.
    pub(super) fn ended(&mut self, id: &str) {
        self.active.remove(id);
        self.pausing.remove(id);
        if let Some(at) = self.steps.position(id) {
            self.ready.under_way(at, false);
        }
    }

    /// Takes in a step that has ended, and all others that have by now: one write of the journal does for all of them.
    fn conclude_all(&mut self, first: Result<(String, Effect), JoinError>) -> Result<(), EngineError> {
        let mut next = Some(first);
        while let Some(ended) = next {
            if let Err(e) = self.conclude_with_reports(ended) {
                // Those before it have ended all the same.
                self.write()?;
                return Err(e);
            }
            next = self.tasks.try_join_next();
        }
        Ok(())
    }

    fn conclude_with_reports(&mut self, ended: Result<(String, Effect), JoinError>) -> Result<(), EngineError> {
        // What it has said before it ended, and was cut off in waiting for.
        while let Ok(report) = self.reports.try_recv() {
            self.keep(report)?;
        }
        self.conclude(ended)
    }

    fn conclude(&mut self, ended: Result<(String, Effect), JoinError>) -> Result<(), EngineError> {
        let (id, effect) = match ended {
            Ok(ended) => ended,
            // The end of a pause.
            Err(e) if e.is_cancelled() => return Ok(()),
            Err(e) => {
                let step = self.active.iter().next().cloned().unwrap_or_default();
                return Err(EngineError::Broken { step, why: e.to_string() });
            }
        };
        self.ended(&id);
        let Some(at) = self.steps.position(&id) else { return Ok(()) };
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
            Effect::Drifted { why, hint, members } => self.hold_for(&step, why, hint, &members),
            // A stop that came meanwhile ends the way back here: nothing of the step has been taken back.
            Effect::LookedBack if self.state.direction != Direction::Forward && self.stopping() => Ok(()),
            Effect::LookedBack => self.take_back(&step),
            Effect::NotBack { why, hint } => {
                self.give_up(&step);
                self.undo.clear();
                self.hold = Some(Ending::Held { step: Some(id), why, hint, stuck: true });
                Ok(())
            }
            Effect::Overdue(why) => self.overdue(&step, why),
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
    fn hold_for(&mut self, step: &Step, why: String, hint: String, members: &[String]) -> Result<(), EngineError> {
        self.give_up(step);
        if step.freeze.is_none() || !self.let_go(step, &why, None)? {
            self.undo = undo::to_the_proof(&self.state, step, members);
        }
        self.hold.get_or_insert(Ending::Held { step: Some(step.id.clone()), why, hint: Some(hint), stuck: false });
        Ok(())
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
    pub(super) fn close(&mut self, step: &Step, undo: bool, result: StepResult) -> Result<(), EngineError> {
        let result = match result {
            StepResult::Unknown { why, .. } if mutant::is(Mutant::UnknownIsDone) => {
                StepResult::Done { evidence: why, millis: 0, figures: None }
            }
            result => result,
        };
        // A gate of which nobody can tell has not failed: nothing goes back because a server is silent.
        let silent = matches!((&result, &step.kind), (StepResult::Unknown { .. }, StepKind::Gate(_)));
        let policy = if silent { OnFailure::Hold } else { step.on_failure };
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
        if undo {
            self.release_goes_on(&step.id, trouble.is_none());
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
        if undo::ends_a_freeze(step) && self.let_go(step, &why, None)? {
            // It is put back beside all others.
        } else if !silent {
            // Others may have failed beside it, and what they make the run put back is put back, too.
            self.undo = undo::together(&self.state, &self.undo, undo::on_failure(&self.state, step));
        }
        self.in_trouble(step, policy, held, &why)
    }

    /// What becomes of a run with a step that has failed.
    pub(super) fn in_trouble(
        &mut self,
        step: &Step,
        policy: OnFailure,
        held: Ending,
        why: &str,
    ) -> Result<(), EngineError> {
        let holds_alone = step.kind.holds_alone();
        if holds_alone || self.within_budget(step) {
            if let Some(at) = self.steps.position(&step.id).filter(|_| !holds_alone) {
                self.ready.excuse(&self.state, at).into_iter().for_each(|batch| self.offer(batch));
            }
            self.tolerated.push(held);
            return Ok(());
        }
        self.hold.get_or_insert(held);
        if policy == OnFailure::Rollback {
            self.roll_back(format!("{}: {why}", step.id))?;
        }
        Ok(())
    }

    /// Whether the pair of a failed step is one that may fail while others go on.
    fn within_budget(&mut self, step: &Step) -> bool {
        let budgets = &self.state.graph.budgets;
        let (in_wave, in_all) = self.failures.count(step);
        let wave = budgets.waves.get(&*step.wave).copied().unwrap_or(0);
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
        self.record(Event::RollbackBegan { by, to: None, why, accept_gap: false })?;
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
        self.write()?;
        Ok(ending)
    }
}
