//! Gives sources back: waits until nobody is on them, asks, cancels once, and follows that until they are gone.
//!
//! Must never cancel while anybody is on a host or could be sent there, and never ask a provider twice.

use std::time::{Duration, Instant};

use super::drift::Watcher;
use super::wait::{self, Held};
use super::{Context, Effect, History, done, failed, gate, hook, not_done, unknown};
use crate::check::PoolRef;
use crate::event::StepResult;
use crate::gate::Gate;
use crate::model::{HookPoint, Member, Mode, Pool};
use crate::mutant::{self, Mutant};
use crate::outside::Error;
use crate::provider::{Provider, Standing};
use crate::retry::Policy;
use crate::step::{DecommissionAct, DecommissionStep, EmptyStep, HookStep, Step};
use crate::text;

/// How long nobody can tell who is on a host before somebody has to look.
const PATIENCE: Duration = Duration::from_secs(300);

/// Runs one part of it.
pub async fn run(context: &Context, step: &Step, back: &DecommissionStep, history: &History) -> Effect {
    let act = async {
        match back.act {
            DecommissionAct::Quiet(_) => quiet(context, step, back).await,
            DecommissionAct::Ask => gate::wait(context, step, &Gate::for_approval(HookPoint::AfterPair)).await,
            DecommissionAct::Wipe(ref wipe) => wiped(context, step, back, wipe, history).await,
            DecommissionAct::Cancel => cancel(context, step, back, history).await,
            DecommissionAct::Follow => follow(context, step, back).await,
        }
    };
    if back.acts() {
        return act.await;
    }
    tokio::select! {
        biased;
        effect = act => effect,
        () = context.let_go() => Effect::Interrupted,
    }
}

/// Waits until nobody has been there for the whole time. What cannot be counted is no quiet, and after a while somebody has to look.
async fn quiet(context: &Context, step: &Step, back: &DecommissionStep) -> Effect {
    let DecommissionAct::Quiet(wanted) = back.act else { return failed("nothing says how long", None) };
    let (mut seen, mut quiet, mut unclear): (Seen, Option<Instant>, Option<Instant>) = Default::default();
    loop {
        let here = match seen.look(context, step, back).await {
            Ok(here) => here,
            Err(effect) => return effect,
        };
        let now = context.world.clock.now();
        let since = |began: &mut Option<Instant>| now.saturating_duration_since(*began.get_or_insert(now));
        let what = match here {
            Here::Nobody => {
                unclear = None;
                let quiet = since(&mut quiet);
                if quiet >= wanted && seen.looks > 1 {
                    let evidence =
                        format!("nobody was on {} and nobody came for {}", back.host, text::duration(wanted));
                    return done(evidence);
                }
                format!("{} more of quiet on {}", text::duration(wanted.saturating_sub(quiet)), back.host)
            }
            Here::Somebody(who) => {
                (quiet, unclear) = (None, None);
                format!("quiet on {}: {who}", back.host)
            }
            Here::Unclear(why) => {
                quiet = None;
                if since(&mut unclear) >= PATIENCE.max(back.interval * 3) {
                    let why = format!("nobody can tell whether anybody is on {}: {why}", back.host);
                    return unknown(why, Some("mend that, then `migrate apply`: it is watched anew".to_owned()));
                }
                format!("quiet on {}: {why}", back.host)
            }
        };
        context.waiting(step, what);
        if context.pass(step, back.interval).await {
            return Effect::Interrupted;
        }
    }
}

/// Who is on a host.
enum Here {
    Nobody,
    Somebody(String),
    /// Nobody can tell.
    Unclear(String),
}

/// What was counted at the look before.
#[derive(Default)]
struct Seen {
    last: Vec<Held>,
    looks: u64,
    watcher: Watcher,
}

