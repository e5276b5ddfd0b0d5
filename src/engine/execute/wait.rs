//! Steps that wait: for health, for time, for connections to end, for caches to run out.
//!
//! Every wait says what it waits for and the last values seen.

use std::collections::BTreeSet;
use std::time::Duration;

use futures_util::stream::{self, StreamExt, TryStreamExt};

use super::drift::{self, Watcher};
use super::share::{self, Share};
use super::{Context, Effect, done, failed, measured, not_done, traffic, unknown};
use crate::check::{Checks, HealthCheck, Outcome, PoolRef, Standing, Steady, Subject, SubjectName};
use crate::event::StepResult;
use crate::model::{Host, OnDeadline};
use crate::mutant::{self, Mutant};
use crate::step::{EmptyStep, QUIET, Step, Who};
use crate::text;

/// Added to a TTL that is waited out: clocks of resolvers tick in whole seconds.
const TTL_SLACK: Duration = Duration::from_secs(1);
/// How long resolvers may take beyond the TTL before an operator is asked.
const RESOLVER_PATIENCE: Duration = Duration::from_secs(300);

/// Checks of one step that are under way at the same time.
const AT_ONCE: usize = 16;
/// What is to be done about a target that has its traffic and does not pass.
const STILL_SERVES: &str = "it has its traffic: mend it, then `migrate apply` looks again";

/// Lets time pass before a step, and tells that.
pub async fn rest(context: &Context, step: &Step, duration: Duration) {
    context.waiting(step, format!("{} to pass before it is tried again", text::duration(duration)));
    context.pass(step, duration).await;
}

/// Waits until all checks have passed often enough in a row.
pub async fn check(context: &Context, step: &Step, checks: &Checks) -> Effect {
    let asked: Vec<_> = checks.each().map(|(name, check)| healthy(context, step, name, check)).collect();
    let passed: Result<Vec<String>, Effect> = stream::iter(asked).buffered(AT_ONCE).try_collect().await;
    passed.map_or_else(|effect| effect, |evidence| done(evidence.join("; ")))
}

/// A look at those who serve: while they are not well, no other leaves, and nothing is done.
pub async fn look(context: &Context, step: &Step, checks: &Checks) -> Effect {
    if mutant::is(Mutant::NoLook) {
        return done("");
    }
    match check(context, step, checks).await {
        Effect::Ended(StepResult::Failed { why, .. }) => failed(why, Some(STILL_SERVES.to_owned())),
        Effect::Ended(StepResult::Unknown { why, .. }) => unknown(why, Some(STILL_SERVES.to_owned())),
        other => other,
    }
}

async fn healthy(context: &Context, step: &Step, name: &SubjectName, check: &HealthCheck) -> Result<String, Effect> {
    let subject = context.subject(name)?;
    let began = context.world.clock.now();
    let mut steady = Steady::new(check.rise, check.fall);
    loop {
        let verdict = context.world.health.probe(check, &subject).await;
        let standing = steady.observe(&verdict);
        if standing == Some(Standing::Healthy) {
            return Ok(format!("{}, {} in a row", verdict.evidence, check.rise));
        }
        if context.world.clock.now().saturating_duration_since(began) >= check.within {
            let why = format!("{subject} is not healthy after {}: {}", text::duration(check.within), verdict.evidence);
            let hint = Some(match subject {
                Subject::Host(_) => "nothing was shifted to it; mend the host, then `migrate apply` again".to_owned(),
                Subject::Service(_) => "nothing was shifted; mend it, then `migrate apply` again".to_owned(),
            });
            return Err(if standing == Some(Standing::Unhealthy) { failed(why, hint) } else { unknown(why, hint) });
        }
        context.waiting(step, format!("{subject} to be healthy: {}; {}", verdict.evidence, steady.why()));
        if context.pass(step, check.interval).await {
            return Err(Effect::Interrupted);
        }
    }
}

