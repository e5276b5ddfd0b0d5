//! What earlier steps and attempts found.
//!
//! Owns what a step is told of the run before it acts. Must never hold more than one step needs.

use std::time::Duration;

use jiff::Timestamp;

use super::replica::Related;
use crate::check::{Checks, PoolRef};
use crate::event::{Before, Direction, DriftRecord, Relayed, RunState};
use crate::model::Pool;
use crate::step::{Purpose, Step, StepKind};

/// What earlier steps and attempts found, as far as this step needs it.
pub struct History {
    /// What was there before this step's first attempt.
    pub before: Option<Before>,
    /// Whether the whole run goes back, in steps, as it came.
    pub ramped: bool,
    /// The TTL that the step named by `found_by` or `outlast` found.
    pub ttl: Option<Duration>,
    /// The pool as the step named by `found_by` found it.
    pub seen: Option<Pool>,
    /// Whether a source has got traffic back since then, as the journal says.
    pub drifted: bool,
    /// How often this step has failed for certain since it was last undone.
    pub failures: u32,
    /// Executions of this step whose end is known: a new try of a command is a new key.
    pub settled: u32,
    /// Attempts of this step and of its undo, the one that has begun included.
    pub attempts: u32,
    /// Whether what this step has begun may still go on.
    pub in_flight: bool,
    /// Whether the attempt before this one has an end that nobody knows.
    pub unclear: bool,
    /// What is known of other steps of the same replica.
    pub related: Related,
    /// Whether the target may have taken writes that the undo of this step has to bring back.
    pub opened: bool,
    /// When the last of the steps ended that this one waits for.
    pub since: Option<Timestamp>,
    /// Targets of other pairs that had moved before this pair left service, and what they are asked.
    pub moved: Checks,
    /// Who has come to the source that this step watches, as the journal has it.
    pub relayed: Relayed,
    /// Pairs of the batch that this step ends which have not moved, by their sources.
    pub left: Vec<String>,
}

impl History {
    pub fn new(state: &RunState, step: &Step) -> Self {
        let (ttl, seen) = match step.kind.found_by().and_then(|id| state.step(id)?.before.clone()) {
            Some(Before::Ttl(ttl)) => (Some(ttl), None),
            Some(Before::Pool(pool)) => (None, Some(pool)),
            Some(Before::Files(_) | Before::Position(_)) | None => (None, None),
        };
        let record = state.step(&step.id).cloned().unwrap_or_default();
        let ramped = matches!(state.direction, Direction::Back { .. });
        Self {
            before: record.before,
            ramped,
            ttl,
            seen,
            drifted: has_drifted(state, step),
            failures: record.failures,
            settled: record.settled,
            attempts: record.attempts,
            in_flight: record.in_flight,
            unclear: record.unclear,
            related: Related::new(state, step),
            opened: record.opened,
            moved: moved(state, step),
            relayed: state.relayed.get(&step.id).cloned().unwrap_or_default(),
            left: match step.kind {
                StepKind::Batch(_) => state.not_moved(step).into_iter().map(str::to_owned).collect(),
                _ => Vec::new(),
            },
            since: step.after.iter().filter_map(|id| state.step(id)?.ended).max(),
        }
    }
}

/// Whom the pair of a shift looked at before it left service.
fn moved(state: &RunState, step: &Step) -> Checks {
    if !matches!(step.kind.purpose(), Some(Purpose::Shift(_))) {
        return Checks::default();
    }
    let looked = |at: usize| match &state.graph.steps.get(at)?.kind {
        StepKind::Check(check) if check.serving => Some(check.checks.clone()),
        _ => None,
    };
    let leaves = |at: &usize| state.graph.steps.get(*at).is_some_and(|s| s.kind.purpose() == Some(Purpose::Drain));
    let earlier = state.graph.steps.earlier_of_pair(step);
    let Some(left) = earlier.iter().find(|at| leaves(at)) else { return Checks::default() };
    earlier.range(..*left).copied().find_map(looked).unwrap_or_default()
}

/// Whether the source that a step looks at was found with traffic since the step before looked.
fn has_drifted(state: &RunState, step: &Step) -> bool {
    let Some(source) = step.kind.confirms() else { return false };
    let before = source.since.as_ref().unwrap_or(&source.drained_by);
    let Some(since) = state.step(before).and_then(|record| record.began) else { return false };
    let of_source = |d: &DriftRecord| {
        let here = |(pool, member): (&PoolRef, &String)| {
            (&d.director, &d.pool) == (&pool.director, &pool.pool)
                && (d.members.is_empty() || d.members.iter().any(|m| m.member == *member))
        };
        source.places().any(here)
    };
    state.drifts.iter().any(|drift| drift.at >= since && of_source(drift))
}
