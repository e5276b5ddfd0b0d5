//! Steps at which the way back of a pair ends.
//!
//! Must never end it before its time without somebody's word, nor while the target does not pass its checks.

use std::time::Duration;

use super::{Context, Effect, History, done, gate, wait};
use crate::event::StepResult;
use crate::gate::Gate;
use crate::model::{HookPoint, Until};
use crate::step::{CommitStep, Step};
use crate::text;

/// Longest time between two looks at the clock.
const LOOK: Duration = Duration::from_secs(1);

/// Waits until its time has passed, or somebody has committed.
pub async fn wait(context: &Context, step: &Step, commit: &CommitStep, history: &History) -> Effect {
    tokio::select! {
        biased;
        effect = ended(context, step, commit, history) => effect,
        () = context.let_go() => Effect::Interrupted,
    }
}

/// Waits for time or word, and looks at the target once more.
async fn ended(context: &Context, step: &Step, commit: &CommitStep, history: &History) -> Effect {
    let opened = until(context, step, commit, history).await;
    if commit.checks.is_empty() || !matches!(opened, Effect::Ended(StepResult::Done { .. })) {
        return opened;
    }
    match wait::look(context, step, &commit.checks).await {
        Effect::Ended(StepResult::Done { .. }) => opened,
        other => other,
    }
}

async fn until(context: &Context, step: &Step, commit: &CommitStep, history: &History) -> Effect {
    let Until::After(time) = commit.until else {
        return gate::wait(context, step, &Gate::for_approval(HookPoint::AfterPair)).await;
    };
    loop {
        if let Some(word) = context.approvals_of(step).first() {
            return done(word.clone());
        }
        let left = left(context, history, time);
        if left.is_zero() {
            return done(format!("the way back was open for {}", text::duration(time)));
        }
        let shown = text::duration(Duration::from_secs(left.as_millis().div_ceil(1000) as u64));
        context.waiting(
            step,
            format!("{shown} to pass, or somebody to end the way back: {}", commit.command(&context.run)),
        );
        if context.pass(step, left.min(LOOK)).await {
            return Effect::Interrupted;
        }
    }
}

/// What is left of the time since the pair has moved, also by an earlier controller.
fn left(context: &Context, history: &History, time: Duration) -> Duration {
    let Some(since) = history.since else { return time };
    let passed = context.world.clock.wall().duration_since(since);
    // A clock that was set back does not shorten it.
    time.saturating_sub(Duration::try_from(passed).unwrap_or(Duration::ZERO))
}
