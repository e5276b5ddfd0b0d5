//! Steps that look whether what was set is still so, and whether a source stayed without traffic.
//!
//! Must never let a pair go on whose source may have taken writes that were not copied.

use super::drift::Watcher;
use super::{Context, Effect, History, connections, copy, done, failed, fence, unknown, wait};
use crate::check::PoolRef;
use crate::event::{Event, StepResult};
use crate::outside::Error;
use crate::retry::Policy;
use crate::step::{Class, ConfirmStep, Drained, Step, StepKind};
use crate::text;

/// How often passes are done again before the run holds.
const ROUNDS: u32 = 3;

/// Looks, and carries again what a source may have taken meanwhile.
pub async fn run(context: &Context, step: &Step, confirm: &ConfirmStep, history: &History) -> Effect {
    match look(context, step, confirm, history).await {
        Ok(evidence) => done(evidence),
        Err(effect) => effect,
    }
}

async fn look(context: &Context, step: &Step, confirm: &ConfirmStep, history: &History) -> Result<String, Effect> {
    let mut watcher = Watcher::default();
    watcher.look(context, step, &confirm.pools).await?;
    let let_in = match (&confirm.fenced, &confirm.source) {
        (Some(fenced), Some(source)) => {
            fence::look(context, step, fenced, &source.pool, &source.member, history).await?
        }
        _ => false,
    };
    match &confirm.source {
        None => Ok("as it was set".to_owned()),
        Some(source) if source.since.is_none() => {
            if history.drifted || watcher.has_restored() || let_in {
                do_again(context, step, source, history, "it had got traffic back").await?;
            }
            Ok(format!("as it was set; {} has no traffic", source.member))
        }
        Some(source) => stayed_drained(context, step, confirm, source, history, (watcher, let_in)).await,
    }
}

async fn stayed_drained(
    context: &Context,
    step: &Step,
    confirm: &ConfirmStep,
    source: &Drained,
    history: &History,
    (mut watcher, let_in): (Watcher, bool),
) -> Result<String, Effect> {
    let member = &source.member;
    let mut known = history.seen.as_ref().and_then(|pool| pool.member(member)).and_then(|m| m.sessions);
    let mut elsewhere = sessions_elsewhere(context, step, source).await?;
    let mut why = (history.drifted || let_in).then(|| format!("{member} had got traffic back"));
    for round in 0..=ROUNDS {
        let now = sessions(context, step, &source.pool, member).await?;
        why = why.or_else(|| traffic(member, known, now, watcher.has_restored()));
        let others = sessions_elsewhere(context, step, source).await?;
        let both = source.also.iter().zip(elsewhere.iter().zip(&others));
        let came = both.map(|((_, member), (before, now))| traffic(member, *before, *now, false));
        why = why.or_else(|| came.flatten().next());
        let Some(reason) = &why else {
            return Ok(match round {
                0 => format!("as it was set; {member} has had no traffic"),
                n => format!("as it was set; {member} had traffic, and was copied and compared again {}", times(n)),
            });
        };
        if round == ROUNDS {
            break;
        }
        context.waiting(step, format!("what {member} may have taken to be copied again: {reason}"));
        do_again(context, step, source, history, reason).await?;
        (known, elsewhere, why) = (now, others, None);
        watcher.forget_restored();
        watcher.look(context, step, &confirm.pools).await?;
    }
    Err(held(context, step, source, &why.unwrap_or_default()).await)
}

fn times(n: u32) -> String {
    text::count(n.into(), "time")
}

/// What says that a source may have taken writes.
fn traffic(member: &str, before: Option<u64>, now: Option<u64>, restored: bool) -> Option<String> {
    match (before, now) {
        (Some(before), Some(now)) if now > before => {
            Some(format!("{member} has got {}", text::count(now - before, "new session")))
        }
        (Some(before), Some(now)) if now < before => Some(format!("the count of {member}'s sessions has begun anew")),
        _ => restored.then(|| format!("{member} had got traffic back")),
    }
}

/// Sessions in the other pools of a source. What came to it there before is looked at by the other steps of its kind.
async fn sessions_elsewhere(context: &Context, step: &Step, source: &Drained) -> Result<Vec<Option<u64>>, Effect> {
    let mut counted = Vec::with_capacity(source.also.len());
    for (pool, member) in &source.also {
        counted.push(sessions(context, step, pool, member).await?);
    }
    Ok(counted)
}

async fn sessions(context: &Context, step: &Step, of: &PoolRef, member: &str) -> Result<Option<u64>, Effect> {
    let director = context.director(&of.director)?;
    let mut retry = context.retry(Policy::LONG);
    loop {
        match director.observe(&of.pool).await {
            Ok(pool) => return Ok(pool.member(member).and_then(|m| m.sessions)),
            Err(e) => context.try_again(&mut retry, step, Error { transient: true, ..e }).await?,
        }
    }
}

/// Waits for the source to be empty, and does the last passes and comparisons again; what can only be done once holds the run.
async fn do_again(
    context: &Context,
    step: &Step,
    source: &Drained,
    history: &History,
    reason: &str,
) -> Result<(), Effect> {
    let once = |kind: &&StepKind| !matches!(kind.class(), Class::Reading | Class::Convergent);
    if let Some(kind) = source.again.iter().find(once) {
        let why = format!("{reason}, and this cannot be done again to carry what it took: {}", kind.describe());
        let (run, id, member) = (&context.run, &step.id, &source.member);
        let hint = format!(
            "`migrate rollback {run}` goes back: {member} has everything; or see that it has taken no write, and say so: \
             `migrate resolve {run} {id} --done`"
        );
        return Err(unknown(why, Some(hint)));
    }
    for kind in &source.again {
        let effect = match kind {
            StepKind::Settle(settle) => wait::settle(context, step, &settle.director, &settle.pool, None).await,
            StepKind::Connections(work) => connections::let_go(context, step, work, history).await,
            StepKind::Empty(empty) => wait::empty(context, step, empty).await,
            StepKind::Copy(copy) => copy::copy(context, step, copy).await,
            StepKind::Compare(compare) => copy::compare(context, step, compare).await,
            // Its fence keeps a source from taking writes, whoever has traffic.
            StepKind::Replica(_) => continue,
            other => failed(format!("this is not done again: {}", other.describe()), None),
        };
        if !matches!(effect, Effect::Ended(StepResult::Done { .. })) {
            return Err(effect);
        }
    }
    Ok(())
}

async fn held(context: &Context, step: &Step, source: &Drained, reason: &str) -> Effect {
    let clue = format!("{reason}, {} times in a row, though it is as it was set", ROUNDS + 1);
    context
        .report(Event::Drifted {
            step: step.id.clone(),
            director: source.pool.director.clone(),
            pool: source.pool.pool.clone(),
            members: Vec::new(),
            clues: vec![clue.clone()],
            restores: false,
        })
        .await;
    let (run, member) = (&context.run, &source.member);
    let hint = format!(
        "clients are pinned to {member}, or come to it by another way: find them, then `migrate apply` again; `migrate rollback {run}` \
         goes back"
    );
    Effect::Drifted { why: clue, hint, members: Vec::new() }
}