/// Lets the hold pass while every check goes on; an unhealthy subject ends it, and one that nobody can judge prolongs it.
pub async fn watch(context: &Context, step: &Step, hold: Duration, checks: &Checks, pools: &[PoolRef]) -> Effect {
    let began = context.world.clock.now();
    let mut watched = match watched(context, checks) {
        Ok(watched) => watched,
        Err(effect) => return effect,
    };
    let between_reads = (!pools.is_empty()).then_some(drift::EVERY);
    let interval = checks.checks().iter().map(|c| c.interval).chain(between_reads).min().unwrap_or(hold).min(hold);
    let mut watcher = Watcher::default();
    let mut probes = 0_u64;
    let mut shares = Share::of(step);
    loop {
        for share in &mut shares {
            share.look(context).await;
        }
        let (mut open, mut last) = (None, None);
        for pool in pools {
            match watcher.glance(context, step, pool).await {
                Ok(Ok(_)) => {}
                Ok(Err(unclear)) => open = Some(unclear.to_string()),
                Err(drifted) => return drifted,
            }
        }
        for (subject, check, steady) in &mut watched {
            let verdict = context.world.health.probe(check, subject).await;
            probes += 1;
            last = Some(format!("{subject}: {}", verdict.evidence));
            match steady.observe(&verdict) {
                Some(Standing::Unhealthy) => {
                    let why = format!("{subject} has become unhealthy: {}", verdict.evidence);
                    let what = match subject {
                        Subject::Host(_) => "host",
                        Subject::Service(_) => "service",
                    };
                    let hint = format!("look at the {what}; `migrate status` shows what has been shifted");
                    return failed(why, Some(hint));
                }
                Some(Standing::Healthy) if verdict.outcome == Outcome::Pass => {}
                // One failure is not enough to call it unhealthy, and too much to go on.
                Some(Standing::Healthy) | None => open.clone_from(&last),
            }
        }
        let left = hold.saturating_sub(context.world.clock.now().saturating_duration_since(began));
        if left.is_zero() && open.is_none() {
            if let Some(why) = shares.iter().find_map(Share::left_out) {
                return failed(
                    why,
                    Some("look at its checks, and at what the director does with its weight".to_owned()),
                );
            }
            let passed = format!("{}, {} passed", text::duration(hold), text::count(probes, "probe"));
            let said = std::iter::once(passed).chain(share::told(&shares)).collect::<Vec<_>>().join("; ");
            return measured(said, share::figures(&shares));
        }
        let too_long = context.world.clock.now().saturating_duration_since(began) > hold + RESOLVER_PATIENCE;
        if let (true, Some(open)) = (too_long, &open) {
            return unknown(format!("nobody can tell whether all is well: {open}"), None);
        }
        let what =
            format!("{} of hold left", text::duration(Duration::from_secs(left.as_millis().div_ceil(1000) as u64)));
        let told = std::iter::once(what).chain(share::told(&shares)).chain(open.or(last));
        context.waiting(step, told.collect::<Vec<_>>().join("; "));
        if context.pass(step, if left.is_zero() { interval } else { left.min(interval) }).await {
            return Effect::Interrupted;
        }
    }
}

type Watched<'a> = (Subject<'a>, &'a HealthCheck, Steady);

fn watched<'a>(context: &'a Context, checks: &'a Checks) -> Result<Vec<Watched<'a>>, Effect> {
    let each = checks.each().map(|(name, c)| Ok((context.subject(name)?, c, Steady::new(c.rise, c.fall))));
    each.collect()
}

