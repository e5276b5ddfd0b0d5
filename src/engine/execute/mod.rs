//! Runs one step to its end, whatever its kind. One file a family of kinds.
//!
//! Must never record anything: it acts, reads back and reports.

mod commit;
mod confirm;
mod copy;
pub(super) mod drift;
mod fence;
mod gate;
mod hook;
mod pace;
mod persist;
mod probe;
mod replica;
mod reverse;
mod set_aside;
mod share;
mod stream;
pub(super) mod traffic;
pub(super) mod wait;

use drift::Watcher;

pub(super) use drift::Report;
pub(super) use fence::undo as undo_fence;
pub(super) use hook::undo as undo_hook;
pub(super) use persist::undo as undo_rewrite;
pub(super) use replica::undo as undo_replica;
pub(super) use reverse::{ahead as undo_reverse, carry_back};
pub(super) use set_aside::undo as undo_set_aside;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tokio::sync::{Semaphore, mpsc, oneshot, watch};

use super::{Stop, World, Worlds};
use crate::check::{PoolRef, Subject, SubjectName};
use crate::event::{
    Approval, Before, Direction, DriftRecord, Event, Notice, RunState, SetMember, SetTtl, Standing, StepResult,
    StepState, Tuning,
};
use crate::lock::Barred;
use crate::model::{Host, OnDrift, Pool};
use crate::mutant::{self, Mutant};
use crate::outside::{Certainty, Error};
use crate::retry::{Policy, Retry};
use crate::step::{ConfirmStep, Look, Step, StepKind};

/// How long a lease that is too short or cannot be read is waited for: it is renewed meanwhile, or lost.
const LEAVE_PATIENCE: u32 = 30;

/// Passes back that may be under way at once: the way there comes first.
const REVERSES: usize = 8;

/// What a step works with: its world, and what all steps of a run share.
#[derive(Clone)]
pub struct Context {
    pub world: World,
    worlds: Arc<dyn Worlds>,
    pub run: String,
    /// Higher than that of every controller that had this run before.
    pub fence: u64,
    pub notices: mpsc::UnboundedSender<Notice>,
    pub stop: watch::Receiver<Stop>,
    approvals: watch::Sender<BTreeMap<String, Vec<Approval>>>,
    tuning: watch::Sender<Tuning>,
    /// Bytes per second of all copies together, as the plan has it.
    total_bandwidth: Option<u64>,
    /// Copies under way.
    copies: watch::Sender<u64>,
    /// Set when the run is to stop waiting for another reason than a signal.
    interrupted: watch::Sender<bool>,
    /// Set when steps that have no end of their own are to be let go.
    let_go: watch::Sender<bool>,
    /// Ids of the steps at which the way back of a pair has ended.
    committed: watch::Sender<BTreeSet<String>>,
    /// Passes back that may be under way at once.
    reverses: Arc<Semaphore>,
    /// What the run has set at directors.
    standing: watch::Sender<Standing>,
    /// What happens within steps goes here, to be recorded.
    reports: mpsc::UnboundedSender<Report>,
}

/// How a step came back.
pub enum Effect {
    /// With an outcome to record.
    Ended(StepResult),
    /// Asked to stop while it only waited: it can be begun again as if nothing had been.
    Interrupted,
    /// What is there before the step acts; it has not acted yet.
    Looked(Before),
    /// What the run had put on hosts was taken away again.
    Cleared(StepResult),
    /// What the run has set at a director is otherwise now. The step has not come to its end, and can be begun again.
    Drifted {
        /// What, in one sentence.
        why: String,
        /// What to do next.
        hint: String,
        /// The members.
        members: Vec<String>,
    },
    /// This controller must not act, for this reason: the step has not acted, and nothing else may either.
    Barred(String),
}

/// What earlier steps and attempts found, as far as this step needs it.
pub struct History {
    /// What was there before this step's first attempt.
    pub before: Option<Before>,
    /// Whether the whole run goes back, in steps, as it came.
    pub ramped: bool,
    /// The TTL that the step named by `found_by` or `outlast` found.
    pub ttl: Option<Duration>,
    /// The pool as the step named by `found_by` found it.
    pub seen: Option<Pool>,
    /// Whether a source has got traffic back since then, as the journal says.
    pub drifted: bool,
    /// How often this step has failed for certain since it was last undone.
    pub failures: u32,
    /// Executions of this step whose end is known: a new try of a command is a new key.
    pub settled: u32,
    /// Attempts of this step and of its undo, the one that has begun included.
    pub attempts: u32,
    /// Whether what this step has begun may still go on.
    pub in_flight: bool,
    /// Whether the attempt before this one has an end that nobody knows.
    pub unclear: bool,
    /// What is known of other steps of the same replica.
    pub related: replica::Related,
    /// Whether the target may have taken writes that the undo of this step has to bring back.
    pub opened: bool,
    /// When the last of the steps ended that this one waits for.
    pub since: Option<Timestamp>,
}

