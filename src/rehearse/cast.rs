//! The simulated parts behind the engine's traits. Each turns a fault into the error that the real part would give.

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;

use super::fault::{Call, Fault};
use super::pool::PoolModel;
use super::stage::{Script, Sim, Stage};
use crate::check::{Health, HealthCheck, Outcome, ServiceRef, Subject, Verdict};
use crate::clock::Clock;
use crate::copy::{Copier, CopyError, CopyJob, OnProgress, PassReport, VerifyMode, VerifyReport};
use crate::copy::{StreamError, StreamJob, StreamReport};
use crate::gate::{Answer, Condition, Conditions, Holds, Surroundings};
use crate::lock::{Barred, Guard};
use crate::model::Host;
use crate::model::{Capabilities, Change, Member, Pool};
use crate::outside::{Error, Kind};
use crate::secret::SecretRef;
use crate::secret::{Secret, SecretError, Secrets};
use crate::traffic::Director;

/// Ends a call: with what was played, or never, because the controller that made it is dead.
pub(super) async fn returned<T>(played: Option<T>) -> T {
    match played {
        Some(played) => played,
        None => std::future::pending().await,
    }
}

/// One controller at a time is at work in a history: a dead one never acts again, and its successor has its leave.
pub(super) struct Alone;

#[async_trait]
impl Guard for Alone {
    fn check(&self) -> Result<(), Barred> {
        Ok(())
    }

    async fn lost(&self) -> String {
        std::future::pending().await
    }
}

/// The simulated clock.
pub(super) struct SimClock(pub Arc<Stage>);

