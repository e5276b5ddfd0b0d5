//! Undoing: puts back what a step found, and says which steps have to be put back, in which order.
//!
//! Must never undo a step while something that depends on it is still in effect, and never go back past a point of no return.

use std::collections::BTreeSet;

use super::execute::{self, Context, Effect, History, traffic, wait};
use crate::event::{Before, Direction, RunState, StepResult, StepState};
use crate::model::Pool;
use crate::model::{HookPoint, OnDeadline, OnFailure};
use crate::mutant::{self, Mutant};
use crate::step::{Class, ConfirmStep, EmptyStep, Purpose, Step, StepKind, TrafficStep, Undo};

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
pub(super) async fn undo(context: &Context, step: &Step, history: &History) -> Effect {
    match (step.kind.undo(), &history.before) {
        (Undo::Members(traffic), Some(Before::Pool(before))) => {
            restore(context, step, traffic, before, history.ramped).await
        }
        (Undo::Ttl { director, pool }, Some(Before::Ttl(ttl))) => {
            let set = traffic::set_ttl(context, step, director, pool, *ttl).await;
            match history.ttl.filter(|longer| longer > ttl && is_done(&set)) {
                // Going back must not rely on answers being short-lived before the long-lived ones have run out.
                Some(longer) => wait::settle(context, step, director, pool, Some(longer)).await,
                None => set,
            }
        }
        (Undo::Files { director }, Some(Before::Files(rewrites))) => {
            execute::undo_rewrite(context, step, director, rewrites, history).await
        }
        (Undo::HandOver(hand_over), _) => execute::carry_back(context, step, hand_over, history).await,
        (Undo::Reverse(reverse), _) => execute::undo_reverse(context, step, reverse, history).await,
        (Undo::Fence(fence), _) => execute::undo_fence(context, step, fence, history).await,
        (Undo::SetAside(set_aside), _) => execute::undo_set_aside(context, step, set_aside, history).await,
        (Undo::Command(hook), _) => execute::undo_hook(context, step, hook, history).await,
        (Undo::Replica(replica), _) => execute::undo_replica(context, step, replica, history).await,
        (Undo::Nothing | Undo::Members(_) | Undo::Ttl { .. } | Undo::Files { .. }, _) => {
            ended("there is nothing to put back")
        }
    }
}

/// Going back is moving traffic: who gets it again is looked at first, and on a whole way back time passes as on the way there.
async fn restore(context: &Context, step: &Step, back: &TrafficStep, before: &Pool, ramped: bool) -> Effect {
    let TrafficStep { director, pool, changes, back: rails, .. } = back;
    match wait::check(context, step, &rails.checks).await {
        Effect::Ended(StepResult::Done { .. }) => {}
        other => return other,
    }
    let applied = traffic::put_back(context, step, director, pool, changes, before).await;
    if !is_done(&applied) || !ramped {
        return applied;
    }
    if rails.settle {
        let settled = wait::settle(context, step, director, pool, None).await;
        // Whoever still has the old answer comes to a target that is about to be frozen.
        if matches!(settled, Effect::Interrupted) || (rails.empty.is_some() && !is_done(&settled)) {
            return settled;
        }
    }
    if let Some(empty) = rails.empty.as_ref().filter(|_| !mutant::is(Mutant::FreezeBusyTarget)) {
        let effect = wait::empty(context, step, empty).await;
        if !is_done(&effect) {
            return effect;
        }
    }
    match wait::watch(context, step, context.hold(rails.hold), &rails.checks, &[]).await {
        Effect::Ended(StepResult::Done { .. }) => applied,
        other => other,
    }
}

fn is_done(effect: &Effect) -> bool {
    matches!(effect, Effect::Ended(StepResult::Done { .. }))
}

fn ended(evidence: &str) -> Effect {
    Effect::Ended(StepResult::Done { evidence: evidence.to_owned(), millis: 0 })
}

/// What a failed step makes the run put back, for popping from the end.
pub(super) fn on_failure(state: &RunState, failed: &Step) -> Vec<String> {
    if let StepKind::Empty(EmptyStep { on_deadline: OnDeadline::Restore, drained_by, .. }) = &failed.kind {
        return state.graph.steps.position(drained_by).map(|at| back_to(state, at)).unwrap_or_default();
    }
    if let StepKind::Replica(replica) = &failed.kind
        && replica.gives_up()
    {
        return back_into_service(state, failed);
    }
    if failed.on_failure != OnFailure::StepBack {
        return Vec::new();
    }
    last_shift(state, failed).map(|shift| back_to(state, shift)).unwrap_or_default()
}

/// What is put back so that a frozen pair is in service again on its source; nothing where something of that cannot be put back.
fn back_into_service(state: &RunState, failed: &Step) -> Vec<String> {
    let steps = &state.graph.steps;
    let leaves = |s: &Step| {
        let freeze = matches!(&s.kind, StepKind::Hook(hook) if hook.at == HookPoint::Freeze);
        freeze || s.urgent || s.kind.purpose() == Some(Purpose::Drain)
    };
    let earlier = earlier_of_pair(state, failed).into_iter();
    let Some(first) = earlier.chain(steps.position(&failed.id)).find(|at| steps.get(*at).is_some_and(|s| leaves(s)))
    else {
        return Vec::new();
    };
    let begun: Vec<&Step> = begun(state, steps.dependents(first)).collect();
    let is_for_good = begun.iter().any(|step| step.no_return.is_some());
    if is_for_good { Vec::new() } else { begun.into_iter().map(|step| step.id.clone()).collect() }
}