/// Waits until no cache can hold an older answer, then until the listed resolvers agree.
pub async fn settle(context: &Context, step: &Step, director: &str, pool: &str, outlast: Option<Duration>) -> Effect {
    let director = match context.director(director) {
        Ok(director) => director,
        Err(effect) => return effect,
    };
    let ttl = match outlast {
        Some(ttl) => ttl,
        None => match traffic::ask(context, step, || director.observe(pool)).await {
            Ok(pool) => pool.ttl.unwrap_or_default(),
            Err(effect) => return effect,
        },
    };
    context.waiting(step, format!("the TTL of {} to run out", text::duration(ttl)));
    if context.pass(step, ttl + TTL_SLACK).await {
        return Effect::Interrupted;
    }
    let began = context.world.clock.now();
    loop {
        let lagging = match director.settled(pool).await {
            Ok(None) => {
                return done(format!("the TTL of {} has run out; every resolver asked agrees", text::duration(ttl)));
            }
            Ok(Some(lagging)) => lagging,
            Err(e) => e.to_string(),
        };
        if context.world.clock.now().saturating_duration_since(began) > ttl + RESOLVER_PATIENCE {
            return unknown(lagging, Some("look at that resolver, or take it off the director's list".into()));
        }
        context.waiting(step, lagging);
        if context.pass(step, Duration::from_secs(1)).await {
            return Effect::Interrupted;
        }
    }
}

/// Whether a mistake made on purpose leaves a member out: another director has begun to take its host out of service.
pub(in crate::engine) fn is_forgotten(mutant: Mutant, who: Who<'_>, drained_by: &str) -> bool {
    let by_another = || drained_by.split_once('@').is_some_and(|(_, first)| first != who.director);
    mutant::is(mutant) && by_another()
}

/// Waits until a drained member has had no connections for some intervals, and has got no new session in them.
pub async fn empty(context: &Context, step: &Step, empty: &EmptyStep) -> Effect {
    let EmptyStep { deadline, interval, on_deadline, member, .. } = empty;
    if is_forgotten(Mutant::ForgetsADirector, empty.who(), &empty.drained_by) {
        return done("");
    }
    let began = context.world.clock.now();
    let (mut quiet, mut last): (u32, Option<Held>) = (0, None);
    loop {
        let mut held = match count(context, empty.who()).await {
            Ok(held) => held,
            Err(effect) => return effect,
        };
        held.came = last.as_ref().filter(|_| !empty.keeps_pinned).map_or(0, |last| held.since(last));
        let was_empty = last.as_ref().is_some_and(|last| last.count == Some(0));
        let is_quiet = held.count == Some(0) && held.came == 0;
        quiet = if is_quiet && was_empty { quiet + 1 } else { 0 };
        let waited = context.world.clock.now().saturating_duration_since(began);
        if quiet >= QUIET {
            return done(format!("{member} has no connections after {}{}", text::duration(waited), held.silent()));
        }
        if waited >= *deadline && !is_quiet {
            return missed(&held, member, *deadline, *on_deadline);
        }
        context.waiting(step, format!("{held}, {} left", text::duration(deadline.saturating_sub(waited))));
        last = Some(held);
        if context.pass(step, *interval).await {
            return Effect::Interrupted;
        }
    }
}

pub(super) fn missed(held: &Held, member: &str, deadline: Duration, on_deadline: OnDeadline) -> Effect {
    let why = format!("{member} is not empty after {}: {held}", text::duration(deadline));
    match on_deadline {
        OnDeadline::Proceed if held.count.is_some() => done(format!("{why}; the plan says to proceed")),
        OnDeadline::Restore => {
            failed(why, Some("its traffic is put back as it was; `migrate apply` tries again".into()))
        }
        _ if held.count.is_none() => unknown(why, Some("it stays drained; `migrate apply` counts again".into())),
        _ => failed(why, Some("it stays drained; end those connections, then `migrate apply` again".into())),
    }
}

/// Who still holds on, and who comes.
#[derive(Default)]
pub(super) struct Held {
    pub count: Option<u64>,
    by: Vec<String>,
    /// Sessions that the director has counted.
    sessions: Option<u64>,
    /// Ends of connections that begin or end on the host, where the director does not count.
    lately: Option<BTreeSet<String>>,
    /// New sessions since the look before.
    pub came: u64,
}

impl Held {
    /// Who is at a port of a host.
    pub async fn at_port(context: &Context, host: &Host, port: u16) -> Self {
        match context.world.remote.connections(host, None, port).await {
            Ok(there) => {
                Self { count: Some(there.count), by: there.peers, lately: Some(there.lately), ..Self::default() }
            }
            Err(e) => Self { by: vec![e.to_string()], ..Self::default() },
        }
    }

