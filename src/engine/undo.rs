//! Undoing: puts back what a step found, and says which steps a failure makes it put back.
//!
//! Must never undo a step while something that depends on it is still in effect.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::execute::{Context, Effect, Found, traffic};
use crate::event::{Before, RunState, StepResult, StepState};
use crate::planner::graph::{Step, StepKind};
use crate::spec::model::OnDeadline;

/// Puts back what the step found.
pub(super) async fn undo(context: &Context, step: &Step, found: &Found) -> Effect {
    match (&step.kind, &found.before) {
        (StepKind::Traffic { director, pool, changes, .. }, Some(Before::Pool(before))) => {
            traffic::restore(context, director, pool, changes, before).await
        }
        (
            StepKind::LowerTtl { director, pool, .. } | StepKind::RestoreTtl { director, pool, .. },
            Some(Before::Ttl(ttl)),
        ) => traffic::set_ttl(context, director, pool, *ttl).await,
        _ => {
            Effect::Ended(StepResult::Done { evidence: "there is nothing to put back".into(), before: None, millis: 0 })
        }
    }
}

/// The steps to undo, last one first in the queue's popping order, when this one has failed.
pub(super) fn on_failure(steps: &BTreeMap<String, Arc<Step>>, state: &RunState, failed: &str) -> Vec<String> {
    let Some(step) = steps.get(failed) else { return Vec::new() };
    match &step.kind {
        StepKind::Empty { on_deadline: OnDeadline::Restore, drained_by, .. } => back_to(state, drained_by),
        _ => Vec::new(),
    }
}

/// Everything that has begun and depends on `first`, and `first` itself; the graph's order, so that popping goes backwards.
fn back_to(state: &RunState, first: &str) -> Vec<String> {
    let mut reached: BTreeSet<&str> = BTreeSet::from([first]);
    let mut order = Vec::new();
    for step in &state.started.graph.steps {
        if step.id == first || step.after.iter().any(|a| reached.contains(a.as_str())) {
            reached.insert(&step.id);
            if state.step(&step.id).state != StepState::Waiting {
                order.push(step.id.clone());
            }
        }
    }
    order
}
