//! Undoing: puts back what a step found, and says which steps have to be put back, in which order.
//!
//! Must never undo a step while something that depends on it is still in effect, and never go back past a point of no return.

use std::collections::BTreeSet;

use futures_util::future::join_all;
use jiff::Timestamp;

use super::execute::{self, Context, Effect, History, connections, left_behind, traffic, wait};
use crate::event::{Before, Direction, RunState, StepResult, StepState};
use crate::model::Pool;
use crate::model::{HookPoint, OnDeadline, OnFailure};
use crate::mutant::{self, Mutant};
use crate::step::{Class, Purpose, Step, StepKind, TrafficStep, Undo};

/// Why a run cannot go back.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no way back past {step}: {why}")]
pub struct NoWayBack {
    /// The point of no return.
    pub step: String,
    /// Why it is one.
    pub why: String,
}

/// Looks whether what the step has done can be taken back now. Changes nothing.
pub(super) async fn look(context: &Context, step: &Step, history: &History) -> Effect {
    let (Undo::Members(traffic), Some(Before::Pool(before))) = (step.kind.undo(), &history.before) else {
        return Effect::LookedBack;
    };
    let looked = left_behind::look(context, step, traffic, before, &history.moved).await;
    match looked.unwrap_or_else(|effect| effect) {
        Effect::Ended(StepResult::Failed { why, hint } | StepResult::Unknown { why, hint }) => {
            Effect::NotBack { why, hint }
        }
        effect => effect,
    }
}

/// Puts back what the step found.
pub(super) async fn undo(context: &Context, step: &Step, history: &History) -> Effect {
    let began = context.world.clock.now();
    // As in `execute`: no task is as large as the largest kind needs.
    let effect = Box::pin(put_back(context, step, history)).await;
    execute::timed(effect, began, context.world.clock.now())
}

async fn put_back(context: &Context, step: &Step, history: &History) -> Effect {
    match (step.kind.undo(), &history.before) {
        (Undo::Members(traffic), Some(Before::Pool(before))) => restore(context, step, traffic, before, history).await,
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
        (Undo::Relay(relay), _) => execute::undo_relay(context, step, relay, history).await,
        (Undo::Silence(silence), _) => execute::undo_silence(context, step, silence).await,
        (Undo::SetAside(set_aside), _) => execute::undo_set_aside(context, step, set_aside, history).await,
        (Undo::Command(hook), _) => execute::undo_hook(context, step, hook, history).await,
        (Undo::Replica(replica), _) => execute::undo_replica(context, step, replica, history).await,
        (Undo::Decommission(back), _) => execute::undo_decommission(context, step, back).await,
        (Undo::Nothing | Undo::Members(_) | Undo::Ttl { .. } | Undo::Files { .. }, _) => {
            ended("there is nothing to put back")
        }
    }
}

