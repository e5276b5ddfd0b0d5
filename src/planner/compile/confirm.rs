//! Where it is looked whether what was set is still so: around the last pass of a pair, and at the end of the plan.

use std::collections::BTreeSet;

use super::service::{PairPlan, ServicePlan};
use super::traffic;
use crate::check::PoolRef;
use crate::model::{OnFailure, Strategy};
use crate::step::{ConfirmStep, Draft, Drained, Fenced, Moment, Step, StepKind};

/// The name of the step before the last pass.
const DRAINED: &str = "confirm-drain";

/// Before the last pass: the source is drained, and its sessions are noted.
pub fn drained(plan: &ServicePlan<'_>, pair: &PairPlan<'_>) -> Option<Draft> {
    Some(Draft::new(DRAINED, step(plan, pair, None, emptied(plan, pair))?))
}

/// Once the copy is proved: the source has stayed without traffic, or is copied again.
pub fn throughout(plan: &ServicePlan<'_>, pair: &PairPlan<'_>) -> Option<Draft> {
    let of = |moment| pair.states.iter().flat_map(move |state| state.state.steps(moment));
    let carried: Vec<StepKind> = of(Moment::Frozen).chain(of(Moment::Proved)).map(|draft| draft.kind).collect();
    if carried.is_empty() {
        return None;
    }
    let again = emptied(plan, pair).into_iter().chain(carried).collect();
    let since = Some(plan.id(Some(pair), DRAINED));
    Some(Draft::new("confirm-proof", step(plan, pair, since, again)?))
}

/// How a source is waited for that has got traffic again.
fn emptied(plan: &ServicePlan<'_>, pair: &PairPlan<'_>) -> Vec<StepKind> {
    let settle = plan.pool.as_ref().and_then(traffic::settled);
    settle.into_iter().chain(traffic::empty(plan, pair)).collect()
}

fn step(plan: &ServicePlan<'_>, pair: &PairPlan<'_>, since: Option<String>, again: Vec<StepKind>) -> Option<StepKind> {
    let (pool, (source, _)) = plan.pool.as_ref().zip(pair.members.as_ref())?;
    if plan.service.strategy != Strategy::Cutover {
        return None;
    }
    let pool = pool.traffic.pool_ref();
    let (member, drained_by) = (source.name.clone(), plan.id(Some(pair), "drain"));
    let source = Drained { pool: pool.clone(), member, drained_by, since, again };
    let fenced = traffic::fence(plan, pair).map(|fence| Fenced { by: plan.id(Some(pair), traffic::FENCE), fence });
    Some(StepKind::Confirm(ConfirmStep { pools: vec![pool], source: Some(source), fenced }))
}

/// Behind everything else: all pools of the plan.
pub fn at_the_end(ends: &[String], steps: &[Step], pools: BTreeSet<PoolRef>) -> Option<Step> {
    let wave = steps.last().filter(|_| !pools.is_empty())?.wave.clone();
    Some(Step {
        id: format!("{wave}/confirm"),
        wave,
        service: String::new(),
        pair: None,
        kind: StepKind::Confirm(ConfirmStep { pools: pools.into_iter().collect(), source: None, fenced: None }),
        after: ends.to_vec(),
        urgent: false,
        on_failure: OnFailure::Hold,
        no_return: None,
        opens: Vec::new(),
        beside: None,
    })
}
