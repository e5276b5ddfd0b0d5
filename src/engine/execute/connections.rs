//! Steps that move connections away which do not end by themselves: a few at a time, at the pace of their wave.
//!
//! Must never let a connection go whose member gets new ones, and never ask twice for the same batch: what is left is counted anew each time.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use super::super::governor::{Governor, Sign};
use super::drift::Watcher;
use super::signals;
use super::waves::Ended;
use super::{Context, Effect, History, done, failed, hook, not_done, wait};
use crate::event::{Event, Notice, StepResult};
use crate::model::{Client, Govern, HookPoint, LettingGo, Milestone, Mode, Pool};
use crate::mutant::Mutant;
use crate::outside::Error;
use crate::secret::SecretRef;
use crate::step::{ConnectionsStep, HookStep, LetGoBy, Step, reset};
use crate::text;

/// How often some are let go.
const TICK: Duration = Duration::from_millis(250);
/// A list of sessions costs the director time: it is left alone for so many times as long as the last one took.
const REST: u32 = 2;
/// The longest rest.
const LONGEST_REST: Duration = Duration::from_secs(2);
/// What a service that was asked spreads over by itself.
const BATCH: Duration = Duration::from_secs(10);
/// How much longer than that a command may take which ends connections.
const RESET: Duration = Duration::from_secs(60);
/// How often what is left is counted while nothing is let go.
const COUNTED: Duration = Duration::from_secs(1);
/// The longest pause while nobody can tell what is left.
const LONGEST: Duration = Duration::from_secs(60);
/// How often the other side is measured.
const MEASURED: Duration = Duration::from_secs(1);
/// What a service has measured before says nothing any more.
const STALE: Duration = Duration::from_secs(30);
/// How often it is recorded how far it is.
const RECORDED: Duration = Duration::from_secs(60);
/// What the time that is left is told by.
const TREND: Duration = Duration::from_secs(10);
/// Batches in a row after which nobody has left, or of which nobody knows whether they were asked for.
const IN_VAIN: u32 = 3;
/// Connections that may end, beyond three for each that is left, before it is said that they come back.
const COME_BACK: u64 = 50;

/// Lets connections go until none is left.
pub async fn let_go(context: &Context, step: &Step, work: &ConnectionsStep, history: &History) -> Effect {
    if wait::is_forgotten(Mutant::ForgetsADirector, work.who(), &work.drained_by) {
        return done("");
    }
    let going = Going::new(context, step, work, history);
    match going {
        Ok(mut going) => going.run().await.unwrap_or_else(|effect| effect),
        Err(effect) => effect,
    }
}

/// What was seen.
struct Seen {
    /// Connections that are left; an error where nobody can tell.
    left: Result<u64, String>,
    /// Whether new ones come.
    serves: bool,
}

/// The work on one member.
struct Going<'a> {
    context: &'a Context,
    step: &'a Step,
    work: &'a ConnectionsStep,
    history: &'a History,
    watcher: Watcher,
    began: Instant,
    /// How long it had been at work before it was taken up.
    before: Duration,
    /// Sessions that all members have got.
    sessions: Option<u64>,
    told: LettingGo,
    recorded: Option<Instant>,
    trend: VecDeque<(Instant, u64)>,
    /// Those that were ended, or asked to leave.
    gone: u64,
    /// The fewest that were left so far, and how many have gone since.
    fewest: (u64, u64),
    /// When the next batch may be asked for.
    next: Instant,
    in_vain: u32,
    unclear: u32,
    blind: u32,
}

impl<'a> Going<'a> {
    fn new(
        context: &'a Context,
        step: &'a Step,
        work: &'a ConnectionsStep,
        history: &'a History,
    ) -> Result<Self, Effect> {
        let clock = &context.world.clock;
        // Taken up after its time is over, it gets that anew.
        let before = history.since.and_then(|since| clock.wall().duration_since(since).try_into().ok());
        let before = before.filter(|time: &Duration| *time < work.within && !history.ramped).unwrap_or_default();
        let began = clock.now();
        // What an earlier controller has asked for may still be under way.
        let next = if history.attempts > 1 { began + BATCH } else { began };
        context.director(&work.director)?;
        context.host(&work.host)?;
        Ok(Self {
            context,
            step,
            work,
            history,
            watcher: Watcher::default(),
            began,
            before,
            sessions: None,
            told: LettingGo::default(),
            recorded: None,
            trend: VecDeque::new(),
            gone: 0,
            fewest: (u64::MAX, 0),
            next,
            in_vain: 0,
            unclear: 0,
            blind: 0,
        })
    }