#[async_trait]
impl Clock for SimClock {
    fn now(&self) -> Instant {
        self.0.instant()
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
pub(super) struct SimSecrets;

impl Secrets for SimSecrets {
    fn resolve(&self, _: &SecretRef) -> Result<Secret, SecretError> {
        Ok(Secret::new("rehearsal"))
    }
}

/// A simulated director.
pub(super) struct SimDirector {
    pub stage: Arc<Stage>,
    pub name: String,
    pub can: Capabilities,
    /// Its index among the places.
    pub place: usize,
}

impl SimDirector {
    fn refused(&self) -> Error {
        Error::new(self.name.as_str(), Kind::Refused, "the request is refused")
    }

    fn lost(&self) -> Error {
        Error::new(self.name.as_str(), Kind::Lost, "no answer")
    }

    fn disagrees(&self) -> Error {
        Error::new(self.name.as_str(), Kind::Disagrees, "it says yes and reads back as before")
    }

    fn observed(&self, sim: &Sim, pool: &str) -> Result<Pool, Error> {
        let found = sim.model.pool(&self.name, pool).and_then(|p| sim.model.pools.get(p));
        found.map(|p| seen(p, self.can, sim.now)).ok_or_else(|| self.refused())
    }

    fn read<T>(&self, what: &str, answer: impl FnOnce(&Sim) -> Result<T, Error>) -> Option<Result<T, Error>> {
        self.stage.play(|script, sim| {
            if !sim.answers(self.place) {
                return Err(self.lost());
            }
            match sim.point(script, Call::Look, what) {
                None | Some(Fault::ClockJump) => answer(sim),
                Some(Fault::Refused) => Err(self.refused()),
                Some(fault) => {
                    if matches!(fault, Fault::Away | Fault::Gone) {
                        sim.lose(self.place, fault);
                    }
                    Err(self.lost())
                }
            }
        })
    }

    /// A write; `act` takes whether all or a part of it happens.
    fn write(
        &self,
        call: Call,
        what: &str,
        pool: &str,
        act: impl Fn(&mut Sim, usize, bool),
    ) -> Option<Result<Pool, Error>> {
        self.stage.play(|script, sim| {
            if !sim.answers(self.place) {
                return Err(self.lost());
            }
            let Some(index) = sim.model.pool(&self.name, pool) else {
                return Err(self.refused());
            };
            let fault = sim.point(script, call, what);
            match fault {
                None | Some(Fault::ReplyLost | Fault::KilledAfter) => act(sim, index, true),
                Some(Fault::Half | Fault::KilledHalf) => act(sim, index, false),
                Some(fault @ (Fault::Away | Fault::Gone)) => sim.lose(self.place, fault),
                Some(_) => {}
            }
            match fault {
                None => self.observed(sim, pool),
                Some(Fault::Refused) => Err(self.refused()),
                Some(Fault::Ineffective) => Err(self.disagrees()),
                Some(_) => Err(self.lost()),
            }
        })
    }
}

fn seen(pool: &PoolModel, can: Capabilities, now: Duration) -> Pool {
    let listed = pool.members.iter().filter(|m| !pool.presence || m.weight > 0);
    let members = listed.map(|m| Member {
        name: m.name.clone(),
        weight: m.weight,
        mode: m.mode,
        connections: can.connections.then(|| u64::from(m.has_users(now))),
        up: None,
    });
    Pool { name: pool.name.clone(), members: members.collect(), ttl: pool.ttl }
}

#[async_trait]
impl Director for SimDirector {
    fn capabilities(&self) -> Capabilities {
        self.can
    }

    async fn observe(&self, pool: &str) -> Result<Pool, Error> {
        returned(self.read("reads the pool", |sim| self.observed(sim, pool))).await
    }

    async fn apply(&self, pool: &str, changes: &[Change]) -> Result<Pool, Error> {
        let act = |sim: &mut Sim, index: usize, whole: bool| {
            let count = if whole { changes.len() } else { changes.len() / 2 };
            let set = sim.model.set_weights(index, changes, count, sim.now);
            sim.keep(set);
        };
        returned(self.write(Call::Weights { many: changes.len() > 1 }, "sets weights", pool, act)).await
    }

    async fn set_ttl(&self, pool: &str, ttl: Duration) -> Result<Pool, Error> {
        let act = |sim: &mut Sim, index: usize, _: bool| sim.model.set_ttl(index, ttl, sim.now);
        returned(self.write(Call::Ttl, "sets the TTL", pool, act)).await
    }

    async fn settled(&self, pool: &str) -> Result<Option<String>, Error> {
        let lagging = |sim: &Sim| {
            let pool = sim.model.pool(&self.name, pool).and_then(|p| sim.model.pools.get(p));
            let old = pool.and_then(|p| p.members.iter().find(|m| !m.serves() && m.has_users(sim.now)));
            Ok(old.map(|m| format!("a resolver still answers {}", m.name)))
        };
        returned(self.read("asks the resolvers", lagging)).await
    }

    async fn writable(&self, _: &str) -> Result<(), Error> {
        returned(self.read("asks whether it may write", |_| Ok(()))).await
    }
}

/// Simulated checks.
pub(super) struct SimHealth(pub Arc<Stage>);

#[async_trait]
impl Health for SimHealth {
    async fn probe(&self, _: &HealthCheck, subject: &Subject<'_>) -> Verdict {
        let played = self.0.play(|script, sim| match subject {
            Subject::Host(host) => probe_host(script, sim, host),
            Subject::Service(service) => probe_service(script, sim, service),
        });
        returned(played).await
    }
}

fn probe_host(script: &Script, sim: &mut Sim, host: &Host) -> Verdict {
    let fault = sim.point(script, Call::Probe { host: true }, "checks health");
    if fault == Some(Fault::Sick) {
        for pair in &mut sim.model.pairs {
            pair.source_sick |= pair.source == host.name;
            pair.target_sick |= pair.target == host.name;
        }
    }
    let broken = |p: &super::model::PairModel| {
        (p.source == host.name && p.source_sick) || (p.target == host.name && p.target_sick)
    };
    let broken = sim.model.pairs.iter().any(broken);
    probed(fault, broken)
}

/// A service is broken where one who gets its traffic is.
fn probe_service(script: &Script, sim: &mut Sim, service: &ServiceRef) -> Verdict {
    let fault = sim.point(script, Call::Probe { host: false }, "checks the health of the service");
    let pool = service.through.as_ref().and_then(|p| sim.model.pool(&p.director, &p.pool));
    probed(fault, pool.is_some_and(|pool| sim.model.sends_to_sick(pool)))
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

/// Simulated conditions of gates. Those that measure nothing are met at once.
pub(super) struct SimConditions(pub Arc<Stage>);

#[async_trait]
impl Conditions for SimConditions {
    async fn ask(&self, condition: &Condition, _: &dyn Surroundings) -> Answer {
        let wants = condition.kind().describe();
        if !condition.kind().measures() {
            return Answer::new(Holds::Yes, wants, "");
        }
        let asked = format!("asks whether {wants}");
        let played = self.0.play(|script, sim| sim.point(script, Call::Condition, &asked));
        match returned(played).await {
            Some(Fault::ReplyLost) => Answer::new(Holds::Unknown, wants, "no answer"),
            Some(Fault::Blip) => Answer::new(Holds::NotYet, wants, "not now"),
            Some(Fault::Refused) => Answer::new(Holds::No, wants, "never"),
            _ => Answer::new(Holds::Yes, wants, ""),
        }
    }
}

/// The simulated copy engine.
pub(super) struct SimCopier(pub Arc<Stage>);

fn copy_error(host: &Host, what: &str, retryable: bool) -> CopyError {
    CopyError { host: host.name.clone(), what: what.to_owned(), hint: None, retryable }
}

impl SimCopier {
    fn reach(script: &Script, sim: &mut Sim, hosts: &[&Host]) -> bool {
        hosts.iter().all(|h| script.places.get(&h.name).is_none_or(|p| sim.answers(*p)))
    }

    fn send(script: &Script, sim: &mut Sim, job: &CopyJob) -> Result<PassReport, CopyError> {
        let pair = sim.model.pairs.iter().position(|p| p.trees.iter().any(|t| t.job == job.id)).unwrap_or(usize::MAX);
        if !Self::reach(script, sim, &[&job.source, &job.target]) {
            return Err(copy_error(&job.source, "cannot be reached", true));
        }
        let fault = sim.point(script, Call::Pass { verified: script.verified.contains(&job.id) }, "copies");
        let sent = match fault {
            None | Some(Fault::ReplyLost | Fault::KilledAfter) => sim.model.copy(pair, &job.id, true),
            Some(Fault::Half | Fault::KilledHalf) => sim.model.copy(pair, &job.id, false),
            Some(Fault::Ineffective) => sim.model.copy(pair, &job.id, true),
            Some(_) => Ok(()),
        };
        sim.keep(sent);
        match fault {
            None => Ok(PassReport { entries: 10, bytes: 1 << 20, ..PassReport::default() }),
            Some(Fault::Ineffective) => {
                sim.model.leave_out(pair, &job.id);
                Ok(PassReport::default())
            }
            Some(Fault::Refused) => Err(copy_error(&job.target, "no space left", false)),
            Some(fault) => {
                if let (true, Some(place)) =
                    (matches!(fault, Fault::Away | Fault::Gone), script.places.get(&job.target.name))
                {
                    sim.lose(*place, fault);
                }
                Err(copy_error(&job.target, "the connection broke", true))
            }
        }
    }
}

impl SimCopier {
    /// Takes hold once at its end, or not at all; what arrived before a cut is the operator's to clear away.
    fn pour(script: &Script, sim: &mut Sim, job: &StreamJob) -> Result<StreamReport, StreamError> {
        let failed =
            |unknown: bool, what: &str| Err(StreamError { error: copy_error(&job.target, what, unknown), unknown });
        if !Self::reach(script, sim, &[&job.source, &job.target]) {
            return failed(false, "cannot be reached");
        }
        let pair = sim.model.pairs.iter().position(|p| p.trees.iter().any(|t| t.job == job.id)).unwrap_or(usize::MAX);
        let fault = sim.point(script, Call::Stream, "streams");
        match fault {
            None | Some(Fault::ReplyLost | Fault::KilledAfter) => {
                let poured = sim.model.copy(pair, &job.id, true);
                sim.keep(poured);
                let ran = super::stage::current_step(script).map_or(Ok(()), |step| sim.model.run_hook(step));
                sim.keep(ran);
            }
            Some(Fault::Half | Fault::KilledHalf) => {
                let torn = sim.model.copy(pair, &job.id, false);
                sim.keep(torn);
            }
            Some(_) => {}
        }
        match fault {
            None => Ok(StreamReport { bytes: 1 << 20, ..StreamReport::default() }),
            Some(Fault::Refused) => failed(false, "the command ended with status 1"),
            Some(Fault::Before) => failed(false, "the connection could not be made"),
            Some(fault) => {
                if let (true, Some(place)) =
                    (matches!(fault, Fault::Away | Fault::Gone), script.places.get(&job.target.name))
                {
                    sim.lose(*place, fault);
                }
                failed(true, "the connection broke")
            }
        }
    }
}

#[async_trait]
impl Copier for SimCopier {
    async fn pass(&self, job: &CopyJob, _: OnProgress<'_>) -> Result<PassReport, CopyError> {
        returned(self.0.play(|script, sim| Self::send(script, sim, job))).await
    }

    async fn verify(&self, job: &CopyJob, when: VerifyMode, _: OnProgress<'_>) -> Result<VerifyReport, CopyError> {
        let played = self.0.play(|script, sim| {
            if !Self::reach(script, sim, &[&job.source, &job.target]) {
                return Err(copy_error(&job.source, "cannot be reached", true));
            }
            match sim.point(script, Call::Verify, "compares") {
                None => {
                    let pair = sim.model.pairs.iter().position(|p| p.trees.iter().any(|t| t.job == job.id));
                    let same = pair.is_none_or(|p| sim.model.compare(p, &job.id, when == VerifyMode::Ahead));
                    let examples = if same { Vec::new() } else { vec!["a file: content differs".to_owned()] };
                    let different = u64::from(!same);
                    Ok(VerifyReport { files: 10, bytes: 1 << 20, different, examples, ..VerifyReport::default() })
                }
                Some(Fault::Refused) => Err(copy_error(&job.source, "a file cannot be read", false)),
                Some(fault) => {
                    if let (Fault::Gone, Some(place)) = (fault, script.places.get(&job.source.name)) {
                        sim.lose(*place, fault);
                    }
                    Err(copy_error(&job.source, "the connection broke", true))
                }
            }
        });
        returned(played).await
    }

    /// A simulated pass takes no time that a limit could change.
    fn limit(&self, _job: &str, _bandwidth: Option<u64>) {}

    async fn stream(&self, job: &StreamJob, _: OnProgress<'_>) -> Result<StreamReport, StreamError> {
        returned(self.0.play(|script, sim| Self::pour(script, sim, job))).await
    }

    async fn clean_up(&self, host: &Host, jobs: &[String]) -> Result<(), CopyError> {
        let played = self.0.play(|script, sim| {
            if !Self::reach(script, sim, &[host]) {
                return Err(copy_error(host, "cannot be reached", true));
            }
            let fault = sim.point(script, Call::CleanUp, "removes what the copy left");
            if matches!(fault, None | Some(Fault::ReplyLost | Fault::KilledAfter)) {
                let trees = sim.model.pairs.iter_mut().flat_map(|p| &mut p.trees);
                trees.filter(|t| jobs.contains(&t.job)).for_each(|t| t.traces = false);
            }
            if let (Some(Fault::Gone), Some(place)) = (fault, script.places.get(&host.name)) {
                sim.lose(*place, Fault::Gone);
            }
            if fault.is_some() { Err(copy_error(host, "the connection broke", true)) } else { Ok(()) }
        });
        returned(played).await
    }
}
