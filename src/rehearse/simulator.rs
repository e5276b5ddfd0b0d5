//! Plays one history to its end: controllers that come and go, and an operator who mends and looks again.
//!
//! Everything runs on one thread, and nobody waits for real time: tasks take turns in the order in which they become ready.

use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use tokio::runtime::Runtime;
use tokio::sync::{mpsc, watch};

use super::fault::Fault;
use super::invariants::Violation;
use super::log::SimLog;
use super::replica;
use super::simulation::{Point, Scenario, Simulation, Snapshot, Strike};
use super::world::SimWorlds;
use crate::engine::{self, Ending, Engine, EngineError, Stop, Worlds};
use crate::event::{Blob, Direction, Event, Operator, Started, Status, StepState};
use crate::spec::Spec;
use crate::step::{Class, StepKind};

/// Controllers that one history may need, beyond three for each fault.
const CONTROLLERS: usize = 4;

/// How a history ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum End {
    /// Everything is done; `looks`: how often it was held and an operator had to look.
    Done { looks: u32 },
    /// Everything is back at the start.
    RolledBack { looks: u32 },
    /// It came to where another history had been.
    Merged,
    /// A promise broke.
    Violation(Violation),
}

/// A simulator: everything that histories are played with, made once.
pub(super) struct Simulator {
    simulation: Arc<Simulation>,
    runtime: Runtime,
    worlds: Arc<dyn Worlds>,
    started: Started,
    /// Where everything stands at the start.
    before: Vec<String>,
    /// Where everything stands after an undisturbed run.
    pub after: Option<Vec<String>>,
}

/// How a controller's work ended.
enum Session {
    Ended(Ending),
    Failed(EngineError),
    Killed,
}

impl Simulator {
    pub fn new(spec: &Spec, scenario: Scenario) -> std::io::Result<Self> {
        let before = scenario.model.facts(false);
        let simulation = Arc::new(Simulation::new(scenario));
        let parked = Arc::clone(&simulation);
        let runtime = tokio::runtime::Builder::new_current_thread().on_thread_park(move || parked.idle()).build()?;
        let worlds = Arc::new(SimWorlds::new(Arc::clone(&simulation), spec));
        let started = Started {
            run: "rehearsal".into(),
            plan: spec.plan.name.clone(),
            inputs: Vec::new(),
            texts: Vec::new(),
            graph: Blob::default(),
            steps: simulation.scenario.graph.steps.len(),
            by: operator(),
            version: env!("CARGO_PKG_VERSION").into(),
        };
        Ok(Self { simulation, runtime, worlds, started, before, after: None })
    }

    /// Plays a history with these faults, from the start or from where another one was, of which `left` more could follow.
    pub fn play(&self, from: Option<&Snapshot>, strikes: &[Strike], left: u8) -> End {
        self.simulation.reset(from, strikes, left, false);
        self.perform(from.is_none(), strikes)
    }

    /// Plays a history again and tells it.
    pub fn tell(&self, strikes: &[Strike]) -> Vec<String> {
        self.simulation.reset(None, strikes, 0, true);
        self.perform(true, strikes);
        self.simulation.lock().transcript.take().unwrap_or_default().into_lines()
    }

    /// The points of the history played last, with the number of the first, and the quiet states that it was the first to reach.
    pub fn trace(&self) -> (u32, Vec<Point>, Vec<Arc<Snapshot>>) {
        let mut history = self.simulation.lock();
        let first_run = history.first_run.unwrap_or(history.trace.len());
        let trace = history.trace.iter().take(first_run).copied().collect();
        (history.offset, trace, std::mem::take(&mut history.quiet))
    }

    /// Where everything stands now.
    pub fn facts(&self) -> Vec<String> {
        self.simulation.lock().model.facts(true)
    }

    fn perform(&self, begins: bool, strikes: &[Strike]) -> End {
        if begins {
            self.record(Event::Started(Box::new(self.started.clone())));
        }
        let mut told = strikes.is_empty();
        for _ in 0..CONTROLLERS + 3 * strikes.len() {
            self.simulation.revive();
            let (struck, ailing) = {
                let history = self.simulation.lock();
                (history.struck, history.is_ailing())
            };
            let session = match self.controller() {
                Err(broken) => return End::Violation(broken),
                Ok(None) => return End::Merged,
                Ok(Some(session)) => session,
            };
            if self.turns_back(&session) {
                continue;
            }
            let held = match session {
                Session::Ended(Ending::Finished) => return self.ended(false),
                Session::Ended(Ending::RolledBack) => return self.rolled_back(strikes),
                Session::Killed | Session::Ended(Ending::Stopped) => None,
                Session::Ended(Ending::Held { step, why, .. }) => Some((step, why)),
                Session::Failed(EngineError::Journal(e)) => Some((None, e.to_string())),
                Session::Failed(e) => return self.broke(Violation::Internal { why: e.to_string() }),
            };
            if let Some((step, why)) = held {
                let calm = !ailing && self.simulation.lock().struck == struck;
                // What is in the journal or in a receipt from before may be told once more.
                if calm && std::mem::replace(&mut told, true) {
                    return self.broke(Violation::HeldForGood { why });
                }
                told &= calm;
                self.simulation.lock().looks += 1;
                self.look(step.as_deref());
            } else {
                // A controller that was killed may have left something new to be told.
                told &= self.simulation.lock().struck == struck;
                self.say("another controller takes the run up");
            }
            let status = self.simulation.lock().state.as_ref().map(|s| s.status.clone());
            match status {
                Some(Status::Finished) => return self.ended(false),
                Some(Status::RolledBack) => return self.rolled_back(strikes),
                _ => {}
            }
            self.record(Event::Resumed { by: operator() });
        }
        self.broke(Violation::Endless)
    }