    async fn run(&mut self) -> Result<Effect, Effect> {
        let member = &self.work.member;
        loop {
            let seen = self.look().await?;
            let waited = self.before + self.context.world.clock.now().saturating_duration_since(self.began);
            match seen.left {
                Ok(0) => return Ok(done(self.evidence(waited))),
                Ok(_) if seen.serves => {
                    return Ok(done(format!("{member} gets new connections, and keeps those it has")));
                }
                _ if waited >= self.work.within => {
                    let Self { work, context, .. } = self;
                    return Ok(wait::missed(
                        &wait::count(context, work.who()).await?,
                        member,
                        work.within,
                        work.on_deadline,
                    ));
                }
                Ok(left) => self.count(left),
                Err(_) => {}
            }
            if seen.left.is_ok() && self.work.is_governed() {
                self.govern().await;
            }
            let (pause, held_by) = match (&seen.left, self.held(waited)) {
                (Err(why), _) => {
                    self.blind += 1;
                    let pause = COUNTED.saturating_mul(1 << (self.blind - 1).min(16)).min(LONGEST);
                    (pause, Some(format!("not knowing what is left: {why}")))
                }
                (Ok(_), Some(held)) => held,
                (Ok(left), None) => self.act(*left).await?,
            };
            self.tell(held_by);
            self.record().await;
            if self.context.pass(self.step, pause.min(self.work.within.saturating_sub(waited).max(TICK))).await {
                return Err(Effect::Interrupted);
            }
        }
    }

    /// Looks who is left. Somebody else's change of the pool ends it.
    async fn look(&mut self) -> Result<Seen, Effect> {
        let Self { context, step, work, .. } = *self;
        let director = context.director(&work.director)?;
        let unknown = |e: &Error| Ok(Seen { left: Err(e.to_string()), serves: false });
        let pool = match self.watcher.glance(context, step, &work.pool()).await? {
            Ok(Some(pool)) => pool,
            Ok(None) => match director.observe(&work.pool).await {
                Ok(pool) => pool,
                Err(e) if e.transient => return unknown(&e),
                Err(e) => return Err(not_done(e)),
            },
            Err(e) => return unknown(&e),
        };
        let member = pool.member(&work.member);
        // Who comes back is counted where it comes to; who is drained counts no more.
        self.sessions = pool.members.iter().map(|m| m.sessions).sum();
        let serves = member.is_some_and(|m| m.mode == Mode::Ready && m.weight > 0);
        let left = match &work.by {
            LetGoBy::Close => member.map_or(Ok(0), |m| m.connections.ok_or("the director does not count".to_owned())),
            LetGoBy::Hint { .. } | LetGoBy::Reset => self.count_on_host(&pool).await?,
        };
        Ok(Seen { left, serves })
    }

    /// Who is asked on the host is counted there, where that can be.
    async fn count_on_host(&mut self, pool: &Pool) -> Result<Result<u64, String>, Effect> {
        let (context, work) = (self.context, self.work);
        let seen = pool.member(&work.member).and_then(|m| m.connections);
        let Some(port) = work.port else { return Ok(seen.ok_or("nobody counts".to_owned())) };
        let host = context.host(&work.host)?;
        Ok(match context.world.remote.connections(host, host.address.parse().ok(), port).await {
            Ok(there) => {
                self.told.clients = there.peers.iter().map(|peer| client(peer)).collect();
                Ok(there.count.max(seen.unwrap_or(0)))
            }
            Err(e) => Err(e.to_string()),
        })
    }