impl History {
    pub fn new(state: &RunState, step: &Step) -> Self {
        let (ttl, seen) = match step.kind.found_by().and_then(|id| state.step(id)?.before.clone()) {
            Some(Before::Ttl(ttl)) => (Some(ttl), None),
            Some(Before::Pool(pool)) => (None, Some(pool)),
            Some(Before::Files(_) | Before::Position(_)) | None => (None, None),
        };
        let record = state.step(&step.id).cloned().unwrap_or_default();
        let ramped = matches!(state.direction, Direction::Back { .. });
        Self {
            before: record.before,
            ramped,
            ttl,
            seen,
            drifted: has_drifted(state, step),
            failures: record.failures,
            settled: record.settled,
            attempts: record.attempts,
            in_flight: record.in_flight,
            unclear: record.unclear,
            related: replica::Related::new(state, step),
            opened: record.opened,
            since: step.after.iter().filter_map(|id| state.step(id)?.ended).max(),
        }
    }
}

/// Whether the source that a step looks at was found with traffic since the step before looked.
fn has_drifted(state: &RunState, step: &Step) -> bool {
    let StepKind::Confirm(ConfirmStep { source: Some(source), .. }) = &step.kind else { return false };
    let before = source.since.as_ref().unwrap_or(&source.drained_by);
    let Some(since) = state.step(before).and_then(|record| record.began) else { return false };
    let of_source = |d: &DriftRecord| {
        (&d.director, &d.pool) == (&source.pool.director, &source.pool.pool)
            && (d.members.is_empty() || d.members.iter().any(|m| m.member == source.member))
    };
    state.drifts.iter().any(|drift| drift.at >= since && of_source(drift))
}

/// Sees what is there before a step acts, where its undo or a later step will need that. Changes nothing.
pub async fn look(context: &Context, step: &Step) -> Effect {
    match step.kind.looks() {
        Some(Look::Pool { director, pool }) => traffic::look(context, step, director, pool).await,
        Some(Look::Ttl { director, pool }) => traffic::look_at_ttl(context, step, director, pool).await,
        Some(Look::Files { director, pool, members }) => persist::look(context, step, director, pool, members).await,
        Some(Look::Position(replica)) => replica::look(context, step, replica).await,
        None => failed("there is nothing to look at", None),
    }
}

/// Runs a step to its end.
pub async fn execute(context: &Context, step: &Step, history: &History) -> Effect {
    let began = context.world.clock.now();
    let effect = match &step.kind {
        StepKind::Check(check) => wait::check(context, step, &check.checks).await,
        StepKind::Watch(watch) => {
            wait::watch(context, step, context.hold(watch.hold), &watch.checks, &watch.pools).await
        }
        StepKind::Confirm(confirm) => confirm::run(context, step, confirm, history).await,
        StepKind::Persist(persist) => persist::agrees(context, step, persist).await,
        StepKind::Rewrite(rewrite) => persist::rewrite(context, step, rewrite, history).await,
        StepKind::Settle(settle) => wait::settle(context, step, &settle.director, &settle.pool, history.ttl).await,
        StepKind::Empty(empty) => wait::empty(context, step, empty).await,
        StepKind::Copy(copy) => copy::copy(context, step, copy).await,
        StepKind::Compare(compare) => copy::compare(context, step, compare).await,
        StepKind::HandOver(_) => done("what the target takes from here on goes back with a rollback"),
        StepKind::Reverse(reverse) => reverse::run(context, step, reverse).await,
        StepKind::Commit(commit) => commit::wait(context, step, commit, history).await,
        StepKind::SetAside(set_aside) => set_aside::run(context, step, set_aside, history).await,
        StepKind::Fence(fence) => fence::set(context, step, fence, history).await,
        StepKind::Unfence(unfence) => fence::lift(context, step, unfence, history).await,
        StepKind::Stream(pour) => stream::pour(context, step, pour, history).await,
        StepKind::Replica(replica) => replica::run(context, step, replica, history).await,
        StepKind::Probe(probe) => probe::probe(context, step, &probe.hosts).await,
        StepKind::CleanUp(clean_up) => copy::clean_up(context, &clean_up.hosts, &clean_up.jobs).await,
        StepKind::Traffic(set) => {
            // Its own members are set anyway. The others were as they were set when it looked, or are to be set again.
            if (context.may_restore(&set.pool()) || history.attempts > 1)
                && let Err(drifted) = Watcher::default().look(context, step, &[set.pool()]).await
            {
                return drifted;
            }
            traffic::apply(context, step, &set.director, &set.pool, &set.changes, history.before.as_ref()).await
        }
        StepKind::LowerTtl(lower) => traffic::set_ttl(context, step, &lower.director, &lower.pool, lower.ttl).await,
        StepKind::RestoreTtl(restore) => match history.ttl {
            Some(ttl) => traffic::set_ttl(context, step, &restore.director, &restore.pool, ttl).await,
            None => failed("the TTL from before the move is not in the journal", None),
        },
        StepKind::Gate(gate) => gate::wait(context, step, &gate.asks).await,
        StepKind::Hook(hook) => hook::run(context, step, hook, history).await,
    };
    timed(effect, began, context.world.clock.now())
}

