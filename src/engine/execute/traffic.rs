//! Steps that write to a director.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::MutexGuard;

use super::{Context, Effect, failed};
use crate::event::{Before, StepResult};
use crate::traffic::{Change, Director, Member, Mode, Pool, TrafficError, TrafficErrorKind};

/// Tries of an absolute write whose outcome is unknown, before an operator is asked.
const TRIES: u32 = 3;

impl Context {
    /// The director of that name.
    pub(super) fn director(&self, name: &str) -> Result<&Arc<dyn Director>, Effect> {
        self.world
            .directors
            .get(name)
            .ok_or_else(|| failed(format!("director {name} is not in the inventory any more"), None))
    }

    /// Waits until no other step of this run writes to the director: what one step reads before it writes must not be changed by
    /// another one in between.
    async fn turn(&self, director: &str) -> Option<MutexGuard<'_, ()>> {
        match self.turns.get(director) {
            Some(turn) => Some(turn.lock().await),
            None => None,
        }
    }
}

/// Applies changes; what was there before is part of the outcome, whatever it is.
pub async fn apply(context: &Context, director: &str, pool: &str, changes: &[Change]) -> Effect {
    let _turn = context.turn(director).await;
    let director = match context.director(director) {
        Ok(director) => director,
        Err(effect) => return effect,
    };
    let before = match director.observe(pool).await {
        Ok(before) => before,
        Err(e) => return not_done(e, None),
    };
    for attempt in 1.. {
        match director.apply(pool, changes).await {
            Ok(after) => return finished(pool, changes, before, &after),
            Err(e) if e.kind == TrafficErrorKind::Unknown && attempt < TRIES => {
                context.world.clock.sleep(Duration::from_secs(attempt.into())).await;
            }
            Err(e) => return not_done(e, Some(Before::Pool(before))),
        }
    }
    failed("no attempt was made", None)
}

fn finished(pool: &str, changes: &[Change], before: Pool, after: &Pool) -> Effect {
    let lines: Vec<String> = changes
        .iter()
        .map(|c| format!("{}: {} → {}", c.member, shown(before.member(&c.member)), shown(after.member(&c.member))))
        .collect();
    let evidence = format!("{pool} {}", lines.join(", "));
    Effect::Ended(StepResult::Done { evidence, before: Some(Before::Pool(before)), millis: 0 })
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

/// Puts the members of `changes` back to what they were, in reverse order.
pub async fn restore(context: &Context, director: &str, pool: &str, changes: &[Change], before: &Pool) -> Effect {
    let back = changes.iter().rev().map(|change| match before.member(&change.member) {
        Some(m) => Change { member: m.name.clone(), weight: m.weight, mode: m.mode },
        None => Change { member: change.member.clone(), weight: 0, mode: Mode::Ready },
    });
    apply(context, director, pool, &back.collect::<Vec<_>>()).await
}

/// Sets a TTL; the one found is part of the outcome.
pub async fn set_ttl(context: &Context, director: &str, pool: &str, ttl: Duration) -> Effect {
    let _turn = context.turn(director).await;
    let director = match context.director(director) {
        Ok(director) => director,
        Err(effect) => return effect,
    };
    let found = match director.observe(pool).await {
        Ok(pool) => pool.ttl.unwrap_or(ttl),
        Err(e) => return not_done(e, None),
    };
    let before = Some(Before::Ttl(found));
    match director.set_ttl(pool, ttl).await {
        Ok(_) => {
            let evidence = format!("{pool} TTL {} s → {} s", found.as_secs(), ttl.as_secs());
            Effect::Ended(StepResult::Done { evidence, before, millis: 0 })
        }
        Err(e) => not_done(e, before),
    }
}

/// A refusal changed nothing; everything else leaves it open what the director has now.
pub(super) fn not_done(error: TrafficError, before: Option<Before>) -> Effect {
    let (why, hint) = (format!("{}: {}", error.director, error.what), error.hint);
    Effect::Ended(match error.kind {
        TrafficErrorKind::Refused | TrafficErrorKind::Conflict => StepResult::Failed { why, hint, before },
        TrafficErrorKind::Unknown | TrafficErrorKind::Disagrees => StepResult::Unknown { why, hint, before },
    })
}
