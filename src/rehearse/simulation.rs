//! One history while it is played: the world, the clock, the journal, and the faults that strike.
//!
//! Owns the numbering of points: every call on the world and every record is one, in the order in which they come, and the order is the
//! same each time, because all steps run on one thread that takes turns in a fixed way. Must never let anything happen once the controller is dead.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::fault::{Call, Fault};
use super::invariants::Violation;
use super::model::Model;
use super::receipts::{Key, Receipts};
use super::replica::WayBack;
use super::transcript::Transcript;
use crate::engine::Stop;
use crate::event::{RunState, Standing, StepState};
use crate::step::{Graph, StepKind};

/// Points of a history beyond which it counts as endless, on top of what an undisturbed run needs.
const ENDLESS: u32 = 20_000;
/// The place of whoever can never be out of reach: the controller.
const ELSEWHERE: usize = usize::MAX;
/// Calls for which a place stays away: as many as a host is asked in vain before a step gives up.
const AWAY: u32 = 8;
/// Points after which a late command starts: while the same controller tries again, or when another one has gone on.
pub(super) const LATE: u32 = 8;
pub(super) const MUCH_LATER: u32 = 18;

/// A fault and the point at which it strikes.
pub(super) type Strike = (u32, Fault);

/// What does not change from history to history.
pub(super) struct Scenario {
    pub graph: Arc<Graph>,
    pub index: BTreeMap<String, usize>,
    pub model: Model,
    /// Hosts and directors that can be out of reach.
    pub places: BTreeMap<String, usize>,
    /// Copy jobs that are compared after they are copied.
    pub verified: Vec<String>,
}

/// The shared half of every simulated part.
pub(super) struct Simulation {
    pub scenario: Scenario,
    epoch: Instant,
    history: Mutex<History>,
}

/// One point of a history, as far as the search needs it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Point {
    pub call: Call,
    /// Which step made it, `u32::MAX` for none, and in which attempt.
    pub step: u32,
    pub attempt: u32,
}

/// A command that starts later.
#[derive(Debug, Clone)]
pub(super) struct Late {
    pub hook: usize,
    pub undo: bool,
    /// What it does where its step has several commands.
    pub means: Option<WayBack>,
    /// Under which key and fence.
    pub key: (Key, u64),
    /// Points until then.
    pub left: u32,
}

/// Whether a host or director answers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub(super) enum Reach {
    #[default]
    Here,
    Away(u32),
    Gone,
}

/// A state in which nothing is under way: what comes next is the same for the controller that is there and for a new one.
#[derive(Debug)]
pub(super) struct Snapshot {
    /// Points before it.
    pub at: u32,
    model: Model,
    reach: Vec<Reach>,
    receipts: Receipts,
    looks: u32,
    now: Duration,
    state: RunState,
    hashes: Vec<Option<u64>>,
    disk_full: bool,
}

/// Everything that changes.
#[derive(Default)]
pub(super) struct History {
    pub model: Model,
    pub reach: Vec<Reach>,
    /// Commands that start later.
    pub late: Vec<Late>,
    pub receipts: Receipts,
    /// How often an operator had to look.
    pub looks: u32,
    /// Asks the controller to stop.
    pub stop: Option<watch::Sender<Stop>>,
    /// The operator wants to go back.
    pub turn: bool,
    pub strikes: Vec<Strike>,
    pub struck: usize,
    /// Points before the trace.
    pub offset: u32,
    pub trace: Vec<Point>,
    /// Points of the first run, where the plan was applied once more after that had gone back.
    pub first_run: Option<usize>,
    /// Quiet states that this history was the first to reach.
    pub quiet: Vec<Arc<Snapshot>>,
    pub transcript: Option<Transcript>,
    pub broken: Option<Violation>,
    /// The controller does nothing any more, because it was killed, or because there is nothing more to learn.
    pub dead: bool,
    /// Its state was reached before, with at least as many faults still to come.
    pub merged: bool,
    pub waits_for_ever: bool,
    pub now: Duration,
    sleepers: Vec<(Duration, Waker)>,
    main: Option<Waker>,
    pub state: Option<RunState>,
    /// Nothing ended badly since this controller began.
    pub clean: bool,
    /// Steps that have asked something before their intent.
    pub looking: Vec<u32>,
    pub hashes: Vec<Option<u64>>,
    /// States reached before, with the most faults that were still to come; shared by all histories of a search.
    pub seen: HashMap<u64, u8>,
    /// Faults still to come after those of this history.
    pub left: u8,
    pub disk_full: bool,
}

