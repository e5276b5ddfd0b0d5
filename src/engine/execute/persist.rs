//! Steps that see to it that a director which starts anew keeps what the run has set.
//!
//! Must never call something kept that nobody has looked at, and never write over a change of somebody else.

use super::drift::Watcher;
use super::{Context, Effect, History, done, failed, not_done, unknown};
use crate::event::Before;
use crate::model::{Change, Rewrite};
use crate::outside::Kind;
use crate::retry::Policy;
use crate::step::{PersistStep, RewriteStep, Step};

/// Looks whether what is read at a restart agrees with what the run has set.
pub async fn agrees(context: &Context, step: &Step, persist: &PersistStep) -> Effect {
    if let Err(drifted) = Watcher::default().look(context, step, std::slice::from_ref(&persist.pool)).await {
        return drifted;
    }
    let director = match context.director(&persist.pool.director) {
        Ok(director) => director,
        Err(effect) => return effect,
    };
    let mut retry = context.retry(Policy::CALL);
    let kept = loop {
        match director.kept(&persist.pool.pool, &persist.members).await {
            Ok(kept) => break kept,
            Err(e) => match context.try_again(&mut retry, step, e).await {
                Ok(()) => {}
                Err(effect) => return effect,
            },
        }
    };
    if kept.agrees() {
        return done(kept.describe());
    }
    let hint = format!(
        "change that there, then `migrate apply` looks again (`persist: write` in a plan has the run do it); to leave it so: \
         `migrate resolve {} {} --done --why …`",
        context.run, step.id
    );
    failed(format!("a restart would not keep what the run has set: {}", kept.describe()), Some(hint))
}

/// What has to change, seen before anything does.
pub async fn look(context: &Context, step: &Step, director: &str, pool: &str, members: &[Change]) -> Effect {
    let director = match context.director(director) {
        Ok(director) => director,
        Err(effect) => return effect,
    };
    let mut retry = context.retry(Policy::CALL);
    loop {
        match director.rewrites(pool, members).await {
            Ok(rewrites) => return Effect::Looked(Before::Files(rewrites)),
            Err(e) => match context.try_again(&mut retry, step, e).await {
                Ok(()) => {}
                Err(effect) => return effect,
            },
        }
    }
}

/// Makes the changes that were seen to be needed.
pub async fn rewrite(context: &Context, step: &Step, rewrite: &RewriteStep, history: &History) -> Effect {
    if let Err(drifted) = Watcher::default().look(context, step, std::slice::from_ref(&rewrite.pool)).await {
        return drifted;
    }
    match &history.before {
        Some(Before::Files(rewrites)) => make(context, step, &rewrite.pool.director, rewrites, false, history).await,
        _ => failed("what has to change is not in the journal", None),
    }
}

/// Takes the changes back.
pub async fn undo(context: &Context, step: &Step, director: &str, rewrites: &[Rewrite], history: &History) -> Effect {
    let back: Vec<Rewrite> = rewrites.iter().rev().map(Rewrite::reversed).collect();
    make(context, step, director, &back, true, history).await
}

async fn make(
    context: &Context,
    step: &Step,
    director: &str,
    rewrites: &[Rewrite],
    back: bool,
    history: &History,
) -> Effect {
    let director = match context.director(director) {
        Ok(director) => director,
        Err(effect) => return effect,
    };
    let mut retry = context.retry(Policy::CALL);
    loop {
        if let Err(barred) = context.leave_to_act().await {
            return barred;
        }
        match director.rewrite(rewrites, back).await {
            Ok(evidence) => return done(evidence),
            // An attempt before this one may have made the change that somebody has changed again.
            Err(e) if e.kind == Kind::Conflict && history.unclear => return unknown(e.to_string(), e.hint),
            Err(e) if !e.transient => return not_done(e),
            Err(e) => match context.try_again(&mut retry, step, e).await {
                Ok(()) => {}
                Err(effect) => return effect,
            },
        }
    }
}
