//! Alerts of hosts are silenced while they move.
//!
//! Must never keep users waiting for an Alertmanager: where the plan does not ask for a hold, the run goes on and says what is not so.

use super::{Context, Effect, done, not_done};
use crate::alerts::Owner;
use crate::event::Notice;
use crate::outside::Error;
use crate::retry::Policy;
use crate::step::{SilenceStep, Step};
use crate::text;

/// Does what the step is for.
pub async fn run(context: &Context, step: &Step, silence: &SilenceStep) -> Effect {
    set(context, step, silence, silence.makes).await
}

/// Does the opposite: a pair that goes back moves, too.
pub async fn undo(context: &Context, step: &Step, silence: &SilenceStep) -> Effect {
    set(context, step, silence, !silence.makes).await
}

async fn set(context: &Context, step: &Step, silence: &SilenceStep, makes: bool) -> Effect {
    let mut retry = context.retry(Policy::CALL);
    loop {
        if let Err(barred) = context.leave_to_act().await {
            return barred;
        }
        let error = match once(context, step, silence, makes).await {
            Ok(evidence) => return done(evidence),
            Err(e) => e,
        };
        match retry.after(error, |what| context.waiting(step, what)).await {
            Ok(()) => {}
            Err(e) if silence.must => return not_done(e),
            Err(e) => return go_on(context, silence, makes, &e),
        }
    }
}

async fn once(context: &Context, step: &Step, silence: &SilenceStep, makes: bool) -> Result<String, Error> {
    let (owner, silences) = (owner(&context.run, step), &context.world.silences);
    if makes {
        return silences.make(&silence.at, &owner, &silence.wanted, silence.lasts).await;
    }
    let lifted = silences.lift(&silence.at, &owner).await?;
    Ok(format!("{} taken away at {}", text::count(lifted, "silence"), silence.at.host()))
}

/// Whose silences those of a step are: its pair's, so that the step that takes them away finds them.
pub fn owner(run: &str, step: &Step) -> Owner {
    let source = step.pair.as_ref().map_or("", |pair| pair.source.as_str());
    Owner { run: run.to_owned(), pair: format!("{}/{source}", step.service) }
}

fn go_on(context: &Context, silence: &SilenceStep, makes: bool, error: &Error) -> Effect {
    let what = match makes {
        true => format!("alerts are not silenced: {error}"),
        false => {
            let ends = text::duration(silence.lasts);
            format!(
                "silences may still be there ({error}); they end by themselves, at the latest {ends} after they were made"
            )
        }
    };
    let _ = context.notices.send(Notice::Warning { what: what.clone() });
    done(what)
}