impl Simulation {
    pub fn new(scenario: Scenario) -> Self {
        Self { scenario, epoch: Instant::now(), history: Mutex::default() }
    }

    pub fn lock(&self) -> MutexGuard<'_, History> {
        self.history.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins a history, at the start or where another one was.
    pub fn reset(&self, from: Option<&Snapshot>, strikes: &[Strike], left: u8, transcript: bool) {
        let mut history = self.lock();
        let (mut trace, seen) = (std::mem::take(&mut history.trace), std::mem::take(&mut history.seen));
        trace.clear();
        let new = History {
            strikes: strikes.to_vec(),
            transcript: transcript.then(Transcript::default),
            trace,
            seen,
            left,
            ..History::default()
        };
        *history = match from {
            None => History {
                model: self.scenario.model.clone(),
                reach: vec![Reach::Here; self.scenario.places.len()],
                hashes: vec![None; self.scenario.graph.steps.len()],
                ..new
            },
            Some(from) => History {
                model: from.model.clone(),
                reach: from.reach.clone(),
                receipts: from.receipts.clone(),
                looks: from.looks,
                now: from.now,
                state: Some(from.state.clone()),
                hashes: from.hashes.clone(),
                disk_full: from.disk_full,
                struck: strikes.iter().take_while(|(at, _)| *at < from.at).count(),
                offset: from.at,
                ..new
            },
        };
    }

    pub fn instant(&self) -> Instant {
        self.epoch + self.lock().now
    }

    /// One call on the world. `None`: the controller is dead, and its call never returns.
    fn play<T>(&self, step: Option<usize>, act: impl FnOnce(&mut Turn<'_>) -> T) -> Option<T> {
        let mut history = self.lock();
        if history.dead {
            return None;
        }
        let done = act(&mut Turn { scenario: &self.scenario, history: &mut history, step });
        history.settle();
        if history.dead {
            history.wake_main();
            return None;
        }
        Some(done)
    }

    /// Lets a future sleep until an instant of the simulated clock.
    pub fn poll_sleep(&self, until: Duration, waker: &Waker) -> bool {
        let mut history = self.lock();
        let over = !history.dead && history.now >= until;
        if !over {
            history.sleepers.push((until, waker.clone()));
        }
        over
    }

    /// Called when nobody can go on: time passes to the next that waits for it.
    pub fn idle(&self) {
        let mut history = self.lock();
        if history.dead {
            history.wake_main();
            return;
        }
        let Some(next) = history.sleepers.iter().map(|(until, _)| *until).min() else {
            history.waits_for_ever = true;
            history.dead = true;
            history.wake_main();
            return;
        };
        history.now = history.now.max(next);
        let now = history.now;
        for (_, waker) in history.sleepers.extract_if(.., |(until, _)| *until <= now) {
            waker.wake();
        }
        // Who slept may be gone: the controller looks again, and if nobody goes on the next sleeper is waited for.
        history.wake_main();
    }

    /// Remembers who waits for the controller; whether it is dead.
    pub fn watch(&self, waker: &Waker) -> bool {
        let mut history = self.lock();
        if history.main.as_ref().is_none_or(|m| !m.will_wake(waker)) {
            history.main = Some(waker.clone());
        }
        history.dead
    }

    /// A new controller can begin.
    pub fn revive(&self) {
        let mut history = self.lock();
        (history.dead, history.clean) = (history.broken.is_some() || history.merged, true);
        history.sleepers.clear();
        history.looking.clear();
    }
}

impl History {
    fn wake_main(&self) {
        if let Some(main) = &self.main {
            main.wake_by_ref();
        }
    }

