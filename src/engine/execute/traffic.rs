//! Steps that write to a director.

use std::sync::Arc;
use std::time::Duration;

use super::drift::Watcher;
use super::{Context, Effect, done, failed, not_done};
use crate::check::PoolRef;
use crate::event::Before;
use crate::model::{Change, Member, Mode, Pool};
use crate::outside::Error;
use crate::retry::Policy;
use crate::step::Step;
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
    director.observe(pool).await.map_or_else(not_done, |pool| Effect::Looked(Before::Pool(pool)))
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
    match write(context, step, || director.apply(pool, changes)).await {
        Ok(after) => done(evidence(pool, changes, before, &after)),
        Err(effect) => effect,
    }
}

/// Makes an absolute write, again where trying again helps.
pub(super) async fn write<F>(context: &Context, step: &Step, write: impl Fn() -> F) -> Result<Pool, Effect>
where
    F: Future<Output = Result<Pool, Error>>,
{
    let mut retry = context.retry(Policy::CALL);
    loop {
        context.leave_to_act().await?;
        match write().await {
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

/// The settings that put the members of `changes` back to what they were, in reverse order.
pub fn back(changes: &[Change], before: &Pool) -> Vec<Change> {
    let back = changes.iter().rev().map(|change| match before.member(&change.member) {
        Some(m) => Change { member: m.name.clone(), weight: m.weight, mode: m.mode },
        None => Change { member: change.member.clone(), weight: 0, mode: Mode::Ready },
    });
    back.collect()
}

/// Sets a TTL.
pub async fn set_ttl(context: &Context, step: &Step, director: &str, pool: &str, ttl: Duration) -> Effect {
    let director = match context.director(director) {
        Ok(director) => director,
        Err(effect) => return effect,
    };
    match write(context, step, || director.set_ttl(pool, ttl)).await {
        Ok(_) => done(format!("{pool} TTL is {} s", ttl.as_secs())),
        Err(effect) => effect,
    }
}
