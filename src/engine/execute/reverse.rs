//! Steps of the way back of trees: what a target takes is carried to its source while it serves, and once more when the run goes back.
//!
//! Must never hold the way there up: what does not work is told, and tried again. Must never open a source that may lack a write.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::pace::Pace;
use super::{Context, Effect, History, copy, done, failed};
use crate::copy::{CopyJob, PassReport, VerifyMode};
use crate::event::{Event, ReversePace, StepResult};
use crate::mutant::{self, Mutant};
use crate::outside::Error;
use crate::step::{CompareStep, Comparison, CopyPass, CopyStep, HandOverStep, ReverseStep, Step};
use crate::text;

/// The least time between two passes, and the most.
const REST: Duration = Duration::from_secs(5);
const LONGEST_REST: Duration = Duration::from_secs(60);
/// How long a pass may go on that is under way when the way back ends.
const GRACE: Duration = Duration::from_secs(15);
/// A source that has not been in step for so long is told to be behind.
const BEHIND: Duration = Duration::from_secs(60);

/// Carries until the way back ends. A pass that is broken off does no harm, but what it leaves behind comes late for the clean-up.
pub async fn run(context: &Context, step: &Step, reverse: &ReverseStep) -> Effect {
    let heard = Heard::default();
    let ended = tokio::select! {
        biased;
        () = context.let_go() => return Effect::Interrupted,
        ended = carry(context, step, reverse, &heard) => Some(ended),
        () = breaks_off(context, step) => None,
    };
    ended.unwrap_or_else(|| end(context, &heard))
}

/// Waits until the way back has ended, and then for the pass that is under way, though not for ever.
async fn breaks_off(context: &Context, step: &Step) {
    context.committed(step).await;
    context.world.clock.sleep(GRACE).await;
}

fn end(context: &Context, heard: &Heard) -> Effect {
    done(format!("the way back has ended; {}", heard.told(context.world.clock.now())))
}

/// What is known of the source.
#[derive(Default)]
struct Heard(Mutex<Known>);

#[derive(Default)]
struct Known {
    /// Everything that the target had then has been carried.
    in_step: Option<Instant>,
    /// How long the last pass took that brought it in step.
    took: Duration,
    /// What was recorded last.
    recorded: Option<ReversePace>,
    trouble: Option<String>,
}