    /// Whether the operator wanted to go back and now does, where there is a way back.
    fn turns_back(&self, session: &Session) -> bool {
        let mut history = self.simulation.lock();
        if !history.turn || matches!(session, Session::Failed(_) | Session::Killed) {
            return false;
        }
        history.turn = false;
        // Where all that is in the way is a promote, and the target is not promoted as far as he can see, he says so.
        let open = history.state.as_ref().and_then(|state| engine::rollback_steps(state, None).err()).map(|e| e.step);
        let state_of = |id: &String| history.state.as_ref().and_then(|state| state.state_of(id));
        let open = open.filter(|id| matches!(state_of(id), Some(StepState::Unknown | StepState::Failed)));
        if let Some(step) = open.filter(|id| history.seems_not_promoted(&self.simulation.scenario.graph, id)) {
            drop(history);
            self.record(Event::Resolved { step, done: false, by: operator(), why: "it is not promoted".to_owned() });
            history = self.simulation.lock();
        }
        let way = history.state.as_ref().map(|s| (s.direction.clone(), engine::rollback_steps(s, None)));
        let (Some((Direction::Forward, Ok(steps))), Session::Ended(ending)) = (way, session) else { return false };
        if steps.is_empty() || *ending == Ending::RolledBack {
            return false;
        }
        drop(history);
        self.say("the operator rolls back");
        self.record(Event::RollbackBegan { by: operator(), to: None, why: "rehearsal".into(), accept_gap: false });
        true
    }

    /// The operator looks at what is held, says what became of it where only looking can tell, and mends what is broken.
    fn look(&self, step: Option<&str>) {
        self.say("the operator looks, mends what is broken, and applies again");
        let mut history = self.simulation.lock();
        history.mend();
        if let Some(step) =
            step.filter(|s| history.state.as_ref().and_then(|h| h.state_of(s)) == Some(StepState::Undoing))
        {
            history.demote(&self.simulation.scenario.graph, step);
        }
        let Some((step, index)) = step.and_then(|s| Some((s, *self.simulation.scenario.index.get(s)?))) else { return };
        let opaque = self.simulation.scenario.graph.step(step).is_some_and(|s| s.kind.class() == Class::Opaque);
        // What such a step has done is asked for when it is done again.
        let asks = self.simulation.scenario.graph.step(step).is_some_and(replica::asks_again);
        let lost = (opaque || history.receipts.is_lost(index)) && !asks;
        let (Some(hook), Some(state)) = (history.model.hooks.get(index), &history.state) else { return };
        let took = hook.took > 0;
        let confirms =
            self.simulation.scenario.graph.step(step).is_some_and(|s| matches!(s.kind, StepKind::Confirm(_)));
        let done = match state.state_of(step) {
            // Nothing that the source has is missing on the target: what cannot be done again need not be.
            Some(StepState::Unknown) if confirms => history.model.targets_are_whole(),
            Some(StepState::Unknown) if lost => took,
            Some(StepState::Undoing) if lost => !took,
            _ => return,
        };
        drop(history);
        let (step, why) = (step.to_owned(), "looked at it".to_owned());
        self.record(Event::Resolved { step, done, by: operator(), why });
    }

    fn broke(&self, broken: Violation) -> End {
        let mut history = self.simulation.lock();
        history.fail(broken.clone());
        End::Violation(history.broken.clone().unwrap_or(broken))
    }

    fn say(&self, what: &str) {
        if let Some(transcript) = &mut self.simulation.lock().transcript {
            transcript.say(what);
        }
    }

    fn record(&self, event: Event) {
        let step = match &event {
            Event::Resolved { step, .. } => self.simulation.scenario.index.get(step).copied(),
            _ => None,
        };
        self.simulation.lock().keep_record(&self.simulation.scenario, event, step);
    }

