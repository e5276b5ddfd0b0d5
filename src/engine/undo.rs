//! Undoing: puts back what a step found, and says which steps have to be put back, in which order.
//!
//! Must never undo a step while something that depends on it is still in effect, and never go back past a point of no return.

use std::collections::BTreeSet;

use super::execute::{self, Context, Effect, Found, traffic, wait};
use crate::event::{Before, Direction, RunState, StepResult, StepState};
use crate::model::Pool;
use crate::model::{OnDeadline, OnFailure};
use crate::mutant::{self, Mutant};
use crate::step::{EmptyStep, Step, StepKind, TrafficStep, Undo};

/// Why a run cannot go back.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no way back past {step}: {why}")]
pub struct NoWayBack {
    /// The point of no return.
    pub step: String,
    /// Why it is one.
    pub why: String,
}

/// Puts back what the step found.
pub(super) async fn undo(context: &Context, step: &Step, found: &Found) -> Effect {
    match (step.kind.undo(), &found.before) {
        (Undo::Members(traffic), Some(Before::Pool(before))) => {
            restore(context, step, traffic, before, found.ramped).await
        }
        (Undo::Ttl { director, pool }, Some(Before::Ttl(ttl))) => {
            traffic::set_ttl(context, step, director, pool, *ttl).await
        }
        (Undo::Command(hook), _) => execute::undo_hook(context, step, hook, found).await,
        (Undo::Nothing | Undo::Members(_) | Undo::Ttl { .. }, _) => ended("there is nothing to put back"),
    }
}

/// Going back is moving traffic: who gets it again is looked at first, and on a whole way back time passes as on the way there.
async fn restore(context: &Context, step: &Step, back: &TrafficStep, before: &Pool, ramped: bool) -> Effect {
    let TrafficStep { director, pool, changes, back: rails, .. } = back;
    match wait::check(context, step, &rails.checks).await {
        Effect::Ended(StepResult::Done { .. }) => {}
        other => return other,
    }
    let applied = traffic::apply(context, step, director, pool, &traffic::back(changes, before), None).await;
    if !matches!(applied, Effect::Ended(StepResult::Done { .. })) || !ramped {
        return applied;
    }
    if rails.settle
        && let other @ Effect::Interrupted = wait::settle(context, step, director, pool, None).await
    {
        return other;
    }
    match wait::watch(context, step, context.hold(rails.hold), &rails.checks).await {
        Effect::Ended(StepResult::Done { .. }) => applied,
        other => other,
    }
}

fn ended(evidence: &str) -> Effect {
    Effect::Ended(StepResult::Done { evidence: evidence.to_owned(), millis: 0 })
}

/// What a failed step makes the run put back, for popping from the end.
pub(super) fn on_failure(state: &RunState, failed: &Step) -> Vec<String> {
    if let StepKind::Empty(EmptyStep { on_deadline: OnDeadline::Restore, drained_by, .. }) = &failed.kind {
        return back_to(state, drained_by);
    }
    if failed.on_failure != OnFailure::StepBack {
        return Vec::new();
    }
    last_shift(state, failed).map(|shift| back_to(state, &shift)).unwrap_or_default()
}

/// The shift that came right before a step, for the same pairs.
fn last_shift(state: &RunState, step: &Step) -> Option<String> {
    let steps = &state.graph.steps;
    let earlier = steps.iter().take_while(|s| s.id != step.id);
    let same = earlier.filter(|s| s.service == step.service && s.pair == step.pair);
    let shifts = same.filter(|s| matches!(&s.kind, StepKind::Traffic(traffic) if traffic.purpose.share().is_some()));
    shifts.filter(|s| state.step(&s.id).state == StepState::Done && s.no_return.is_none()).last().map(|s| s.id.clone())
}

/// Everything that has begun and depends on `first`, and `first` itself.
fn back_to(state: &RunState, first: &str) -> Vec<String> {
    let reached = dependents(state, first);
    begun(state).filter(|s| reached.contains(s.id.as_str())).map(|s| s.id.clone()).collect()
}

fn dependents<'a>(state: &'a RunState, first: &'a str) -> BTreeSet<&'a str> {
    let mut reached: BTreeSet<&str> = BTreeSet::from([first]);
    for step in &state.graph.steps {
        if step.after.iter().any(|a| reached.contains(a.as_str())) {
            reached.insert(&step.id);
        }
    }
    reached
}

/// Steps that are in effect, or may be.
fn begun(state: &RunState) -> impl Iterator<Item = &Step> {
    let begun =
        |s: StepState| if mutant::is(Mutant::UndoOnlyDone) { s == StepState::Done } else { s != StepState::Waiting };
    state.graph.steps.iter().filter(move |s| begun(state.step(&s.id).state))
}

/// What is left to undo of a run that goes back, for popping from the end; also what an interrupted step back has left over.
pub(super) fn left(state: &RunState) -> Vec<String> {
    match &state.direction {
        Direction::Forward => {
            begun(state).filter(|s| state.step(&s.id).state == StepState::Undoing).map(|s| s.id.clone()).collect()
        }
        Direction::Back { to } => way_back(state, to.as_deref()).map(|s| s.id.clone()).collect(),
    }
}

fn way_back<'a>(state: &'a RunState, to: Option<&'a str>) -> impl Iterator<Item = &'a Step> {
    let reached = to.map(|to| dependents(state, to));
    begun(state).filter(move |s| {
        reached.as_ref().is_none_or(|reached| Some(s.id.as_str()) != to && reached.contains(s.id.as_str()))
    })
}

/// The steps that going back would undo, last first; an error when a point of no return lies among them.
pub fn rollback_steps(state: &RunState, to: Option<&str>) -> Result<Vec<String>, NoWayBack> {
    let mut steps = Vec::new();
    for step in way_back(state, to) {
        if let Some(why) = &step.no_return {
            return Err(NoWayBack { step: step.id.clone(), why: why.clone() });
        }
        steps.push(step.id.clone());
    }
    steps.reverse();
    Ok(steps)
}
