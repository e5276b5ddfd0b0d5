//! The simulated world as one step sees it, and its small parts: the clock, secrets, checks, conditions, and leave to act.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use jiff::Timestamp;

use super::director::SimDirector;
use super::fault::{Call, Fault};
use super::model::PairModel;
use super::provider::SimProviders;
use super::silence::SimSilences;
use super::simulation::{Caller, Simulation, Turn};
use crate::check::{Health, HealthCheck, Outcome, ServiceRef, Subject, Verdict};
use crate::clock::Clock;
use crate::engine::{World, Worlds};
use crate::gate::{Answer, Condition, Conditions, Holds, Surroundings};
use crate::lock::{Barred, Guard};
use crate::model::{CONTROLLER, Capabilities, Host};
use crate::secret::{Secret, SecretError, SecretRef, Secrets};
use crate::spec::Spec;
use crate::traffic::Director;

/// Every step acts on a world of its own, so that the simulation knows whose call it is.
pub(super) struct SimWorlds {
    simulation: Arc<Simulation>,
    hosts: Arc<BTreeMap<String, Host>>,
    /// What the plan's directors can do.
    directors: BTreeMap<String, Capabilities>,
    /// Made when a step is first played: every history goes through the same ones.
    worlds: Vec<OnceLock<World>>,
    engine: OnceLock<World>,
}

impl SimWorlds {
    pub fn new(simulation: Arc<Simulation>, spec: &Spec) -> Self {
        let steps = simulation.scenario.graph.steps.len();
        let directors = spec.inventory.directors.iter().map(|(name, d)| (name.clone(), d.kind().capabilities()));
        let mut hosts = spec.inventory.hosts.clone();
        hosts.insert(CONTROLLER.to_owned(), Host::controller(String::new()));
        Self {
            simulation,
            hosts: Arc::new(hosts),
            directors: directors.collect(),
            worlds: (0..steps).map(|_| OnceLock::new()).collect(),
            engine: OnceLock::new(),
        }
    }

    fn of(&self, step: Option<usize>) -> World {
        let made = step.and_then(|at| self.worlds.get(at)).unwrap_or(&self.engine);
        // No history knows what another one has seen.
        World { places: Arc::default(), ..made.get_or_init(|| self.make(step)).clone() }
    }

    fn make(&self, step: Option<usize>) -> World {
        let caller = Arc::new(Caller { simulation: Arc::clone(&self.simulation), step });
        let directors = self.directors.iter().map(|(name, can)| {
            let director = SimDirector { caller: Arc::clone(&caller), name: name.clone(), can: *can };
            (name.clone(), Arc::new(director) as Arc<dyn Director>)
        });
        World {
            hosts: Arc::clone(&self.hosts),
            directors: Arc::new(directors.collect()),
            remote: Arc::clone(&caller) as _,
            places: Arc::default(),
            copier: Arc::clone(&caller) as _,
            health: Arc::clone(&caller) as _,
            conditions: Arc::clone(&caller) as _,
            silences: Arc::new(SimSilences(Arc::clone(&caller))),
            providers: Arc::new(SimProviders(caller)),
            secrets: Arc::new(SameSecret),
            clock: Arc::new(SimClock(Arc::clone(&self.simulation))),
            guard: Arc::new(AlwaysAllowed),
        }
    }
}

impl Worlds for SimWorlds {
    fn for_engine(&self) -> World {
        self.of(None)
    }

    fn for_step(&self, id: &str) -> World {
        self.of(self.simulation.scenario.index.get(id).copied())
    }
}

/// One controller at a time is at work in a history: a dead one never acts again, and its successor has its leave.
struct AlwaysAllowed;

#[async_trait]
impl Guard for AlwaysAllowed {
    fn check(&self) -> Result<(), Barred> {
        Ok(())
    }

    async fn lost(&self) -> String {
        std::future::pending().await
    }
}

/// The simulated time of the calendar: as it stands in records.
pub(super) fn wall(now: Duration) -> Timestamp {
    Timestamp::from_second(now.as_secs() as i64).unwrap_or_default()
}

/// The simulated clock.
struct SimClock(Arc<Simulation>);

#[async_trait]
impl Clock for SimClock {
    fn now(&self) -> Instant {
        self.0.instant()
    }

    fn wall(&self) -> Timestamp {
        wall(self.0.lock().now)
    }

    async fn sleep(&self, duration: Duration) {
        let until = self.0.lock().now + duration;
        std::future::poll_fn(|cx| match self.0.poll_sleep(until, cx.waker()) {
            true => std::task::Poll::Ready(()),
            false => std::task::Poll::Pending,
        })
        .await;
    }
}

/// Every secret is the same.
struct SameSecret;

impl Secrets for SameSecret {
    fn resolve(&self, _: &SecretRef) -> Result<Secret, SecretError> {
        Ok(Secret::new("rehearsal"))
    }
}

#[async_trait]
impl Health for Caller {
    async fn probe(&self, _: &HealthCheck, subject: &Subject<'_>) -> Verdict {
        self.call(|turn| match subject {
            Subject::Host(host) => turn.probe_host(host),
            Subject::Service(service) => turn.probe_service(service),
        })
        .await
    }
}

impl Turn<'_> {
    fn probe_host(&mut self, host: &Host) -> Verdict {
        let fault = self.point(Call::Probe { breaks: true }, "checks health");
        let pairs = &mut self.history.model.pairs;
        if fault == Some(Fault::Sick) {
            for pair in &mut *pairs {
                pair.source_sick |= pair.source == host.name;
                pair.target_sick |= pair.target == host.name;
            }
        }
        let sick = |p: &PairModel| (p.source == host.name && p.source_sick) || (p.target == host.name && p.target_sick);
        probed(fault, pairs.iter().any(sick))
    }

    /// A service is broken where one who gets its traffic is.
    fn probe_service(&mut self, service: &ServiceRef) -> Verdict {
        let fault = self.point(Call::Probe { breaks: false }, "checks the health of the service");
        let model = &self.history.model;
        let pool = service.through.as_ref().and_then(|p| model.pool(&p.director, &p.pool));
        probed(fault, pool.is_some_and(|pool| model.sends_to_sick(pool)))
    }
}

fn probed(fault: Option<Fault>, broken: bool) -> Verdict {
    match fault {
        Some(Fault::ReplyLost) => verdict(Outcome::Unknown, "no answer"),
        Some(Fault::Blip) => verdict(Outcome::Fail, "answers 503"),
        _ if broken => verdict(Outcome::Fail, "answers 503"),
        _ => verdict(Outcome::Pass, "answers 200"),
    }
}

fn verdict(outcome: Outcome, evidence: &str) -> Verdict {
    Verdict { outcome, evidence: evidence.to_owned() }
}

/// Conditions that measure nothing are met at once.
#[async_trait]
impl Conditions for Caller {
    async fn ask(&self, condition: &Condition, _: &dyn Surroundings) -> Answer {
        let wants = condition.kind().describe();
        if !condition.kind().measures() {
            return Answer::new(Holds::Yes, wants, "");
        }
        let asked = format!("asks whether {wants}");
        match self.call(|turn| turn.point(Call::Condition, &asked)).await {
            Some(Fault::ReplyLost) => Answer::new(Holds::Unknown, wants, "no answer"),
            Some(Fault::Blip) => Answer::new(Holds::NotYet, wants, "not now"),
            Some(Fault::Refused) => Answer::new(Holds::No, wants, "never"),
            _ => Answer::new(Holds::Yes, wants, ""),
        }
    }
}