/// Positions of the steps of the same pairs that a step waits for, directly or not, in order.
fn earlier_of_pair(state: &RunState, step: &Step) -> BTreeSet<usize> {
    let steps = &state.graph.steps;
    let same = |at: &usize| steps.get(*at).is_some_and(|s| s.service == step.service && s.pair == step.pair);
    let mut reached = BTreeSet::new();
    let mut open: Vec<usize> = steps.position(&step.id).into_iter().collect();
    while let Some(at) = open.pop() {
        open.extend(steps.waits_for(at).filter(same).filter(|earlier| reached.insert(*earlier)));
    }
    reached
}

/// The shift that came right before a step, for the same pairs.
fn last_shift(state: &RunState, failed: &Step) -> Option<usize> {
    let steps = &state.graph.steps;
    let shifted = |at: &usize| {
        let is_shift = |s: &Step| s.kind.purpose().and_then(Purpose::share).is_some() && s.no_return.is_none();
        steps.get(*at).is_some_and(|s| is_shift(s)) && state.at(*at).is_some_and(|r| r.state == StepState::Done)
    };
    earlier_of_pair(state, failed).into_iter().rev().find(shifted)
}

/// What is put back before a pair whose source has got traffic back can be copied again: all that came after the proof of its copy, while
/// its target has had no traffic. For popping from the end.
pub(super) fn to_the_proof(state: &RunState, step: &Step, drifted: &[String]) -> Vec<String> {
    let is_proof = |s: &Step| {
        let StepKind::Confirm(ConfirmStep { source: Some(source), .. }) = &s.kind else { return false };
        let same = (&s.service, &s.pair) == (&step.service, &step.pair);
        same && source.since.is_some() && drifted.contains(&source.member)
    };
    let Some(at) = state.graph.steps.iter().position(is_proof) else { return Vec::new() };
    if state.at(at).is_none_or(|record| record.state != StepState::Done) {
        return Vec::new();
    }
    let begun: Vec<&Step> = begun(state, state.graph.steps.dependents(at)).collect();
    let too_late = begun.iter().any(|s| closes(state, s).is_some() || s.kind.purpose().is_some());
    if too_late { Vec::new() } else { begun.into_iter().map(|s| s.id.clone()).collect() }
}

/// Everything that has begun and depends on `first`, and `first` itself.
fn back_to(state: &RunState, first: usize) -> Vec<String> {
    begun(state, state.graph.steps.dependents(first)).map(|s| s.id.clone()).collect()
}

/// Of the steps at these positions those that are in effect, or may be.
fn begun(state: &RunState, positions: impl IntoIterator<Item = usize>) -> impl Iterator<Item = &Step> {
    let is =
        |s: StepState| if mutant::is(Mutant::UndoOnlyDone) { s == StepState::Done } else { s != StepState::Waiting };
    let begun = positions.into_iter().filter(move |at| state.at(*at).is_some_and(|r| is(r.state)));
    begun.filter_map(|at| state.graph.steps.get(at).map(AsRef::as_ref))
}

/// What is left to undo of a run that goes back, for popping from the end; also what an interrupted step back has left over.
pub(super) fn left(state: &RunState) -> Vec<String> {
    match &state.direction {
        Direction::Forward => {
            let all = begun(state, 0..state.graph.steps.len());
            all.filter(|s| state.state_of(&s.id) == Some(StepState::Undoing)).map(|s| s.id.clone()).collect()
        }
        Direction::Back { to } => way_back(state, to.as_deref()).map(|s| s.id.clone()).collect(),
    }
}

fn way_back<'a>(state: &'a RunState, to: Option<&str>) -> impl Iterator<Item = &'a Step> {
    let steps = &state.graph.steps;
    let positions = match to {
        None => (0..steps.len()).collect(),
        Some(to) => {
            let behind = steps.position(to).map(|at| steps.dependents(at)).unwrap_or_default();
            behind.into_iter().skip(1).collect::<Vec<usize>>()
        }
    };
    begun(state, positions)
}

/// Why there is no way back over a step that has begun. One that only reads gives nothing up before it is done.
fn closes<'a>(state: &RunState, step: &'a Step) -> Option<&'a String> {
    let only_reads = step.kind.class() == Class::Reading;
    step.no_return.as_ref().filter(|_| !only_reads || state.state_of(&step.id) == Some(StepState::Done))
}

/// The steps that going back would undo, last first; an error when a point of no return lies among them.
pub fn rollback_steps(state: &RunState, to: Option<&str>) -> Result<Vec<String>, NoWayBack> {
    let mut steps = Vec::new();
    for step in way_back(state, to) {
        if let Some(why) = closes(state, step) {
            return Err(NoWayBack { step: step.id.clone(), why: why.clone() });
        }
        steps.push(step.id.clone());
    }
    steps.reverse();
    Ok(steps)
}