    /// One controller at work. `Ok(None)`: there is nothing more to learn from this history.
    fn controller(&self) -> Result<Option<Session>, Violation> {
        let state = self.simulation.lock().state.clone().ok_or(Violation::Waits)?;
        let (notices, _) = mpsc::unbounded_channel();
        let (_nobody, orders) = mpsc::channel(1);
        let (ask, stop) = watch::channel(Stop::No);
        self.simulation.lock().stop = Some(ask);
        let log = Box::new(SimLog(Arc::clone(&self.simulation)));
        let engine = Engine::new(Arc::clone(&self.worlds), log, state, operator(), notices, stop, orders);
        let session = self.runtime.block_on(async {
            let mut run = pin!(engine.run());
            std::future::poll_fn(|cx| {
                if self.simulation.watch(cx.waker()) {
                    return Poll::Ready(Session::Killed);
                }
                run.as_mut().poll(cx).map(|ended| match ended {
                    Ok(ending) => Session::Ended(ending),
                    Err(error) => Session::Failed(error),
                })
            })
            .await
        });
        let history = self.simulation.lock();
        match (&history.broken, history.waits_for_ever, history.merged, history.dead) {
            (Some(broken), ..) => Err(broken.clone()),
            (None, true, ..) => {
                drop(history);
                match self.broke(Violation::Waits) {
                    End::Violation(broken) => Err(broken),
                    _ => Err(Violation::Waits),
                }
            }
            (None, false, true, _) => Ok(None),
            (None, false, false, true) => Ok(Some(Session::Killed)),
            (None, false, false, false) => Ok(Some(session)),
        }
    }

    /// Everything is back. Where nothing went wrong on the way, the plan is applied once more, to what is there now.
    fn rolled_back(&self, strikes: &[Strike]) -> End {
        let end = self.ended(true);
        let undisturbed = matches!(strikes, [(_, Fault::RollBack)]);
        if !matches!(end, End::RolledBack { .. }) || !undisturbed || self.after.is_none() {
            return end;
        }
        self.say("the plan is applied once more");
        self.simulation.lock().begin_again();
        self.record(Event::Started(Box::new(self.started.clone())));
        self.simulation.revive();
        match self.controller() {
            Err(broken) => End::Violation(broken),
            // It came to where another history had been, which has been looked at.
            Ok(None) => end,
            Ok(Some(Session::Ended(Ending::Finished))) => match self.ended(false) {
                End::Done { .. } => end,
                other => other,
            },
            Ok(Some(Session::Ended(Ending::Held { why, .. }))) => self.broke(Violation::HeldForGood { why }),
            Ok(Some(_)) => self.broke(Violation::Endless),
        }
    }

    fn ended(&self, back: bool) -> End {
        self.simulation.lock().start_the_rest();
        if let Some(broken) = self.simulation.lock().broken.clone() {
            return End::Violation(broken);
        }
        let sick = self.simulation.lock().model.sick_target().filter(|_| !back).map(str::to_owned);
        if let Some(host) = sick {
            return self.broke(Violation::DoneWhileSick { host });
        }
        let looks = self.simulation.lock().looks;
        let (expected, facts) = match back {
            true => (Some(&self.before), self.simulation.lock().model.facts(false)),
            false => (self.after.as_ref(), self.facts()),
        };
        match expected.and_then(|expected| difference(expected, &facts)) {
            Some((found, expected)) if back => self.broke(Violation::NotBack { found, expected }),
            Some((found, expected)) => self.broke(Violation::EndsOtherwise { found, expected }),
            None if back => End::RolledBack { looks },
            None => End::Done { looks },
        }
    }
}

/// The first thing that is otherwise than expected.
fn difference(expected: &[String], found: &[String]) -> Option<(String, String)> {
    let other = expected.iter().zip(found).find(|(e, f)| e != f);
    other.map(|(e, f)| (f.clone(), e.clone()))
}

fn operator() -> Operator {
    Operator { user: "rehearsal".into(), host: "simulated".into(), pid: 0 }
}

#[cfg(test)]
impl Simulator {
    /// Runs the plan to its end and takes it back, undisturbed, with these directors in the place of simulated ones.
    pub fn there_and_back(mut self, directors: Directors, there: impl FnOnce()) {
        self.worlds = Arc::new(Instead { worlds: self.worlds, directors: Arc::new(directors) });
        self.simulation.reset(None, &[], 0, true);
        self.record(Event::Started(Box::new(self.started.clone())));
        self.works_until(&Ending::Finished);
        there();
        self.record(Event::RollbackBegan { by: operator(), to: None, why: "rehearsal".into(), accept_gap: false });
        self.works_until(&Ending::RolledBack);
    }

    fn works_until(&self, wanted: &Ending) {
        self.simulation.revive();
        match self.controller() {
            Ok(Some(Session::Ended(ending))) => assert_eq!(ending, *wanted),
            Ok(Some(Session::Failed(error))) => panic!("{error}"),
            Ok(Some(Session::Killed) | None) | Err(_) => panic!("it did not come to {wanted:?}"),
        }
    }
}

#[cfg(test)]
type Directors = std::collections::BTreeMap<String, Arc<dyn crate::traffic::Director>>;

/// Simulated worlds with other directors.
#[cfg(test)]
struct Instead {
    worlds: Arc<dyn Worlds>,
    directors: Arc<Directors>,
}

#[cfg(test)]
impl Worlds for Instead {
    fn for_engine(&self) -> engine::World {
        self.worlds.for_engine()
    }

    fn for_step(&self, id: &str) -> engine::World {
        engine::World { directors: Arc::clone(&self.directors), ..self.worlds.for_step(id) }
    }
}