    fn count(&mut self, left: u64) {
        let now = self.context.world.clock.now();
        self.blind = 0;
        self.told.left = left;
        self.told.of = self.told.of.max(left);
        if left < self.fewest.0 {
            self.fewest = (left, 0);
        }
        self.trend.push_back((now, left));
        while self.trend.len() > 2
            && self.trend.front().is_some_and(|(at, _)| now.saturating_duration_since(*at) > TREND)
        {
            self.trend.pop_front();
        }
    }

    /// What keeps any from being let go now, and for how long.
    fn held(&self, waited: Duration) -> Option<(Duration, Option<String>)> {
        let early = self.work.after.saturating_sub(waited);
        let held = |pause, by: String| Some((pause, Some(by)));
        if self.context.is_paused() {
            return held(COUNTED, "a pause".to_owned());
        }
        if self.most() == 0 {
            return held(COUNTED, "a pace of 0".to_owned());
        }
        if !early.is_zero() {
            let time = text::duration(Duration::from_secs(early.as_millis().div_ceil(1000) as u64));
            return held(early.min(COUNTED), format!("the time that they have to end by themselves: {time}"));
        }
        match self.pace() {
            (0, by) => held(COUNTED, by.unwrap_or_default()),
            _ => None,
        }
    }

    fn most(&self) -> u64 {
        self.context.most(self.work.max_pace)
    }

    /// How many of the wave may be let go in a second now, and what keeps it from being more.
    fn pace(&self) -> (u64, Option<String>) {
        if !self.work.is_governed() {
            return (self.most(), None);
        }
        self.context.waves.with(&self.step.wave, |wave| match &wave.governor {
            Some(governor) => (governor.pace().min(self.most()), governor.held_by().map(str::to_owned)),
            None => (0, None),
        })
    }

    /// Measures the other side each second, for all steps of the service, and lets the governor of the wave decide.
    async fn govern(&self) {
        let (context, work, step) = (self.context, self.work, self.step);
        let now = context.since_epoch();
        let before = context.waves.before(&step.wave);
        let counted = context.waves.with(&step.wave, |wave| {
            wave.governor.get_or_insert_with(|| Governor::new(work.pace, before));
            if wave.measured.get(&step.service).is_none_or(|(at, _)| now >= *at + MEASURED) {
                let before = wave.measured.get(&step.service).map(|(_, signs)| signs.clone()).unwrap_or_default();
                wave.measured.insert(step.service.clone(), (now, before));
                return Some(wave.counted.remove(&step.service).unwrap_or_default());
            }
            None
        });
        let Some(mut counted) = counted else { return };
        let mut signs = signals::measure(context, work, &mut counted).await;
        let most = self.most();
        let now = context.since_epoch();
        context.waves.with(&step.wave, |wave| {
            if work.govern.contains(&Govern::Away) {
                let ended = wave.ended.entry(work.pool()).or_default();
                // A count that has begun anew says nothing of what came.
                if self.sessions < ended.base {
                    *ended = Ended { gone: 0, base: self.sessions };
                }
                let back = self.sessions.zip(ended.base).map(|(now, base)| now - base);
                let aims = wave.governor.as_ref().map_or(0, Governor::aims);
                signs.push(if ended.gone == 0 { Sign::Calm } else { signals::away(ended.gone, back, aims) });
            }
            wave.counted.insert(step.service.clone(), counted);
            wave.measured.insert(step.service.clone(), (now, signs));
            wave.measured.retain(|_, (at, _)| now < *at + STALE);
            let all: Vec<Sign> = wave.measured.values().flat_map(|(_, signs)| signs.clone()).collect();
            let due = wave.decided.is_none_or(|at| now >= at + MEASURED);
            if let Some(governor) = wave.governor.as_mut().filter(|_| due) {
                governor.decide(all.iter(), most);
                wave.decided = Some(now);
            }
        });
    }

