//! Runs one step to its end, whatever its kind. One file a family of kinds.
//!
//! Must never record anything: it acts, reads back and reports.

mod commit;
mod confirm;
pub(super) mod connections;
mod copy;
mod decommission;
pub(super) mod drift;
mod fence;
mod gate;
mod history;
mod hook;
pub(super) mod left_behind;
mod pace;
mod paced;
mod persist;
mod probe;
mod promote;
mod relay;
mod replica;
mod reverse;
mod set_aside;
mod share;
pub(crate) mod signals;
mod silence;
mod stragglers;
mod stream;
mod switch;
pub(super) mod traffic;
pub(super) mod wait;
mod waves;
mod writer;

pub(super) use decommission::undo as undo_decommission;
pub(super) use drift::Report;
pub(super) use fence::undo as undo_fence;
pub(super) use history::History;
pub(super) use hook::undo as undo_hook;
pub(super) use persist::undo as undo_rewrite;
pub(super) use relay::undo as undo_relay;
pub(super) use replica::undo as undo_replica;
pub(super) use reverse::{ahead as undo_reverse, carry_back};
pub(super) use set_aside::undo as undo_set_aside;
pub use silence::owner as owner_of_silences;
pub(super) use silence::undo as undo_silence;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::{BoxFuture, ready};
use tokio::sync::{Semaphore, mpsc, oneshot, watch};

use self::pace::Copies;
use super::{Stop, World, Worlds};
use crate::check::{PoolRef, Subject, SubjectName};
use crate::event::{
    Approval, Before, Event, Figures, Notice, RunState, SetMember, SetTtl, Standing, StepResult, StepState, Tuning,
};
use crate::host::{Command, Output};
use crate::lock::Barred;
use crate::model::Host;
use crate::mutant::{self, Mutant};
use crate::outside::{Certainty, Error};
use crate::retry::{Policy, Retry};
use crate::step::{Look, Places, Step, StepKind};

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
    /// Whether nothing new is to begin.
    paused: watch::Sender<bool>,
    /// What each wave may let go.
    waves: Arc<waves::Waves>,
    /// The limits of copies that are governed.
    governed: Arc<paced::Governed>,
    /// Bytes per second of all copies together, as the plan has it.
    total_bandwidth: Option<u64>,
    /// The limits of the plan by place.
    places: Arc<Places>,
    /// Copies under way.
    copies: watch::Sender<Copies>,
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
    /// Nothing stands against taking back what a step has done; nothing has been done yet.
    LookedBack,
    /// What a step has done must not be taken back now; nothing has been done.
    NotBack {
        /// Why, in one sentence.
        why: String,
        /// What to do next.
        hint: Option<String>,
    },
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
    /// Its pair is frozen for too long, for this reason. What it has begun may go on.
    Overdue(String),
    /// This controller must not act, for this reason: the step has not acted, and nothing else may either.
    Barred(String),
}

/// Sees what is there before a step acts, where its undo or a later step will need that. Changes nothing.
pub async fn look(context: &Context, step: &Step) -> Effect {
    match step.kind.looks() {
        Some(Look::Pool { director, pool }) => Box::pin(traffic::look(context, step, director, pool)).await,
        Some(Look::Ttl { director, pool }) => Box::pin(traffic::look_at_ttl(context, step, director, pool)).await,
        Some(Look::Files { director, pool, members }) => {
            Box::pin(persist::look(context, step, director, pool, members)).await
        }
        Some(Look::Position(replica)) => Box::pin(replica::look(context, step, replica)).await,
        None => failed("there is nothing to look at", None),
    }
}

/// Runs a step to its end.
pub async fn execute(context: &Context, step: &Step, history: &History) -> Effect {
    let began = context.world.clock.now();
    let effect = work(context, step, history).await;
    timed(effect, began, context.world.clock.now())
}

