//! Trying the agent on hosts.

use futures_util::StreamExt;
use futures_util::stream;

use super::{Context, Effect, done, failed};
use crate::model::Host;
use crate::outside::Error;
use crate::retry::Policy;
use crate::step::Step;
use crate::text;

/// Hosts on which it is tried at the same time.
const PARALLEL: usize = 16;

/// Puts the agent on every host and starts it. All hosts that refuse are told at once: they are mended at once.
pub async fn probe(context: &Context, step: &Step, names: &[String]) -> Effect {
    if let Err(barred) = context.leave_to_act().await {
        return barred;
    }
    let mut trials = Vec::with_capacity(names.len());
    for name in names {
        match context.host(name) {
            Ok(host) => trials.push(on(context, step, host)),
            Err(effect) => return effect,
        }
    }
    let tried: Vec<Result<(), Error>> = stream::iter(trials).buffered(PARALLEL).collect().await;
    let refused: Vec<Error> = tried.into_iter().filter_map(Result::err).collect();
    let Some(first) = refused.first() else {
        return done(format!("it has started on {}", text::count(names.len() as u64, "host")));
    };
    let why: Vec<String> = refused.iter().map(ToString::to_string).collect();
    failed(why.join("; "), first.hint.clone())
}

async fn on(context: &Context, step: &Step, host: &Host) -> Result<(), Error> {
    let mut retry = context.retry(Policy::LONG);
    loop {
        match context.world.copier.probe(host, &[]).await {
            Ok(_) => return Ok(()),
            Err(e) => retry.after(e, |what| context.waiting(step, what)).await?,
        }
    }
}