impl Heard {
    fn lock(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// For people.
    fn told(&self, now: Instant) -> String {
        let known = self.lock();
        let trouble = known.trouble.as_ref().map(|why| format!("; {why}")).unwrap_or_default();
        match known.in_step {
            None => format!("the source has not been in step yet{trouble}"),
            Some(at) => {
                let ago = text::duration(Duration::from_secs(now.saturating_duration_since(at).as_secs()));
                let took = text::duration(known.took);
                format!("the source was in step {ago} ago, and going back would freeze for about {took}{trouble}")
            }
        }
    }
}

/// Goes on until the way back has ended between two passes, unless this controller may not act any more.
async fn carry(context: &Context, step: &Step, reverse: &ReverseStep, heard: &Heard) -> Effect {
    let job = match context.job(step, &reverse.tree) {
        Ok(job) => job,
        Err(effect) => return effect,
    };
    let began = context.world.clock.now();
    let mut compared = !reverse.verify;
    loop {
        // Passes of many pairs take turns.
        let turn = tokio::select! {
            biased;
            () = context.committed(step) => return end(context, heard),
            turn = context.reverses.acquire() => turn,
        };
        let rest = match once(context, step, reverse, &job, &mut compared).await {
            Ok(Ok(pass)) => judge(context, step, reverse, heard, began, &pass).await,
            Ok(Err(e)) => {
                heard.lock().trouble = Some(e.to_string());
                record(context, step, heard, ReversePace::Broken { why: e.to_string() }).await;
                REST * 2
            }
            Err(barred) => return barred,
        };
        drop(turn);
        let until = context.world.clock.now() + rest;
        loop {
            let now = context.world.clock.now();
            context.waiting(step, format!("the end of the way back; {}", heard.told(now)));
            let left = until.saturating_duration_since(now);
            if left.is_zero() {
                break;
            }
            tokio::select! {
                biased;
                () = context.committed(step) => return end(context, heard),
                () = context.world.clock.sleep(left.min(REST)) => {}
            }
        }
    }
}

/// A pass with the times at which it began and ended.
struct Carried {
    report: PassReport,
    began: Instant,
    ended: Instant,
}

/// One pass, and the comparison of what has not changed since, once. The outer error: this controller must not act.
async fn once(
    context: &Context,
    step: &Step,
    reverse: &ReverseStep,
    job: &CopyJob,
    compared: &mut bool,
) -> Result<Result<Carried, Error>, Effect> {
    context.leave_to_act().await?;
    let began = context.world.clock.now();
    let report = match pass(context, step, reverse, job).await {
        Ok(report) => report,
        Err(e) => return Ok(Err(e)),
    };
    let ended = context.world.clock.now();
    if !*compared && is_settled(reverse, &report) {
        match compare(context, step, reverse, job).await {
            Ok(same) => *compared = same,
            Err(e) => return Ok(Err(e)),
        }
    }
    Ok(Ok(Carried { report, began, ended }))
}

async fn pass(context: &Context, step: &Step, reverse: &ReverseStep, job: &CopyJob) -> Result<PassReport, Error> {
    let progress = context.on_progress(step);
    let pace = Pace::of_tree(context, step, &reverse.tree, true, &job.source);
    let job = CopyJob { bandwidth: pace.now(), ..job.clone() };
    let pass = context.world.copier.pass(&job, &progress);
    pace.keep(pass, |now| context.world.copier.limit(&job.id, now)).await
}

/// Compares ahead, so that little is left to read when the run goes back. What differs is sent by its content, and compared again later.
async fn compare(context: &Context, step: &Step, reverse: &ReverseStep, job: &CopyJob) -> Result<bool, Error> {
    let report = {
        let progress = context.on_progress(step);
        let pace = Pace::of_comparison(context, step, &reverse.tree, true, &job.source);
        let job = CopyJob { bandwidth: pace.now(), ..job.clone() };
        let verify = context.world.copier.verify(&job, VerifyMode::Ahead, &progress);
        pace.keep(verify, |now| context.world.copier.limit(&job.id, now)).await?
    };
    if report.different == 0 {
        return Ok(true);
    }
    pass(context, step, reverse, &CopyJob { checksum: true, ..job.clone() }).await?;
    Ok(false)
}

fn is_settled(reverse: &ReverseStep, report: &PassReport) -> bool {
    report.bytes_sent < reverse.tree.settle_below && report.unsettled == 0
}

/// Says how it stands after a pass; how long to rest before the next one.
async fn judge(
    context: &Context,
    step: &Step,
    reverse: &ReverseStep,
    heard: &Heard,
    since: Instant,
    pass: &Carried,
) -> Duration {
    let (bytes, took) = (pass.report.bytes_sent, pass.ended.saturating_duration_since(pass.began));
    if is_settled(reverse, &pass.report) {
        {
            let mut known = heard.lock();
            (known.in_step, known.took, known.trouble) = (Some(pass.began), took, None);
        }
        let millis = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        record(context, step, heard, ReversePace::InStep { bytes, millis }).await;
        return (took * 5).clamp(REST, LONGEST_REST);
    }
    let last = heard.lock().in_step.unwrap_or(since);
    if pass.ended.saturating_duration_since(last) > BEHIND {
        heard.lock().trouble = Some("it falls behind".to_owned());
        record(context, step, heard, ReversePace::Behind { bytes }).await;
    }
    Duration::ZERO
}

/// Has it recorded where that is news.
async fn record(context: &Context, step: &Step, heard: &Heard, pace: ReversePace) {
    let same = |known: &ReversePace| std::mem::discriminant(known) == std::mem::discriminant(&pace);
    if heard.lock().recorded.as_ref().is_some_and(same) {
        return;
    }
    heard.lock().recorded = Some(pace.clone());
    context.report(Event::Reversed { step: step.id.clone(), pace }).await;
}

/// Going back begins: the source is brought in step while the target still serves, so that little is left for the freeze. What does not work
/// here is left to the last pass.
pub async fn ahead(context: &Context, step: &Step, reverse: &ReverseStep, history: &History) -> Effect {
    if !history.ramped {
        return done("it stands still");
    }
    let tree = reverse.tree.clone();
    let catch_up = CopyStep { tree: tree.clone(), pass: CopyPass::CatchUp, max_passes: reverse.max_passes };
    let mut effect = copy::copy(context, step, &catch_up).await;
    if is_done(&effect) && reverse.verify {
        let compare = CompareStep { tree, comparison: Comparison::Ahead };
        effect = copy::compare(context, step, &compare).await;
    }
    match effect {
        Effect::Ended(StepResult::Failed { why, .. } | StepResult::Unknown { why, .. }) => {
            done(format!("the source could not be brought in step ahead, which leaves it to the freeze: {why}"))
        }
        other => other,
    }
}

/// The target is frozen: what it has taken goes to the source, and is compared there, before the source may take writes again.
pub async fn carry_back(context: &Context, step: &Step, hand_over: &HandOverStep, history: &History) -> Effect {
    if !history.opened || mutant::is(Mutant::NoLastPassBack) {
        return done("the target has taken nothing that the source lacks");
    }
    let tree = hand_over.tree.clone();
    let last = copy::copy(context, step, &CopyStep { tree: tree.clone(), pass: CopyPass::Last, max_passes: 1 }).await;
    let effect = match &last {
        Effect::Ended(StepResult::Done { .. }) if hand_over.verify => {
            copy::compare(context, step, &CompareStep { tree, comparison: Comparison::Whole }).await
        }
        _ => last,
    };
    match effect {
        Effect::Ended(StepResult::Failed { why, .. }) => failed(why, Some(give_up(context, step))),
        other => other,
    }
}

fn give_up(context: &Context, step: &Step) -> String {
    let (run, id) = (&context.run, &step.id);
    format!(
        "mend it, then `migrate rollback {run}` again; or give up what the target has taken since the source was last in step, and say \
         so: `migrate resolve {run} {id} --done --why …`"
    )
}

fn is_done(effect: &Effect) -> bool {
    matches!(effect, Effect::Ended(StepResult::Done { .. }))
}