    pub fn fail(&mut self, broken: Violation) {
        if self.broken.is_none() {
            if let Some(transcript) = &mut self.transcript {
                transcript.broken(&broken);
            }
            self.broken = Some(broken);
        }
        self.dead = true;
    }

    /// Takes in what the model says of something that was done.
    pub fn keep(&mut self, result: Result<(), Violation>) {
        if let Err(broken) = result {
            self.fail(broken);
        }
    }

    /// Numbers a call of a step; the fault that strikes it, if one does.
    pub fn point(&mut self, scenario: &Scenario, call: Call, step: Option<usize>, what: &str) -> Option<Fault> {
        let n = self.offset + self.trace.len() as u32;
        let record = step.zip(self.state.as_ref()).and_then(|(s, state)| state.at(s));
        let (attempt, open) =
            record.map_or((0, false), |r| (r.attempts, matches!(r.state, StepState::Running | StepState::Undoing)));
        let id = step.map_or(u32::MAX, |s| s as u32);
        self.trace.push(Point { call, step: id, attempt });
        if !matches!(call, Call::Append { .. }) && !open {
            if call.writes() && !self.sweeps(call) {
                self.fail(Violation::NoIntent);
            } else if !self.looking.contains(&id) {
                self.looking.push(id);
            }
        }
        if n > self.offset + ENDLESS {
            self.fail(Violation::Endless);
        }
        self.start_late();
        let fault = self.strikes.get(self.struck).filter(|(at, _)| *at == n).map(|(_, fault)| *fault);
        self.struck += usize::from(fault.is_some());
        if let Some(transcript) = &mut self.transcript {
            let step = step.and_then(|s| scenario.graph.steps.get(s)).map_or("", |s| &s.id);
            transcript.point(step, what, fault);
        }
        if fault == Some(Fault::ClockJump) {
            self.now += Duration::from_secs(3600);
        }
        self.dead |= fault.is_some_and(Fault::kills);
        fault
    }

    /// A run has gone back, and another one begins in the world as it is.
    pub fn begin_again(&mut self) {
        self.first_run = Some(self.trace.len());
        self.state = None;
        self.hashes.fill(None);
        // Receipts on the controller stay with their run.
        self.receipts.remove(ELSEWHERE);
    }

    /// Whether the operator could still come to want to go back.
    pub fn may_turn(&self) -> bool {
        !self.strikes.iter().any(|(_, f)| *f == Fault::RollBack)
    }

    /// The operator asks the controller to stop, in order to go back.
    pub fn ask_to_stop(&mut self) {
        self.turn = true;
        self.clean = false;
        if let Some(stop) = &self.stop {
            let _ = stop.send(Stop::Soon { by: "the operator".into() });
        }
    }

    /// After everything that happens: users write, and promises are looked at.
    pub fn settle(&mut self) {
        if self.broken.is_some() {
            return;
        }
        self.notice_restored();
        let held = self.model.check(self.now).and_then(|()| self.model.sent_to_given());
        let held = held.and_then(|()| self.model.users_write(self.now));
        self.keep(held);
    }

    /// Somebody sets a pool back to what it was before the run.
    pub fn set_back(&mut self, scenario: &Scenario, director: &str, pool: &str) {
        let Some(index) = self.model.pool(director, pool) else { return };
        if let Some(before) = scenario.model.pools.get(index) {
            self.model.set_back(index, &before.members, self.now);
        }
    }

    /// Pools that are again as the run has set them.
    fn notice_restored(&mut self) {
        if !self.model.pools.iter().any(|pool| pool.set_back) {
            return;
        }
        let Some(standing) = self.state.as_ref().map(Standing::of) else { return };
        // What is being set is neither as it was nor otherwise.
        if self.state.as_ref().is_some_and(sets_something) {
            return;
        }
        let now = self.now;
        self.model.pools.iter_mut().for_each(|pool| pool.set_back &= !pool.is_as_set(&standing, now));
    }

