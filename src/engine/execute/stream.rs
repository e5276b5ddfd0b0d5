//! Steps that pour what one command writes into another.
//!
//! Must never pour a second time while nobody knows what became of the first, unless the plan says that this does no harm.

use super::pace::Pace;
use super::{Context, Effect, History, failed, measured, unknown};
use crate::copy::StreamJob;
use crate::event::Figures;
use crate::mutant::{self, Mutant};
use crate::retry::Policy;
use crate::step::{Step, StreamStep};
use crate::text;

/// Pours it. The host keeps no receipt of it: where the end is not known, people have to look.
pub async fn pour(context: &Context, step: &Step, stream: &StreamStep, history: &History) -> Effect {
    let job = match context.stream_job(step, stream) {
        Ok(job) => job,
        Err(effect) => return effect,
    };
    let look = || {
        let (run, target) = (&context.run, &job.target.name);
        Some(format!(
            "look on {target}, clear away what is there in part, then say `migrate resolve {run} {} --done` or `--not-done`",
            step.id
        ))
    };
    if history.unclear && !stream.idempotent && !mutant::is(Mutant::PourAgain) {
        let what = "an earlier attempt may have poured all or a part of it, and it must not be poured twice";
        return unknown(format!("{}: {what}", job.target.name), look());
    }
    let progress = context.on_progress(step);
    let pace = Pace::of_stream(context, step, stream.bandwidth, &job.source);
    let mut retry = context.retry(Policy::LONG);
    loop {
        if let Err(barred) = context.leave_to_act().await {
            return barred;
        }
        let job = StreamJob { bandwidth: pace.now(), ..job.clone() };
        let poured = context.world.copier.stream(&job, &progress);
        match pace.keep(poured, |now| context.world.copier.limit(&job.id, now)).await {
            Ok(report) => {
                let hash = text::hex(report.hash.get(..8).unwrap_or_default());
                let bytes = text::bytes(report.bytes);
                return measured(
                    format!("{bytes}, BLAKE3 {hash}… on both ends; both commands ended with status 0"),
                    Some(Figures::Carried { files: 0, bytes: report.bytes }),
                );
            }
            Err(e) if e.is_unknown() && !stream.idempotent => return unknown(e.to_string(), look()),
            Err(e) => {
                if let Err(ended) = context.try_again(&mut retry, step, e).await {
                    return ended;
                }
            }
        }
    }
}

impl Context {
    fn stream_job(&self, step: &Step, stream: &StreamStep) -> Result<StreamJob, Effect> {
        let Some(pair) = &step.pair else { return Err(failed("a stream needs a pair of hosts", None)) };
        Ok(StreamJob {
            id: stream.job.clone(),
            source: self.host(&pair.source)?.clone(),
            target: self.host(&pair.target)?.clone(),
            from: stream.from.clone(),
            to: stream.to.clone(),
            timeout: stream.timeout,
            bandwidth: stream.bandwidth,
        })
    }
}