impl Seen {
    /// A pool as it is now. What the run has set there must have stayed so.
    async fn pool(
        &mut self,
        context: &Context,
        step: &Step,
        member: &EmptyStep,
    ) -> Result<Result<Pool, Error>, Effect> {
        let at = PoolRef { director: member.director.clone(), pool: member.pool.clone() };
        Ok(match self.watcher.glance(context, step, &at).await? {
            Ok(Some(pool)) => Ok(pool),
            Ok(None) => context.director(&member.director)?.observe(&member.pool).await,
            Err(e) => Err(e),
        })
    }

    /// Looks everywhere.
    async fn look(&mut self, context: &Context, step: &Step, back: &DecommissionStep) -> Result<Here, Effect> {
        let (mut now, mut there, mut unclear) = (Vec::new(), Vec::new(), Vec::new());
        for member in &back.counted.members {
            match self.pool(context, step, member).await? {
                Ok(pool) => {
                    let serves = |m: &Member| m.mode == Mode::Ready && m.weight > 0;
                    if pool.member(&member.member).is_some_and(serves) {
                        there.push(format!("{} is in service in {} {}", member.member, member.director, member.pool));
                    }
                }
                Err(e) if e.transient => unclear.push(e.to_string()),
                Err(e) => return Err(not_done(e)),
            }
            now.push(wait::count(context, member.who()).await?);
        }
        for port in &back.counted.ports {
            let host = context.host(&back.host)?;
            now.push(Held::at_port(context, host, *port).await);
        }
        for (n, held) in now.iter_mut().enumerate() {
            held.came = self.last.get(n).map_or(0, |last| held.since(last));
            match held.count {
                Some(0) if held.came == 0 => {}
                Some(_) => there.push(held.to_string()),
                None => unclear.push(held.to_string()),
            }
        }
        (self.last, self.looks) = (now, self.looks + 1);
        Ok(match (there.is_empty(), unclear.is_empty()) {
            (true, true) => Here::Nobody,
            (false, _) => Here::Somebody(there.join("; ")),
            (true, false) => Here::Unclear(unclear.join("; ")),
        })
    }
}

/// Wipes the host, unless somebody is on it after all, or what the provider has under its name is another machine.
async fn wiped(context: &Context, step: &Step, back: &DecommissionStep, wipe: &HookStep, history: &History) -> Effect {
    let provider = context.world.providers.find(&back.provider);
    match standing(context, step, provider.as_ref(), back).await {
        Ok(Standing::Rented | Standing::Leaving(_)) => {}
        Ok(Standing::Gone(gone)) => {
            return failed(format!("{} is gone, and nobody can wipe it: {gone}", back.host), None);
        }
        Err(e) => return not_done(e),
    }
    // What was begun may have taken away by what people are counted: that it cannot be told then keeps it from nothing.
    if let Err(effect) = nobody_there(context, step, back, "is not wiped", history.unclear).await {
        return effect;
    }
    let effect = hook::run(context, step, wipe, history).await;
    if !matches!(effect, Effect::Ended(StepResult::Done { .. })) {
        return effect;
    }
    match hook::proof(context, step, wipe).await {
        Ok(says) => done(format!("the disks of {} are wiped: {says}", back.host)),
        Err(effect) => effect,
    }
}

/// The last thing before anything is taken away: an approval may be old.
async fn nobody_there(
    context: &Context,
    step: &Step,
    back: &DecommissionStep,
    keeps: &str,
    begun: bool,
) -> Result<(), Effect> {
    match Seen::default().look(context, step, back).await? {
        Here::Nobody => Ok(()),
        Here::Unclear(_) if begun => Ok(()),
        Here::Somebody(who) | Here::Unclear(who) => {
            let why = format!("{} {keeps}: {who}", back.host);
            let hint = "see who that is; `migrate apply` looks again and then goes on".to_owned();
            Err(failed(why, Some(hint)))
        }
    }
}