/// Going back is moving traffic: who gets it again is looked at first, and on a whole way back time passes as on the way there.
async fn restore(context: &Context, step: &Step, back: &TrafficStep, before: &Pool, history: &History) -> Effect {
    let TrafficStep { director, pool, changes, back: rails, .. } = back;
    match wait::check(context, step, &rails.checks).await {
        Effect::Ended(StepResult::Done { .. }) => {}
        other => return other,
    }
    let applied = traffic::put_back(context, step, director, pool, changes, before).await;
    if !is_done(&applied) || !history.ramped {
        return applied;
    }
    if rails.settle {
        let settled = wait::settle(context, step, director, pool, None).await;
        // Whoever still has the old answer comes to a target that is about to be frozen.
        let frozen_next = rails.freezes || !rails.empty.is_empty();
        if matches!(settled, Effect::Interrupted) || (frozen_next && !is_done(&settled)) {
            return settled;
        }
    }
    let is_meant = |who, by: &str| !wait::is_forgotten(Mutant::ForgetsADirectorBack, who, by);
    let connections = rails.connections.iter().filter(|work| is_meant(work.who(), &work.drained_by));
    let let_go = connections.map(|work| connections::let_go(context, step, work, history));
    for effect in join_all(let_go).await {
        if !is_done(&effect) {
            return effect;
        }
    }
    let emptied = rails.empty.iter().filter(|_| !mutant::is(Mutant::FreezeBusyTarget));
    for empty in emptied.filter(|empty| is_meant(empty.who(), &empty.drained_by)) {
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
    Effect::Ended(StepResult::Done { evidence: evidence.to_owned(), millis: 0, figures: None })
}

/// What a failed step makes the run put back, for popping from the end.
pub(super) fn on_failure(state: &RunState, failed: &Step) -> Vec<String> {
    let late = match &failed.kind {
        StepKind::Empty(step) => Some((step.on_deadline, &step.drained_by)),
        StepKind::Connections(step) => Some((step.on_deadline, &step.drained_by)),
        _ => None,
    };
    if let Some((OnDeadline::Restore, drained_by)) = late {
        return state.graph.steps.position(drained_by).map(|at| back_to(state, at)).unwrap_or_default();
    }
    if failed.on_failure != OnFailure::StepBack {
        return Vec::new();
    }
    last_shift(state, failed).map(|shift| back_to(state, shift)).unwrap_or_default()
}

/// What several failures make the run put back, in one order: for popping from the end.
pub(super) fn together(state: &RunState, some: &[String], more: Vec<String>) -> Vec<String> {
    let steps = &state.graph.steps;
    let positions: BTreeSet<usize> = some.iter().chain(&more).filter_map(|id| steps.position(id)).collect();
    positions.into_iter().filter_map(|at| steps.get(at)).map(|step| step.id.clone()).collect()
}

/// Whether a pair goes back into service when a step of its freeze fails.
pub(super) fn ends_a_freeze(failed: &Step) -> bool {
    failed.freeze.is_some() || matches!(&failed.kind, StepKind::Replica(replica) if replica.gives_up())
}

/// How a frozen pair goes back into service on its source: the step from which on everything is put back, and all of that, for popping from
/// the end. `None` where something of it cannot be put back, or the target may take writes.
pub(super) fn release(state: &RunState, step: &Step) -> Option<(String, Vec<String>)> {
    let from = released_from(state, step)?;
    let begun: Vec<&Step> = begun(state, state.graph.steps.dependents(from)).collect();
    let thaws = |s: &Step| matches!(&s.kind, StepKind::Hook(hook) if hook.at == HookPoint::Thaw);
    let is_for_good = |s: &&Step| s.no_return.is_some() || !s.opens.is_empty() || thaws(s);
    if begun.is_empty() || (begun.iter().any(is_for_good) && !mutant::is(Mutant::ReleasesAfterPromote)) {
        return None;
    }
    let id = state.graph.steps.get(from)?.id.clone();
    Some((id, begun.into_iter().map(|step| step.id.clone()).collect()))
}

/// What is left of releases that another controller has begun.
pub(super) fn open_releases(state: &RunState) -> Vec<(String, Vec<String>)> {
    if state.direction != Direction::Forward {
        return Vec::new();
    }
    let open = state.releases.iter().filter(|(_, release)| release.ended.is_none());
    let open = open.filter_map(|(from, _)| Some((from.clone(), back_to(state, state.graph.steps.position(from)?))));
    open.filter(|(_, left)| !left.is_empty()).collect()
}

/// The first step that took the pair out of service, or what brought its target in step right before, so that the next freeze is as short
/// as that can make it.
fn released_from(state: &RunState, step: &Step) -> Option<usize> {
    let steps = &state.graph.steps;
    let leaves = |s: &Step| {
        let freeze = matches!(&s.kind, StepKind::Hook(hook) if hook.at == HookPoint::Freeze);
        freeze || s.urgent || s.kind.purpose() == Some(Purpose::Drain)
    };
    let earlier = steps.earlier_of_pair(step);
    let own = steps.position(&step.id);
    let first = earlier.iter().copied().chain(own).find(|at| steps.get(*at).is_some_and(|s| leaves(s)))?;
    let mut from = first;
    for at in earlier.range(..first).rev() {
        let Some(before) = steps.get(*at).filter(|s| s.no_return.is_none()) else { break };
        match (before.kind.brings_in_step(), from == first) {
            (true, _) => from = *at,
            (false, true) => {}
            (false, false) => break,
        }
    }
    Some(from)
}

/// Since when the pair of a step is frozen, by the steps whose time is bounded.
pub(super) fn frozen_since(state: &RunState, step: &Step) -> Option<Timestamp> {
    let own = state.graph.steps.position(&step.id);
    let bounded = |at: &usize| state.graph.steps.get(*at).is_some_and(|s| s.freeze.is_some());
    let steps = state.graph.steps.earlier_of_pair(step).into_iter().chain(own).filter(bounded);
    steps.filter_map(|at| state.at(at)?.first).min()
}

/// The shift that came right before a step, for the same pairs. Where all pairs are shifted together, taking a source out is one of its own.
fn last_shift(state: &RunState, failed: &Step) -> Option<usize> {
    let steps = &state.graph.steps;
    let same = |s: &Step| s.service == failed.service && s.pair == failed.pair;
    let share = |s: &Step| s.kind.purpose().and_then(Purpose::share);
    let by_itself = steps.iter().any(|s| same(s) && share(s).is_some());
    let is_shift = |s: &Step| match s.kind.purpose() {
        Some(Purpose::Drain) => !by_itself && s.no_return.is_none(),
        _ => share(s).is_some() && s.no_return.is_none(),
    };
    let shifted = |at: &usize| {
        steps.get(*at).is_some_and(|s| is_shift(s)) && state.at(*at).is_some_and(|r| r.state == StepState::Done)
    };
    let earlier = steps.earlier_of_pair(failed);
    let last = earlier.iter().copied().rev().find(shifted)?;
    // The first of those that set the same share: there may be several directors.
    let purpose = |at: usize| steps.get(at).and_then(|s| s.kind.purpose());
    let same_share = |at: &usize| shifted(at) && purpose(*at) == purpose(last);
    earlier.into_iter().find(same_share)
}

/// What is put back before a pair whose source has got traffic back can be copied again: all that came after the proof of its copy, while
/// its target has had no traffic. For popping from the end.
pub(super) fn to_the_proof(state: &RunState, step: &Step, drifted: &[String]) -> Vec<String> {
    let is_proof = |s: &Step| {
        let Some(source) = s.kind.confirms() else { return false };
        let same = (&s.service, &s.pair) == (&step.service, &step.pair);
        same && source.since.is_some() && source.places().any(|(_, member)| drifted.contains(member))
    };
    let Some(at) = state.graph.steps.iter().position(is_proof) else { return Vec::new() };
    if state.at(at).is_none_or(|record| record.state != StepState::Done) {
        return Vec::new();
    }
    let begun: Vec<&Step> = begun(state, state.graph.steps.dependents(at)).collect();
    let too_late =
        begun.iter().any(|s| closes(state, s).is_some() || s.kind.purpose().is_some() || !s.opens.is_empty());
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
            let undoing = |at: &usize| state.at(*at).is_some_and(|r| r.state == StepState::Undoing);
            begun(state, (0..state.graph.steps.len()).filter(undoing)).map(|s| s.id.clone()).collect()
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