    /// The operator mends what is broken.
    pub fn mend(&mut self) {
        if let Some(standing) = self.state.as_ref().map(Standing::of) {
            let now = self.now;
            self.model.pools.iter_mut().filter(|pool| pool.set_back).for_each(|pool| pool.set_again(&standing, now));
        }
        self.reach.fill(Reach::Here);
        self.disk_full = false;
        self.model.mend();
    }

    /// Whether something is broken that stays so.
    pub fn is_ailing(&self) -> bool {
        let sick = self.model.pairs.iter().any(|p| p.source_sick || p.target_sick);
        let set_back = self.model.pools.iter().any(|pool| pool.set_back);
        sick || set_back || self.disk_full || !self.late.is_empty() || self.reach.iter().any(|r| *r != Reach::Here)
    }

    /// A record was taken in.
    pub fn recorded(&mut self, step: Option<usize>, intent: bool) {
        let Some(step) = step else { return };
        if let Some(hash) = self.hashes.get_mut(step) {
            *hash = None;
        }
        if intent {
            self.looking.retain(|l| *l as usize != step);
        }
    }
}

/// Whether a step that sets members is under way.
fn sets_something(state: &RunState) -> bool {
    let open = |at: usize| state.at(at).is_some_and(|r| matches!(r.state, StepState::Running | StepState::Undoing));
    state.graph.steps.iter().zip(0..).any(|(s, at)| matches!(s.kind, StepKind::Traffic(_)) && open(at))
}

impl History {
    /// Keeps a quiet state for the histories that go on from it.
    pub fn keep_quiet(&mut self) {
        let Some(state) = self.state.clone() else { return };
        self.quiet.push(Arc::new(Snapshot {
            at: self.offset + self.trace.len() as u32,
            model: self.model.clone(),
            reach: self.reach.clone(),
            receipts: self.receipts.clone(),
            looks: self.looks,
            now: self.now,
            state,
            hashes: self.hashes.clone(),
            disk_full: self.disk_full,
        }));
    }
}

/// Who calls: a step of the run, or the engine itself.
pub(super) struct Caller {
    pub simulation: Arc<Simulation>,
    pub step: Option<usize>,
}

impl Caller {
    /// One call on the world. Never returns when the controller that makes it is dead.
    pub async fn call<T>(&self, act: impl FnOnce(&mut Turn<'_>) -> T) -> T {
        match self.simulation.play(self.step, act) {
            Some(played) => played,
            None => std::future::pending().await,
        }
    }
}

/// A call while it is played: nothing else happens meanwhile.
pub(super) struct Turn<'a> {
    pub scenario: &'a Scenario,
    pub history: &'a mut History,
    /// The step whose call it is.
    pub step: Option<usize>,
}

impl Turn<'_> {
    /// Numbers it; the fault that strikes it, if one does.
    pub fn point(&mut self, call: Call, what: &str) -> Option<Fault> {
        self.history.point(self.scenario, call, self.step, what)
    }

    /// The index of a host or director that can be out of reach.
    pub fn place(&self, name: &str) -> usize {
        self.scenario.places.get(name).copied().unwrap_or(ELSEWHERE)
    }

    /// Whether a host or director answers; counts the call.
    pub fn answers(&mut self, name: &str) -> bool {
        let place = self.place(name);
        let Some(reach) = self.history.reach.get_mut(place) else { return true };
        match *reach {
            Reach::Here => true,
            Reach::Gone => false,
            Reach::Away(left) => {
                *reach = if left > 1 { Reach::Away(left - 1) } else { Reach::Here };
                false
            }
        }
    }

    /// Takes a host or director out of reach, if the fault is of that kind.
    pub fn lose(&mut self, name: &str, fault: Fault) {
        let lost = match fault {
            Fault::Away => Reach::Away(AWAY - 1),
            Fault::Gone => Reach::Gone,
            _ => return,
        };
        let place = self.place(name);
        if let Some(reach) = self.history.reach.get_mut(place) {
            *reach = lost;
        }
    }
}