/// Gives the host back, unless somebody is on it after all, or it was given back before.
async fn cancel(context: &Context, step: &Step, back: &DecommissionStep, history: &History) -> Effect {
    let provider = context.world.providers.find(&back.provider);
    let sees = if mutant::is(Mutant::CancelAgain) {
        Standing::Rented
    } else {
        match standing(context, step, provider.as_ref(), back).await {
            Ok(sees) => sees,
            Err(e) => return not_done(e),
        }
    };
    match sees {
        Standing::Rented => {}
        Standing::Leaving(leaving) if history.attempts > 1 => return done(leaving.to_string()),
        Standing::Leaving(leaving) => return done(format!("had been given back already: {leaving}")),
        Standing::Gone(gone) => return done(format!("is gone already: {gone}")),
    }
    if !mutant::is(Mutant::CancelInUse)
        && let Err(effect) = nobody_there(context, step, back, "is not given back", false).await
    {
        return effect;
    }
    if let Err(barred) = context.leave_to_act().await {
        return barred;
    }
    let note = format!("migrate run {}, {}", context.run, back.host);
    match provider.cancel(&back.machine, &note).await {
        Ok(leaving) => done(leaving.to_string()),
        Err(e) if e.is_unknown() => match provider.look(&back.machine).await {
            Ok(Standing::Leaving(leaving) | Standing::Gone(leaving)) => done(leaving.to_string()),
            // It may come yet: the next try looks before it asks.
            Ok(Standing::Rented) | Err(_) => unknown(e.to_string(), e.hint),
        },
        Err(e) => not_done(e),
    }
}

/// How it stands, asked again where that helps.
async fn standing(
    context: &Context,
    step: &Step,
    provider: &dyn Provider,
    back: &DecommissionStep,
) -> Result<Standing, Error> {
    let mut retry = context.retry(Policy::CALL);
    loop {
        match provider.look(&back.machine).await {
            Ok(standing) => return Ok(standing),
            Err(e) => retry.after(e, |what| context.waiting(step, what)).await?,
        }
    }
}

/// Waits until the host is gone.
async fn follow(context: &Context, step: &Step, back: &DecommissionStep) -> Effect {
    let provider = context.world.providers.find(&back.provider);
    let mut seen = Seen::default();
    loop {
        // Whoever is sent there again is sent to a host that goes.
        for member in &back.counted.members {
            if let Err(effect) = seen.pool(context, step, member).await {
                return effect;
            }
        }
        let what = match provider.look(&back.machine).await {
            Ok(Standing::Gone(gone)) => return done(format!("{} is gone: {gone}", back.host)),
            Ok(Standing::Rented) => {
                let why = format!("the cancellation of {} has been taken back", back.host);
                let hint = format!(
                    "to ask for it again: migrate rollback {} --to the step before it, then `migrate apply`",
                    context.run
                );
                return failed(why, Some(hint));
            }
            Ok(Standing::Leaving(leaving)) => format!("{} to be reclaimed: {leaving}", back.host),
            Err(e) if e.transient => e.to_string(),
            Err(e) => return not_done(e),
        };
        context.waiting(step, what);
        if context.pass(step, back.interval).await {
            return Effect::Interrupted;
        }
    }
}

/// Takes a host again that was given back, as long as its provider lets that be.
pub async fn undo(context: &Context, step: &Step, back: &DecommissionStep) -> Effect {
    let provider = context.world.providers.find(&back.provider);
    match standing(context, step, provider.as_ref(), back).await {
        Ok(Standing::Rented) => return done(format!("{} is not given back", back.host)),
        Ok(Standing::Leaving(_)) => {}
        Ok(Standing::Gone(gone)) => return failed(format!("{} is gone: {gone}", back.host), None),
        Err(e) => return not_done(e),
    }
    if let Err(barred) = context.leave_to_act().await {
        return barred;
    }
    let mut retry = context.retry(Policy::CALL);
    loop {
        match provider.void(&back.machine).await {
            Ok(()) => return done(format!("{} stays: its cancellation is taken back", back.host)),
            Err(e) => {
                if let Err(effect) = context.try_again(&mut retry, step, e).await {
                    return effect;
                }
            }
        }
    }
}