fn timed(effect: Effect, began: Instant, ended: Instant) -> Effect {
    match effect {
        Effect::Ended(StepResult::Done { evidence, .. }) => {
            let millis = u64::try_from(ended.saturating_duration_since(began).as_millis()).unwrap_or(u64::MAX);
            Effect::Ended(StepResult::Done { evidence, millis })
        }
        other => other,
    }
}

impl Context {
    /// For one controller's work on a run.
    pub fn new(
        worlds: Arc<dyn Worlds>,
        state: &RunState,
        notices: mpsc::UnboundedSender<Notice>,
        stop: watch::Receiver<Stop>,
        reports: mpsc::UnboundedSender<Report>,
    ) -> Self {
        let (world, run) = (worlds.for_engine(), state.started.run.clone());
        let fence = if mutant::is(Mutant::NoFence) { 0 } else { state.records };
        let (approvals, _) = watch::channel(state.approvals.clone());
        let (tuning, _) = watch::channel(state.tuning);
        let (interrupted, _) = watch::channel(false);
        let (copies, _) = watch::channel(0);
        let (standing, _) = watch::channel(Standing::of(state));
        let (let_go, _) = watch::channel(false);
        let commits = state.graph.steps.iter().filter(|step| matches!(step.kind, StepKind::Commit(_)));
        let ended = commits.filter(|step| state.state_of(&step.id) == Some(StepState::Done));
        let (committed, _) = watch::channel(ended.map(|step| step.id.clone()).collect());
        let total_bandwidth = state.graph.total_bandwidth;
        Self {
            world,
            worlds,
            run,
            fence,
            notices,
            stop,
            approvals,
            tuning,
            total_bandwidth,
            copies,
            interrupted,
            let_go,
            committed,
            reverses: Arc::new(Semaphore::new(REVERSES)),
            standing,
            reports,
        }
    }

    /// The same for one step.
    pub fn for_step(&self, id: &str) -> Self {
        Self { world: self.worlds.for_step(id), ..self.clone() }
    }

    /// Lets steps under way see what operators have said.
    pub fn publish(&self, state: &RunState) {
        self.approvals.send_replace(state.approvals.clone());
        self.tuning.send_replace(state.tuning);
    }

    /// The watch time after a shift, there and back: what an operator has set, where the plan has one at all.
    pub fn hold(&self, planned: Duration) -> Duration {
        let set = self.tuning.borrow().hold.filter(|_| !planned.is_zero());
        set.unwrap_or(planned)
    }

    /// Takes in a record about the step at a position.
    pub fn recorded(&self, state: &RunState, at: usize) {
        self.standing.send_modify(|standing| standing.recorded(state, at));
        let Some(step) = state.graph.steps.get(at).filter(|step| matches!(step.kind, StepKind::Commit(_))) else {
            return;
        };
        let is_done = state.at(at).is_some_and(|record| record.state == StepState::Done);
        self.committed.send_if_modified(|ended| match is_done {
            true => ended.insert(step.id.clone()),
            false => ended.remove(&step.id),
        });
    }

    /// Waits until the way back has ended beside which a step is under way.
    async fn committed(&self, step: &Step) {
        let Some(commit) = &step.beside else { return std::future::pending().await };
        until(&mut self.committed.subscribe(), |ended| ended.contains(commit)).await;
    }

    /// Waits until steps that have no end of their own are to be let go.
    async fn let_go(&self) {
        until(&mut self.let_go.subscribe(), |let_go| *let_go).await;
    }

    /// Lets steps go that have no end of their own.
    pub fn let_go_of_all(&self) {
        self.let_go.send_replace(true);
    }

    /// The words of each who has said yes to a step.
    fn approvals_of(&self, step: &Step) -> Vec<String> {
        let approvals = self.approvals.borrow();
        let given = approvals.get(&step.id).into_iter().flatten();
        given.map(|a| format!("{}@{}: {}", a.by.user, a.by.host, a.why)).collect()
    }

    /// What the run has set in a pool; `None` for nothing.
    fn standing(&self, pool: &PoolRef) -> Option<BTreeMap<String, SetMember>> {
        self.standing.borrow().in_pool(pool).cloned()
    }