    /// What has come since another look: at least so much.
    pub fn since(&self, last: &Self) -> u64 {
        let counted = match (last.sessions, self.sessions) {
            // A count that has begun anew says nothing of what came.
            (Some(before), Some(now)) if now < before => now.max(1),
            (Some(before), Some(now)) => now - before,
            _ => 0,
        };
        // What ends was there before, unless nothing was.
        let seen = match (&last.lately, &self.lately) {
            (Some(before), Some(now)) if last.count == Some(0) => now.difference(before).count() as u64,
            _ => 0,
        };
        counted.max(seen)
    }

    /// That nothing comes, where that was looked at.
    fn silent(&self) -> &'static str {
        if self.sessions.is_some() || self.lately.is_some() { ", and gets none" } else { "" }
    }
}

impl std::fmt::Display for Held {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.count {
            Some(n) => f.write_str(&text::count(n, "connection"))?,
            None => f.write_str("connections cannot be counted")?,
        }
        if self.came > 0 {
            write!(f, ", and {} came since the last look", text::count(self.came, "new session"))?;
        }
        if self.by.is_empty() { Ok(()) } else { write!(f, " ({})", text::list(&self.by)) }
    }
}

/// Counts what the director holds, and on the host itself where a port is given: traffic may come by other ways, too.
pub(super) async fn count(context: &Context, who: Who<'_>) -> Result<Held, Effect> {
    let Who { director, pool, member, host, port } = who;
    let (director, host) = (context.director(director)?, context.host(host)?);
    let (seen, sessions) = match director.observe(pool).await {
        Ok(now) => now.member(member).map_or((None, None), |m| (m.connections, m.sessions)),
        Err(e) if e.transient => return Ok(Held { by: vec![e.what], ..Held::default() }),
        Err(e) => return Err(not_done(e)),
    };
    let Some(port) = port else {
        let by = if seen == Some(0) { Vec::new() } else { director.blockers(pool, member).await.unwrap_or_default() };
        return Ok(Held { count: seen, by, sessions, ..Held::default() });
    };
    match context.world.remote.connections(host, host.address.parse().ok(), port).await {
        Ok(there) => {
            let count = Some(there.count.max(seen.unwrap_or(0)));
            // Where the director counts, others who come and go are its own checks.
            let lately = sessions.is_none().then_some(there.lately);
            Ok(Held { count, by: there.peers, sessions, lately, came: 0 })
        }
        Err(e) => Ok(Held { by: vec![e.to_string()], sessions, ..Held::default() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held(count: u64, sessions: Option<u64>, lately: Option<&[&str]>) -> Held {
        let lately = lately.map(|ends| ends.iter().map(|end| (*end).to_owned()).collect());
        Held { count: Some(count), sessions, lately, ..Held::default() }
    }

    #[test]
    fn who_holds_nothing_and_still_gets_sessions_is_not_empty() {
        let before = held(0, Some(7), None);
        assert_eq!(held(0, Some(7), None).since(&before), 0);
        assert_eq!(held(0, Some(9), None).since(&before), 2);
        assert_eq!(held(0, Some(0), None).since(&before), 1, "a count that has begun anew is no silence");
        let mut told = held(0, Some(9), None);
        told.came = 2;
        assert_eq!(told.to_string(), "0 connections, and 2 new sessions came since the last look");
    }

    #[test]
    fn on_a_host_that_counts_nothing_every_end_of_a_connection_tells_that_one_came() {
        let before = held(0, None, Some(&["10.0.0.7:1"]));
        assert_eq!(held(0, None, Some(&["10.0.0.7:1"])).since(&before), 0);
        assert_eq!(held(0, None, Some(&["10.0.0.7:1", "10.0.0.7:2"])).since(&before), 1);
        // Those that it held before end, too.
        assert_eq!(held(0, None, Some(&["10.0.0.7:2"])).since(&held(1, None, Some(&[]))), 0);
    }
}