/// What a step does. Boxed kind by kind: the task of a step would else be as large as the largest kind needs, and is moved while it begins.
fn work<'a>(context: &'a Context, step: &'a Step, history: &'a History) -> BoxFuture<'a, Effect> {
    match &step.kind {
        StepKind::Check(check) if check.serving => Box::pin(wait::look(context, step, &check.checks)),
        StepKind::Check(check) => Box::pin(wait::check(context, step, &check.checks)),
        StepKind::Watch(watch) => {
            Box::pin(wait::watch(context, step, context.hold(watch.hold), &watch.checks, &watch.pools))
        }
        StepKind::Confirm(confirm) => Box::pin(confirm::run(context, step, confirm, history)),
        StepKind::Persist(persist) => Box::pin(persist::agrees(context, step, persist)),
        StepKind::Rewrite(rewrite) => Box::pin(persist::rewrite(context, step, rewrite, history)),
        StepKind::Settle(settle) => Box::pin(wait::settle(context, step, &settle.director, &settle.pool, history.ttl)),
        StepKind::Connections(work) => Box::pin(connections::let_go(context, step, work, history)),
        StepKind::Empty(empty) => Box::pin(wait::empty(context, step, empty)),
        StepKind::Copy(copy) => Box::pin(copy::copy(context, step, copy)),
        StepKind::Compare(compare) => Box::pin(copy::compare(context, step, compare)),
        StepKind::HandOver(_) => Box::pin(ready(done("what the target takes from here on goes back with a rollback"))),
        StepKind::Reverse(reverse) => Box::pin(reverse::run(context, step, reverse)),
        StepKind::Commit(commit) => Box::pin(commit::wait(context, step, commit, history)),
        StepKind::SetAside(set_aside) => Box::pin(set_aside::run(context, step, set_aside, history)),
        StepKind::Fence(fence) => Box::pin(fence::set(context, step, fence, history)),
        StepKind::Unfence(unfence) => Box::pin(fence::lift(context, step, unfence, history)),
        StepKind::Relay(relay) => Box::pin(relay::set(context, step, relay, history)),
        StepKind::Stragglers(work) => Box::pin(relay::watch(context, step, work, history)),
        StepKind::Unrelay(unrelay) => Box::pin(relay::lift(context, step, unrelay, history)),
        StepKind::Stream(pour) => Box::pin(stream::pour(context, step, pour, history)),
        StepKind::Replica(replica) => Box::pin(replica::run(context, step, replica, history)),
        StepKind::Batch(batch) => Box::pin(ready(done(batch.evidence(&history.left)))),
        StepKind::Probe(probe) => Box::pin(probe::probe(context, step, &probe.hosts)),
        StepKind::Silence(silence) => Box::pin(silence::run(context, step, silence)),
        StepKind::Decommission(back) => Box::pin(decommission::run(context, step, back, history)),
        StepKind::CleanUp(clean_up) => Box::pin(copy::clean_up(context, &clean_up.hosts, &clean_up.jobs)),
        StepKind::Traffic(set) => Box::pin(traffic::set(context, step, set, history)),
        StepKind::LowerTtl(lower) => Box::pin(traffic::set_ttl(context, step, &lower.director, &lower.pool, lower.ttl)),
        StepKind::RestoreTtl(restore) => match history.ttl {
            Some(ttl) => Box::pin(traffic::set_ttl(context, step, &restore.director, &restore.pool, ttl)),
            None => Box::pin(ready(failed("the TTL from before the move is not in the journal", None))),
        },
        StepKind::Gate(gate) => Box::pin(gate::wait(context, step, &gate.asks)),
        StepKind::Hook(hook) => Box::pin(hook::run(context, step, hook, history)),
    }
}

/// With the time that it took.
pub(super) fn timed(effect: Effect, began: Instant, ended: Instant) -> Effect {
    match effect {
        Effect::Ended(StepResult::Done { evidence, figures, .. }) => {
            let millis = u64::try_from(ended.saturating_duration_since(began).as_millis()).unwrap_or(u64::MAX);
            Effect::Ended(StepResult::Done { evidence, millis, figures })
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
        let places = Arc::new(Places::new(&state.graph.limits));
        let (copies, _) = watch::channel(Copies::none(&places));
        let (standing, _) = watch::channel(Standing::of(state));
        let commits = state.graph.steps.iter().filter(|step| matches!(step.kind, StepKind::Commit(_)));
        let ended = commits.filter(|step| state.state_of(&step.id) == Some(StepState::Done));
        let (committed, _) = watch::channel(ended.map(|step| step.id.clone()).collect());
        let total_bandwidth = state.graph.total_bandwidth;
        let waves = Arc::new(waves::Waves::new(world.clock.now(), state));
        let governed = Arc::new(paced::Governed::new(state));
        Self {
            paused: watch::channel(state.paused.is_some()).0,
            waves,
            governed,
            world,
            worlds,
            run,
            fence,
            notices,
            stop,
            approvals,
            tuning,
            total_bandwidth,
            places,
            copies,
            interrupted: watch::channel(false).0,
            let_go: watch::channel(false).0,
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
        self.paused.send_replace(state.paused.is_some());
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
    fn standing(&self, pool: &PoolRef) -> Option<Arc<BTreeMap<String, SetMember>>> {
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

    /// The same for calls of a director: in a freeze users wait, and a second hold costs more than a second try.
    fn retry_call(&self, step: &Step) -> Retry<'_> {
        self.retry(if step.urgent { Policy::PATIENT } else { Policy::CALL })
    }

    /// Asks a host what only reads, again while it does not answer.
    async fn query(&self, step: &Step, host: &Host, command: &Command) -> Result<Output, Error> {
        let mut retry = self.retry(Policy::PATIENT);
        loop {
            match self.world.remote.query(host, command).await {
                Ok(output) => return Ok(output),
                Err(e) => retry.after(e, |what| self.waiting(step, what)).await?,
            }
        }
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
pub(super) async fn until<T>(values: &mut watch::Receiver<T>, wanted: impl FnMut(&T) -> bool) {
    if values.wait_for(wanted).await.is_err() {
        std::future::pending::<()>().await;
    }
}

fn done(evidence: impl Into<String>) -> Effect {
    Effect::Ended(StepResult::Done { evidence: evidence.into(), millis: 0, figures: None })
}

/// With what was measured.
fn measured(evidence: impl Into<String>, figures: Option<Figures>) -> Effect {
    Effect::Ended(StepResult::Done { evidence: evidence.into(), millis: 0, figures })
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
