//! Where it is looked whether what was set is still so, and whether all who serve are well: around the last pass of a pair, at the end of
//! waves, and at the end of the plan.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::service::{PairPlan, Place, ServicePlan};
use super::{connections, traffic};
use crate::check::{Checks, PoolRef, SubjectName};
use crate::model::{OnFailure, Strategy};
use crate::step::{CheckStep, ConfirmStep, Draft, Drained, Fenced, LeftOut, Moment, Step, StepKind};

/// The name of the step before the last pass.
const DRAINED: &str = "confirm-drain";

/// Before the last pass: the source is drained everywhere, and its sessions are noted.
pub fn drained(plan: &ServicePlan<'_>, pair: &PairPlan<'_>) -> Vec<Draft> {
    let again = emptied(plan, pair);
    let draft =
        |place: Place<'_>| Some(Draft::new(place.pool.named(DRAINED), step(plan, pair, place, None, again.clone())?));
    plan.members(pair).filter_map(draft).collect()
}

/// Once the copy is proved: the source has stayed without traffic, or is copied again.
pub fn throughout(plan: &ServicePlan<'_>, pair: &PairPlan<'_>) -> Vec<Draft> {
    let of = |moment| pair.states.iter().flat_map(move |state| state.state.steps(moment));
    let carried: Vec<StepKind> = of(Moment::Frozen).chain(of(Moment::Proved)).map(|draft| draft.kind).collect();
    if carried.is_empty() {
        return Vec::new();
    }
    let again: Vec<StepKind> = emptied(plan, pair).into_iter().chain(carried).collect();
    let draft = |place: Place<'_>| {
        let since = Some(plan.id(Some(pair), &place.pool.named(DRAINED)));
        Some(Draft::new(place.pool.named("confirm-proof"), step(plan, pair, place, since, again.clone())?))
    };
    plan.members(pair).filter_map(draft).collect()
}

/// How a source is waited for that has got traffic again.
fn emptied(plan: &ServicePlan<'_>, pair: &PairPlan<'_>) -> Vec<StepKind> {
    let settle = plan.pools.iter().filter_map(traffic::settled);
    let connections = plan.members(pair).filter_map(|place| connections::of_source(plan, pair, place));
    let connections = connections.map(|step| StepKind::Connections(Box::new(step)));
    let empty = plan.members(pair).filter_map(|place| traffic::empty(plan, pair, place));
    settle.chain(connections).chain(empty).collect()
}

/// A look at all pools of a service, and at how many sessions a source has got in one of them.
fn step(
    plan: &ServicePlan<'_>,
    pair: &PairPlan<'_>,
    place: Place<'_>,
    since: Option<String>,
    again: Vec<StepKind>,
) -> Option<StepKind> {
    if plan.service.strategy != Strategy::Cutover {
        return None;
    }
    let pools = traffic::pools(plan);
    let own = place.pool.traffic.pool_ref();
    let also = plan.members(pair).map(|other| (other.pool.traffic.pool_ref(), other.source.name.clone()));
    let also = also.filter(|(pool, _)| *pool != own).collect();
    let (member, drained_by) = (place.source.name.clone(), plan.id(Some(pair), &place.pool.named("drain")));
    let source = Drained { pool: own, member, also, drained_by, since, again };
    let fenced = traffic::fence(plan, pair).map(|fence| Fenced { by: plan.id(Some(pair), traffic::FENCE), fence });
    Some(StepKind::Confirm(Box::new(ConfirmStep { pools, source: Some(source), fenced })))
}

/// What is looked at in the end: all targets of a service, whoever of them has moved when, but those that a run moves without.
pub struct LastLook {
    service: String,
    checks: Checks,
    on_failure: OnFailure,
}

impl LastLook {
    /// Of a service that has checks.
    pub fn of(plan: &ServicePlan<'_>, left_out: &[LeftOut]) -> Option<Self> {
        let service = plan.service;
        let without: BTreeSet<&str> = left_out.iter().map(|left| left.pair.target.as_str()).collect();
        let targets = service.pairs.iter().map(|pair| &pair.target).filter(|target| !without.contains(target.as_str()));
        let checks = service.all_checks(targets.map(|target| SubjectName::host(target)));
        let (name, on_failure) = (service.name.to_string(), service.on_failure);
        (!checks.is_empty()).then_some(Self { service: name, checks, on_failure })
    }
}

/// Looks at these behind `ends`; what comes next waits for what is returned.
pub fn look(steps: &mut Vec<Arc<Step>>, looks: &[LastLook], name: &str, ends: Vec<String>) -> Vec<String> {
    let Some(wave) = steps.last().map(|step| step.wave.clone()).filter(|_| !looks.is_empty()) else { return ends };
    let step = |look: &LastLook| {
        let kind = StepKind::Check(CheckStep { checks: look.checks.clone(), serving: true });
        let id = format!("{}/{name}", look.service);
        Step { on_failure: look.on_failure, ..Step::of_wave(id, wave.clone(), kind, ends.clone()) }
    };
    let added: Vec<Step> = looks.iter().map(step).collect();
    let ids = added.iter().map(|step| step.id.clone()).collect();
    steps.extend(added.into_iter().map(Arc::new));
    ids
}

/// Behind everything else: all pools of the plan.
pub fn at_the_end(ends: &[String], steps: &[Arc<Step>], pools: BTreeSet<PoolRef>) -> Option<Step> {
    let wave = steps.last().filter(|_| !pools.is_empty())?.wave.clone();
    let looks = ConfirmStep { pools: pools.into_iter().collect(), source: None, fenced: None };
    Some(Step::of_wave(format!("{wave}/confirm"), wave, StepKind::Confirm(Box::new(looks)), ends.to_vec()))
}
