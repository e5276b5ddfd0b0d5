//! What the ended runs of a plan have seen of sources that it gives back, newest first.
//!
//! Must never pass over a run that may have done something with such a host since.

use std::collections::BTreeMap;

use super::environment::Environment;
use super::pinned::Texts;
use super::runs::{self, Run};
use crate::event::{RunState, StepState};
use crate::planner::earlier::{self, Earlier, Ended};
use crate::spec::Spec;

/// By source.
pub fn of_runs(environment: &Environment, spec: &Spec) -> anyhow::Result<BTreeMap<String, Earlier>> {
    let mut known = BTreeMap::new();
    if earlier::wanted(spec).next().is_none() {
        return Ok(known);
    }
    for run in runs::all(environment)?.into_iter().rev() {
        if earlier::wanted(spec).all(|(_, _, pair)| known.contains_key(&pair.source)) {
            break;
        }
        match run.is_of(&spec.plan.name) {
            true => of_own(environment, spec, &run, &mut known),
            false => of_other(environment, spec, &run, &mut known),
        }
    }
    Ok(known)
}

fn of_own(environment: &Environment, spec: &Spec, run: &Run, known: &mut BTreeMap<String, Earlier>) {
    let Some((then, state)) = read(environment, run) else {
        let unread = format!("{} cannot be read any more", run.name);
        return bar(known, spec, &run.name, &unread, |_| true);
    };
    let done = |id: &str| state.state_of(id) == Some(StepState::Done);
    earlier::add(known, &Ended { run: &run.name, spec: &then, steps: &state.graph.steps, done: &done }, spec);
}

fn read(environment: &Environment, run: &Run) -> Option<(Spec, RunState)> {
    let state = run.state(environment).ok()?;
    let then = Texts::of(environment, &state.started, None).ok()?.spec(environment).ok()?;
    Some((then, state))
}

/// Another plan may have moved something to such a host since.
fn of_other(environment: &Environment, spec: &Spec, run: &Run, known: &mut BTreeMap<String, Earlier>) {
    let Ok(state) = run.state(environment) else {
        let unread = format!("{} cannot be read, and may have moved something to it since", run.name);
        return bar(known, spec, &run.name, &unread, |_| true);
    };
    let since = format!("{} has moved something to it since", run.name);
    bar(known, spec, &run.name, &since, |source| {
        let begun = |id: &str| state.step(id).is_some_and(|record| record.state != StepState::Waiting);
        let mut steps = state.graph.steps.iter();
        steps.any(|step| step.pair.as_ref().is_some_and(|pair| pair.target == source) && begun(&step.id))
    });
}

fn bar(
    known: &mut BTreeMap<String, Earlier>,
    spec: &Spec,
    run: &str,
    why: &str,
    speaks_against: impl Fn(&str) -> bool,
) {
    for (_, _, pair) in earlier::wanted(spec).filter(|(_, _, pair)| speaks_against(&pair.source)) {
        let barred = Earlier { run: run.to_owned(), members: Vec::new(), against: Some(why.to_owned()) };
        known.entry(pair.source.clone()).or_insert(barred);
    }
}