    /// Lets some go; how long to wait then, and what holds it.
    async fn act(&mut self, left: u64) -> Result<(Duration, Option<String>), Effect> {
        match &self.work.by {
            LetGoBy::Close => self.close(left).await,
            LetGoBy::Hint { run, timeout, secrets } => self.batch(left, run.clone(), *timeout, secrets.clone()).await,
            LetGoBy::Reset => {
                let host = self.context.host(&self.work.host)?;
                let Some(port) = self.work.port else {
                    return Err(failed(format!("nobody knows the port of the service on {}", host.name), None));
                };
                let run = reset::script(host.address.parse().ok(), port);
                self.batch(left, run, BATCH + RESET, BTreeMap::new()).await
            }
        }
    }

    /// By a list of sessions that is read for each few: one that has ended may have given its name to a new one.
    async fn close(&mut self, left: u64) -> Result<(Duration, Option<String>), Effect> {
        let (context, work) = (self.context, self.work);
        let due = context.may_let_go(self.step, self.pace().0, Duration::ZERO, left);
        if due == 0 {
            return Ok((TICK, None));
        }
        if self.fewest.1 > 3 * left + COME_BACK {
            let why = format!("{}: {} were ended, and {left} are there: they come back", work.member, self.fewest.1);
            let hint = "find out how they get there: pinned clients, or another way in; then `migrate apply` again";
            return Err(failed(why, Some(hint.to_owned())));
        }
        context.leave_to_act().await?;
        let asked = context.world.clock.now();
        match context.director(&work.director)?.end_sessions(&work.pool, &work.member, due).await {
            Ok(ended) => {
                self.gone += ended.ended;
                context.waves.with(&self.step.wave, |wave| {
                    let all = wave.ended.entry(work.pool()).or_default();
                    (all.gone, all.base) = (all.gone + ended.ended, all.base.or(self.sessions));
                });
                self.told.left = left.saturating_sub(ended.ended);
                self.fewest.1 += ended.ended;
                self.told.clients = ended.clients;
                let took = context.world.clock.now().saturating_duration_since(asked);
                Ok((took.saturating_mul(REST).clamp(TICK, LONGEST_REST), None))
            }
            Err(e) if e.transient => Ok((COUNTED, Some(e.to_string()))),
            Err(e) => Err(not_done(e)),
        }
    }

    /// One batch by a command on the host, once: one whose end is not known may have let all of it go.
    async fn batch(
        &mut self,
        left: u64,
        run: String,
        timeout: Duration,
        secrets: BTreeMap<String, SecretRef>,
    ) -> Result<(Duration, Option<String>), Effect> {
        let (context, clock) = (self.context, &self.context.world.clock);
        let early = self.next.saturating_duration_since(clock.now());
        if !early.is_zero() {
            return Ok((early.min(COUNTED), None));
        }
        if self.gone > 0 && self.fewest.1 > 0 {
            self.in_vain += 1;
        } else {
            self.in_vain = 0;
        }
        if self.in_vain >= IN_VAIN {
            let (host, asked) = (&self.work.host, self.fewest.1);
            let (what, hint) = match &self.work.by {
                LetGoBy::Hint { .. } => ("clients were asked to leave", "look at what the command of `by: hint` does"),
                LetGoBy::Reset | LetGoBy::Close => ("connections were reset", "see who comes, and how they get there"),
            };
            let why = format!("{host}: {asked} {what}, and {left} are there as before");
            let hint = format!("{hint}, then `migrate apply` again");
            return Err(failed(why, Some(hint)));
        }
        let count = context.may_let_go(self.step, self.pace().0, BATCH, left);
        if count == 0 {
            return Ok((COUNTED, None));
        }
        let env = [("MIGRATE_COUNT", count), ("MIGRATE_WITHIN", BATCH.as_secs())];
        let env = env.into_iter().map(|(name, n)| (name.to_owned(), n.to_string())).collect();
        let nth = format!("{}.{}", self.history.attempts, clock.wall().as_millisecond());
        let (host, at) = (self.work.host.clone(), HookPoint::AfterDrain);
        let once = HookStep { host, at, run, timeout, idempotent: false, done_when: None, undo: None, secrets, env };
        self.next = clock.now() + BATCH;
        let asked = hook::once(context, self.step, &once, self.history, &nth).await;
        self.gone += count;
        self.fewest.1 += count;
        match asked {
            Effect::Ended(StepResult::Done { .. }) => {
                self.unclear = 0;
                Ok((COUNTED, None))
            }
            Effect::Ended(StepResult::Unknown { why, .. }) if self.unclear + 1 < IN_VAIN => {
                self.unclear += 1;
                Ok((COUNTED, Some(why)))
            }
            other => Err(other),
        }
    }

