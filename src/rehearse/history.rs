//! Plays one history to its end: controllers that come and go, and an operator who mends and looks again.
//!
//! Everything runs on one thread, and nobody waits for real time: tasks take turns in the order in which they become ready.

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use tokio::runtime::Runtime;
use tokio::sync::{mpsc, watch};

use super::cast::{SimClock, SimCopier, SimDirector, SimHealth, SimSecrets};
use super::hosts::SimRemote;
use super::log::SimLog;
use super::promise::Broken;
use super::stage::{Point, Script, Stage, Strike};
use crate::engine::{Ending, Engine, EngineError, Stop, World};
use crate::event::{Event, Operator, Started, Status};
use crate::spec::model::{Host, Spec};
use crate::traffic::Director;

/// Controllers that one history may need, beyond two for each fault.
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
    Broken(Broken),
}

/// A theatre: everything that histories are played with, made once.
pub(super) struct Theatre {
    stage: Arc<Stage>,
    runtime: Runtime,
    hosts: BTreeMap<String, Host>,
    directors: BTreeMap<String, Arc<dyn Director>>,
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

impl Theatre {
    pub fn new(spec: &Spec, script: Script) -> std::io::Result<Self> {
        let before = script.model.facts(false);
        let stage = Arc::new(Stage::new(script));
        let parked = Arc::clone(&stage);
        let runtime = tokio::runtime::Builder::new_current_thread().on_thread_park(move || parked.idle()).build()?;
        let directors = spec.inventory.directors.iter().map(|(name, config)| {
            let place = stage.script.places.get(name).copied().unwrap_or(usize::MAX);
            let director =
                SimDirector { stage: Arc::clone(&stage), name: name.clone(), can: config.capabilities(), place };
            (name.clone(), Arc::new(director) as Arc<dyn Director>)
        });
        let directors = directors.collect();
        let started = Started {
            run: "rehearsal".into(),
            plan: spec.plan.name.clone(),
            inputs: Vec::new(),
            graph: stage.script.graph.clone(),
            by: operator(),
            version: env!("CARGO_PKG_VERSION").into(),
        };
        let hosts = spec.inventory.hosts.clone();
        Ok(Self { stage, runtime, hosts, directors, started, before, after: None })
    }

    fn world(&self) -> World {
        let stage = || Arc::clone(&self.stage);
        World {
            hosts: self.hosts.clone(),
            remote: Arc::new(SimRemote(stage())),
            copier: Arc::new(SimCopier(stage())),
            health: Arc::new(SimHealth(stage())),
            directors: self.directors.clone(),
            secrets: Arc::new(SimSecrets),
            clock: Arc::new(SimClock(stage())),
        }
    }

    /// Plays a history with these faults, of which `left` more could follow.
    pub fn play(&self, strikes: &[Strike], left: u8) -> End {
        self.stage.reset(strikes, left, false);
        self.perform(strikes)
    }

    /// Plays a history again and tells it.
    pub fn tell(&self, strikes: &[Strike]) -> Vec<String> {
        self.stage.reset(strikes, 0, true);
        self.perform(strikes);
        self.stage.lock().tale.take().unwrap_or_default().into_lines()
    }

    /// The points of the history played last.
    pub fn trace(&self) -> Vec<Point> {
        self.stage.lock().trace.clone()
    }

    /// Where everything stands now.
    pub fn facts(&self) -> Vec<String> {
        self.stage.lock().model.facts(true)
    }

    fn perform(&self, strikes: &[Strike]) -> End {
        self.record(Event::Started(Box::new(self.started.clone())));
        let mut looks = 0;
        for _ in 0..CONTROLLERS + 2 * strikes.len() {
            self.stage.revive();
            let (struck, ailing) = {
                let sim = self.stage.lock();
                (sim.struck, sim.is_ailing())
            };
            let why = match self.controller() {
                Err(broken) => return End::Broken(broken),
                Ok(None) => return End::Merged,
                Ok(Some(Session::Ended(Ending::Finished))) => return self.finished(looks),
                Ok(Some(Session::Killed)) => None,
                Ok(Some(Session::Ended(Ending::Stopped))) => None,
                Ok(Some(Session::Ended(Ending::Held { why, .. }))) => Some(why),
                Ok(Some(Session::Failed(EngineError::Journal(e)))) => Some(e.to_string()),
                Ok(Some(Session::Failed(e))) => return self.broke(Broken::Internal { why: e.to_string() }),
            };
            if let Some(why) = why {
                if !ailing && self.stage.lock().struck == struck {
                    return self.broke(Broken::HeldForGood { why });
                }
                looks += 1;
                self.say("the operator looks, mends what is broken, and applies again");
                self.stage.lock().mend();
            } else {
                self.say("another controller takes the run up");
            }
            if self.stage.lock().state.as_ref().is_some_and(|s| s.status == Status::Finished) {
                return self.finished(looks);
            }
            self.record(Event::Resumed { by: operator() });
        }
        self.broke(Broken::Endless)
    }

    fn broke(&self, broken: Broken) -> End {
        let mut sim = self.stage.lock();
        sim.fail(broken.clone());
        End::Broken(sim.broken.clone().unwrap_or(broken))
    }

    fn say(&self, what: &str) {
        if let Some(tale) = &mut self.stage.lock().tale {
            tale.say(what);
        }
    }

    fn record(&self, event: Event) {
        self.stage.lock().keep_record(event, None, &self.stage.script);
    }

    /// One controller at work. `Ok(None)`: there is nothing more to learn from this history.
    fn controller(&self) -> Result<Option<Session>, Broken> {
        let state = self.stage.lock().state.clone().ok_or(Broken::Waits)?;
        let (notices, _) = mpsc::unbounded_channel();
        let (_keep, stop) = watch::channel(Stop::No);
        let log = Box::new(SimLog(Arc::clone(&self.stage)));
        let engine = Engine::new(self.world(), log, state, notices, stop);
        let session = self.runtime.block_on(async {
            let mut run = pin!(engine.run());
            std::future::poll_fn(|cx| {
                if self.stage.watch(cx.waker()) {
                    return Poll::Ready(Session::Killed);
                }
                run.as_mut().poll(cx).map(|ended| match ended {
                    Ok(ending) => Session::Ended(ending),
                    Err(error) => Session::Failed(error),
                })
            })
            .await
        });
        let sim = self.stage.lock();
        match (&sim.broken, sim.waits_for_ever, sim.merged, sim.dead) {
            (Some(broken), ..) => Err(broken.clone()),
            (None, true, ..) => {
                drop(sim);
                match self.broke(Broken::Waits) {
                    End::Broken(broken) => Err(broken),
                    _ => Err(Broken::Waits),
                }
            }
            (None, false, true, _) => Ok(None),
            (None, false, false, true) => Ok(Some(Session::Killed)),
            (None, false, false, false) => Ok(Some(session)),
        }
    }

    fn finished(&self, looks: u32) -> End {
        let facts = self.facts();
        match self.after.as_ref().and_then(|after| difference(after, &facts)) {
            Some(what) => self.broke(Broken::EndsOtherwise { what }),
            None => End::Done { looks },
        }
    }
}

/// The first thing that is otherwise.
fn difference(expected: &[String], found: &[String]) -> Option<String> {
    let other = expected.iter().zip(found).find(|(e, f)| e != f);
    other.map(|(e, f)| format!("{f}; after an undisturbed run, {e}"))
}

fn operator() -> Operator {
    Operator { user: "rehearsal".into(), host: "simulated".into(), pid: 0 }
}
