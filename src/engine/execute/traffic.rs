//! Steps that write to a director.

use std::sync::Arc;
use std::time::Duration;

use super::drift::Watcher;
use super::{Context, Effect, History, done, failed};
use crate::check::PoolRef;
use crate::event::Before;
use crate::model::{Change, Member, Mode, Pool};
use crate::outside::Error;
use crate::step::{Step, TrafficStep};
use crate::traffic::Director;

impl Context {
    /// The director of that name.
    pub(super) fn director(&self, name: &str) -> Result<&Arc<dyn Director>, Effect> {
        self.world
            .directors
            .get(name)
            .ok_or_else(|| failed(format!("director {name} is not in the inventory any more"), None))
    }
}

/// Sets the members of a step.
pub async fn set(context: &Context, step: &Step, set: &TrafficStep, history: &History) -> Effect {
    // Its own members are set anyway. The others were as they were set when it looked, or are to be set again.
    if (context.may_restore(&set.pool()) || history.attempts > 1)
        && let Err(drifted) = Watcher::default().look(context, step, &[set.pool()]).await
    {
        return drifted;
    }
    apply(context, step, &set.director, &set.pool, &set.changes, history.before.as_ref()).await
}

/// What a pool is before it is changed.
pub async fn look(context: &Context, step: &Step, director: &str, pool: &str) -> Effect {
    let at = PoolRef { director: director.to_owned(), pool: pool.to_owned() };
    match Watcher::before_intent().look_at(context, step, &at).await {
        Ok(Some(pool)) => return Effect::Looked(Before::Pool(pool)),
        Ok(None) => {}
        Err(drifted) => return drifted,
    }
    let director = match context.director(director) {
        Ok(director) => director,
        Err(effect) => return effect,
    };
    match ask(context, step, || director.observe(pool)).await {
        Ok(pool) => Effect::Looked(Before::Pool(pool)),
        Err(effect) => effect,
    }
}

/// What a pool's TTL is before it is changed.
pub async fn look_at_ttl(context: &Context, step: &Step, director: &str, pool: &str) -> Effect {
    match look(context, step, director, pool).await {
        Effect::Looked(Before::Pool(Pool { ttl: Some(ttl), .. })) => Effect::Looked(Before::Ttl(ttl)),
        Effect::Looked(_) => failed(format!("{director} {pool} has no TTL"), None),
        other => other,
    }
}

/// Applies changes and says what became of each member.
pub async fn apply(
    context: &Context,
    step: &Step,
    director: &str,
    pool: &str,
    changes: &[Change],
    before: Option<&Before>,
) -> Effect {
    let director = match context.director(director) {
        Ok(director) => director,
        Err(effect) => return effect,
    };
    match ask(context, step, || director.apply(pool, changes)).await {
        Ok(after) => done(evidence(pool, changes, before, &after)),
        Err(effect) => effect,
    }
}

/// Asks a director to read or to set a pool, again where trying again helps: what is set is absolute.
pub(super) async fn ask<F>(context: &Context, step: &Step, ask: impl Fn() -> F) -> Result<Pool, Effect>
where
    F: Future<Output = Result<Pool, Error>>,
{
    let mut retry = context.retry_call(step);
    loop {
        context.leave_to_act().await?;
        match ask().await {
            Ok(after) => return Ok(after),
            Err(e) => context.try_again(&mut retry, step, e).await?,
        }
    }
}

fn evidence(pool: &str, changes: &[Change], before: Option<&Before>, after: &Pool) -> String {
    let was = |name: &str| match before {
        Some(Before::Pool(pool)) => format!("{} → ", shown(pool.member(name))),
        _ => String::new(),
    };
    let lines: Vec<String> =
        changes.iter().map(|c| format!("{}: {}{}", c.member, was(&c.member), shown(after.member(&c.member)))).collect();
    format!("{pool} {}", lines.join(", "))
}

/// A member's setting in a few characters.
fn shown(member: Option<&Member>) -> String {
    match member {
        None => "absent".into(),
        Some(m) if m.mode == Mode::Drain => "drain".into(),
        Some(m) if m.mode == Mode::Maint => "maintenance".into(),
        Some(m) => m.weight.to_string(),
    }
}

/// Puts the members of `changes` back to what they were.
pub async fn put_back(
    context: &Context,
    step: &Step,
    director: &str,
    pool: &str,
    changes: &[Change],
    before: &Pool,
) -> Effect {
    let now = match context.director(director) {
        Ok(director) => ask(context, step, || director.observe(pool)).await,
        Err(effect) => return effect,
    };
    match now {
        Ok(now) => apply(context, step, director, pool, &back(changes, before, &now), None).await,
        Err(effect) => effect,
    }
}

/// The settings that put the members of `changes` back to what they were, in reverse order. Who got more by the change gets no more than
/// it has now: somebody else may have taken it out since, and the way back is no reason to give it traffic again.
fn back(changes: &[Change], before: &Pool, now: &Pool) -> Vec<Change> {
    let back = changes.iter().rev().map(|change| {
        let setting = |pool: &Pool| match pool.member(&change.member) {
            Some(m) => Change { member: m.name.clone(), weight: m.weight, mode: m.mode },
            None => Change { member: change.member.clone(), weight: 0, mode: Mode::Ready },
        };
        let (was, is) = (setting(before), setting(now));
        match gets(change) > gets(&was) && gets(&is) < gets(&was) {
            true => is,
            false => was,
        }
    });
    back.collect()
}

/// The weight that counts.
fn gets(change: &Change) -> u16 {
    if change.mode == Mode::Ready { change.weight } else { 0 }
}

/// Sets a TTL.
pub async fn set_ttl(context: &Context, step: &Step, director: &str, pool: &str, ttl: Duration) -> Effect {
    let director = match context.director(director) {
        Ok(director) => director,
        Err(effect) => return effect,
    };
    match ask(context, step, || director.set_ttl(pool, ttl)).await {
        Ok(_) => done(format!("{pool} TTL is {} s", ttl.as_secs())),
        Err(effect) => effect,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pool(members: &[(&str, u16, Mode)]) -> Pool {
        let member = |(name, weight, mode): &(&str, u16, Mode)| Member {
            name: (*name).into(),
            weight: *weight,
            mode: *mode,
            connections: None,
            sessions: None,
            up: None,
        };
        Pool { name: "uploads".into(), members: members.iter().map(member).collect(), ttl: None }
    }

    #[test]
    fn the_way_back_gives_targets_no_more_than_they_have_and_sources_all_they_had() {
        let change = |member: &str, weight, mode| Change { member: member.into(), weight, mode };
        let shift = [change("dal-1", 0, Mode::Drain), change("fra-1", 100, Mode::Ready)];
        let before = pool(&[("dal-1", 50, Mode::Ready), ("fra-1", 50, Mode::Ready)]);
        let back = |target| back(&shift, &before, &pool(&[("dal-1", 0, Mode::Drain), target]));
        let was = [change("fra-1", 50, Mode::Ready), change("dal-1", 50, Mode::Ready)];
        assert_eq!(back(("fra-1", 100, Mode::Ready)), was);
        // It was never set, or somebody has taken it out.
        assert_eq!(back(("fra-1", 50, Mode::Ready)), was);
        for out in [("fra-1", 100, Mode::Maint), ("fra-1", 0, Mode::Ready), ("fra-1", 10, Mode::Ready)] {
            assert_eq!(back(out), [change(out.0, out.1, out.2), was[1].clone()]);
        }
    }
}