    fn tell(&mut self, held_by: Option<String>) {
        if self.told.of == 0 {
            // Nobody has counted yet: that is not the same as none.
            return self.context.waiting(self.step, held_by.unwrap_or_default());
        }
        let (pace, governed_by) = self.pace();
        self.told.pace = pace;
        self.told.held_by = held_by.or(governed_by);
        self.told.seconds_left = seconds_left(&self.trend);
        let _ =
            self.context.notices.send(Notice::LettingGo { step: self.step.id.clone(), progress: self.told.clone() });
    }

    /// Whoever takes the run up begins with the pace that is recorded.
    async fn record(&mut self) {
        let now = self.context.world.clock.now();
        let due = self.recorded.is_none_or(|last| now.saturating_duration_since(last) >= RECORDED);
        if self.gone == 0 || !due {
            return;
        }
        self.recorded = Some(now);
        let aims = self.context.waves.with(&self.step.wave, |wave| wave.governor.as_ref().map(Governor::aims));
        let LettingGo { left, of, pace, held_by, .. } = self.told.clone();
        let progress = Milestone { left, of, pace: aims.unwrap_or(pace), held_by };
        self.context.report(Event::LetGo { step: self.step.id.clone(), progress }).await;
    }

    fn evidence(&self, waited: Duration) -> String {
        let (member, waited) = (&self.work.member, text::duration(waited));
        let what = match (&self.work.by, self.gone) {
            (_, 0) => return format!("{member} has no connections after {waited}"),
            (LetGoBy::Close, n) => format!("{} ended", text::count(n, "connection")),
            (LetGoBy::Reset, n) => format!("{} reset at most", text::count(n, "connection")),
            (LetGoBy::Hint { .. }, n) => format!("{} asked to leave", text::count(n, "client")),
        };
        format!("{member} has no connections after {waited}: {what}, at most {}/s", self.most())
    }
}

/// `10.0.0.7 (3)`, as hosts count their peers.
fn client(peer: &str) -> Client {
    let read = peer.strip_suffix(')').and_then(|rest| rest.rsplit_once(" (")).map(|(who, n)| (who, n.parse()));
    match read {
        Some((address, Ok(sessions))) => Client { address: address.to_owned(), sessions, oldest: None },
        _ => Client { address: peer.to_owned(), sessions: 1, oldest: None },
    }
}

/// How long the rest takes at the speed of the last seconds.
fn seconds_left(trend: &VecDeque<(Instant, u64)>) -> Option<u64> {
    let ((first, before), (last, now)) = (trend.front()?, trend.back()?);
    let millis = last.saturating_duration_since(*first).as_millis();
    let gone = u128::from(before.saturating_sub(*now));
    (gone > 0).then(|| u64::try_from((u128::from(*now) * millis / gone).div_ceil(1000)).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_that_is_left_goes_by_the_last_seconds() {
        let now = Instant::now();
        let trend = |seen: &[(u64, u64)]| seen.iter().map(|(s, left)| (now + Duration::from_secs(*s), *left)).collect();
        assert_eq!(seconds_left(&trend(&[(0, 5000), (10, 4000)])), Some(40));
        assert_eq!(seconds_left(&trend(&[(0, 5000), (10, 5000)])), None, "nobody leaves");
        assert_eq!(seconds_left(&trend(&[(0, 5000), (10, 5100)])), None, "more come");
        assert_eq!(seconds_left(&trend(&[(0, 5000)])), None);
    }

    #[test]
    fn peers_are_read_as_hosts_tell_them() {
        assert_eq!(client("10.0.0.7 (3)"), Client { address: "10.0.0.7".into(), sessions: 3, oldest: None });
        assert_eq!(client("odd"), Client { address: "odd".into(), sessions: 1, oldest: None });
    }
}
