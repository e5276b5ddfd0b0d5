//! What unfinished runs of other plans still have: two runs over the same hosts or pools undo what the other has done, whether or not a
//! controller is at work on the first one.
//!
//! Must never pass over a run of which nobody can tell what it has.

use std::collections::BTreeSet;

use super::environment::Environment;
use super::runs::{self, Run};
use crate::event::RunState;
use crate::lock;
use crate::model::finding::Finding;
use crate::render::{self, RunRow};
use crate::spec::Plan;
use crate::store::StoreError;
use crate::text;

/// Hosts and pools that are named of one run.
const SHOWN: usize = 6;

/// What speaks against a new run of this plan, by what others have.
pub fn of_others(environment: &Environment, plan: &Plan) -> Result<Vec<Finding>, StoreError> {
    let wanted = lock::of_plan(plan);
    let mut found = Vec::new();
    for run in runs::all(environment)?.into_iter().filter(|run| !run.is_of(&plan.name)) {
        match run.state(environment) {
            Ok(state) if runs::has_ended(&state) => {}
            Ok(state) => found.extend(claimed(environment, &run, &state, &wanted)),
            Err(e) => found.push(unreadable(environment, &run, &e)),
        }
    }
    Ok(found)
}

fn claimed(environment: &Environment, run: &Run, state: &RunState, wanted: &BTreeSet<String>) -> Option<Finding> {
    let own = lock::of_run(state);
    let mut both: Vec<String> = own.intersection(wanted).filter_map(|name| lock::for_people(name)).collect();
    if both.is_empty() {
        return None;
    }
    if let Some(more) = both.len().checked_sub(SHOWN).filter(|more| *more > 1) {
        both.truncate(SHOWN);
        both.push(format!("{more} more"));
    }
    let status = RunRow::new(&run.name, Ok(state), environment.store.is_live(&run.name)).status;
    let (plan, since) = (&state.started.plan, render::when(state.started_at));
    let what = format!(
        "of plan {plan}, begun {since}, is not finished ({status} since {}) and has {}: two runs over the same hosts or pools undo what \
         the other has done",
        render::when(state.last_at),
        text::list(&both)
    );
    let hint = format!(
        "go on with it: `{1}`; take it back: `migrate rollback {0}`; or, when neither is wanted any more, give it up: \
         `migrate abandon {0} --why TEXT`",
        run.name,
        render::apply_again(state)
    );
    Some(Finding::refused(format!("run {}", run.name), what).hint(hint))
}

fn unreadable(environment: &Environment, run: &Run, why: &StoreError) -> Finding {
    let what = format!("cannot be read, so nobody can tell which hosts and pools it has: {why}");
    let hint = format!(
        "put its journal back from a copy (`migrate audit verify {0}` tells more); or, once you have seen that nothing of it is open, move {1} away",
        run.name,
        environment.store.place(&run.name)
    );
    Finding::refused(format!("run {}", run.name), what).hint(hint)
}