    /// What the run has lowered the TTL of a pool to.
    fn standing_ttl(&self, pool: &PoolRef) -> Option<SetTtl> {
        self.standing.borrow().ttl(pool).cloned()
    }

    /// Every pool in which the run has set something.
    fn standing_pools(&self) -> Vec<PoolRef> {
        self.standing.borrow().all()
    }

    /// What an operator has said that happens when a pool is found otherwise.
    fn on_drift(&self) -> Option<OnDrift> {
        self.tuning.borrow().on_drift
    }

    /// Whether anything of a pool that is found otherwise is set again.
    fn may_restore(&self, pool: &PoolRef) -> bool {
        let by_operator = self.on_drift();
        let restores = |set: &SetMember| by_operator.unwrap_or(set.on_drift) == OnDrift::Restore;
        self.standing.borrow().in_pool(pool).is_some_and(|members| members.values().any(restores))
    }

    /// Has something recorded that happens within a step; returns when it is in the journal.
    async fn report(&self, event: Event) {
        let (kept, known) = oneshot::channel();
        if self.reports.send(Report { event, kept }).is_err() || known.await.is_err() {
            // The engine is gone, and with it everything that this step could go on to.
            std::future::pending::<()>().await;
        }
    }

    /// Ends every wait that may end early.
    pub fn interrupt(&self) {
        self.interrupted.send_replace(true);
    }

    /// Leave to act, asked right before every effect: a controller that was stopped past its lease finds out here.
    async fn leave_to_act(&self) -> Result<(), Effect> {
        let mut tries = LEAVE_PATIENCE;
        loop {
            match self.world.guard.check() {
                Ok(()) => return Ok(()),
                Err(Barred::ForNow(_)) if tries > 0 => self.world.clock.sleep(Duration::from_secs(1)).await,
                Err(barred) => return Err(Effect::Barred(barred.to_string())),
            }
            tries -= 1;
        }
    }

    /// The tries of a piece of this step's work.
    fn retry(&self, policy: Policy) -> Retry<'_> {
        Retry::new(self.world.clock.as_ref(), policy)
    }

    /// Lets some time pass where another try helps, and tells that; ends the step otherwise.
    async fn try_again(&self, retry: &mut Retry<'_>, step: &Step, error: Error) -> Result<(), Effect> {
        retry.after(error, |what| self.waiting(step, what)).await.map_err(not_done)
    }

    /// The host of that name. The plan was checked against the inventory, so a missing one is a damaged journal.
    fn host(&self, name: &str) -> Result<&Host, Effect> {
        self.world.hosts.get(name).ok_or_else(|| failed(format!("host {name} is not in the inventory any more"), None))
    }

    /// Whom a check is about, with what is known of it.
    fn subject<'a>(&'a self, name: &'a SubjectName) -> Result<Subject<'a>, Effect> {
        name.known(&self.world.hosts)
            .ok_or_else(|| failed(format!("host {name} is not in the inventory any more"), None))
    }

    /// Tells watchers what a step waits for.
    fn waiting(&self, step: &Step, what: String) {
        let _ = self.notices.send(Notice::Waiting { step: step.id.clone(), what });
    }

    /// Lets time pass; `true` when a stop was asked for meanwhile and the step may end early.
    async fn pass(&self, step: &Step, duration: Duration) -> bool {
        let (mut stop, mut interrupted) = (self.stop.clone(), self.interrupted.subscribe());
        let asked = async {
            if step.urgent {
                std::future::pending::<()>().await;
            }
            tokio::select! {
                () = until(&mut stop, |s| *s != Stop::No) => {}
                () = until(&mut interrupted, |asked| *asked) => {}
            }
        };
        tokio::select! {
            biased;
            () = self.world.clock.sleep(duration) => false,
            () = asked => true,
        }
    }
}

/// Waits until a value is as wanted; for ever when it cannot change any more.
async fn until<T>(values: &mut watch::Receiver<T>, wanted: impl FnMut(&T) -> bool) {
    if values.wait_for(wanted).await.is_err() {
        std::future::pending::<()>().await;
    }
}

fn done(evidence: impl Into<String>) -> Effect {
    Effect::Ended(StepResult::Done { evidence: evidence.into(), millis: 0 })
}

fn failed(why: impl Into<String>, hint: Option<String>) -> Effect {
    Effect::Ended(StepResult::Failed { why: why.into(), hint })
}

/// How a step ends with an error: failed, when it is certain that its work is not done.
fn not_done(error: Error) -> Effect {
    let why = error.to_string();
    match error.certainty {
        Certainty::Refused | Certainty::NotDone => failed(why, error.hint),
        Certainty::Unknown => unknown(why, error.hint),
    }
}

fn unknown(why: impl Into<String>, hint: Option<String>) -> Effect {
    Effect::Ended(StepResult::Unknown { why: why.into(), hint })
}
