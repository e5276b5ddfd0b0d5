//! `ramp`: both sides serve, weights move in steps, then the sources are drained.

use std::time::Duration;

use super::cutover::{settle, wait_empty};
use super::pool::{self, Member, PoolPlan};
use super::service::{PairPlan, ServicePlan};
use super::{Chain, Steps};
use crate::model::HookPoint;
use crate::model::finding::Finding;
use crate::model::{Change, Mode, Weights};
use crate::step::{Comparison, CopyPass, LowerTtlStep, Purpose, RestoreTtlStep, SettleStep, StepKind, WayBack};

/// Adds the steps of a service; returns those that end it.
pub fn compile(
    plan: &ServicePlan<'_>,
    steps: &mut Steps,
    findings: &mut Vec<Finding>,
    before: &[String],
) -> Vec<String> {
    let moved = |p: &PairPlan<'_>| match (&plan.pool, &p.members) {
        (Some(pool), Some(members)) => pool.moved(members),
        _ => false,
    };
    if plan.pairs.iter().all(moved) {
        return Vec::new();
    }
    match lay_out(plan, steps, findings, before) {
        Ok(ends) => ends,
        Err(finding) => {
            findings.push(finding);
            Vec::new()
        }
    }
}

fn lay_out(
    plan: &ServicePlan<'_>,
    steps: &mut Steps,
    findings: &mut Vec<Finding>,
    before: &[String],
) -> Result<Vec<String>, Finding> {
    let mut service = plan.chain(None, before.to_vec());
    let ttl = lower_ttl(plan, &mut service, steps);
    let mut ready = service.ends();
    for pair in &plan.pairs {
        ready.extend(prepare(plan, pair, steps, before)?);
    }
    let mut chain = plan.chain(None, Vec::new());
    chain.wait_for(ready);
    if let Some(pool) = &plan.pool {
        plan.check_service(&mut chain, steps);
        shift(plan, pool, &mut chain, steps, findings);
    }
    let mut ends = Vec::new();
    for pair in &plan.pairs {
        ends.extend(conclude(plan, pair, steps, chain.ends())?);
    }
    Ok(restore_ttl(plan, ttl, ends, steps))
}

/// Everything for a pair before it gets traffic.
fn prepare(
    plan: &ServicePlan<'_>,
    pair: &PairPlan<'_>,
    steps: &mut Steps,
    before: &[String],
) -> Result<Vec<String>, Finding> {
    let chain = &mut plan.chain(Some(pair.pair), before.to_vec());
    plan.hooks(chain, steps, pair, HookPoint::BeforePair)?;
    plan.hooks(chain, steps, pair, HookPoint::BeforeSeed)?;
    plan.copies(chain, steps, pair, CopyPass::Seed, "seed");
    plan.comparisons(chain, steps, pair, Comparison::Whole, "verify");
    plan.hooks(chain, steps, pair, HookPoint::AfterSeed)?;
    plan.check(chain, steps, pair);
    plan.hooks(chain, steps, pair, HookPoint::BeforeShift)?;
    Ok(chain.ends())
}

/// Weights in steps, all pairs of the service together.
fn shift(
    plan: &ServicePlan<'_>,
    pool: &PoolPlan<'_>,
    chain: &mut Chain,
    steps: &mut Steps,
    findings: &mut Vec<Finding>,
) {
    let members: Vec<&(Member, Member)> = plan.pairs.iter().filter_map(|p| p.members.as_ref()).collect();
    let id = |name: String| format!("{}/{name}", plan.service.name);
    let mut last = None;
    let mut idle = Vec::new();
    for share in &plan.service.shift.steps {
        let changes = changes_at(pool, &members, *share);
        if last.as_ref() == Some(&changes) {
            idle.push(*share);
            continue;
        }
        let back = plan.way_back(plan.pairs.iter(), plan.service.shift.hold);
        chain.add(steps, &id(format!("shift-{share}")), pool.step(changes.clone(), Purpose::Shift(*share), back));
        settle(pool, chain, steps, &id(format!("shift-{share}-settle")));
        chain.add(steps, &id(format!("watch-{share}")), plan.watch(plan.pairs.iter()));
        last = Some(changes);
    }
    findings.extend(pool.advice(&members, &plan.service.shift.steps, &idle));
}

/// The settings at a share: targets first, so that capacity never dips.
fn changes_at(pool: &PoolPlan<'_>, members: &[&(Member, Member)], share: u8) -> Vec<Change> {
    match pool.can.weights {
        Weights::Exact(_) => {
            let raised = members.iter().map(|(_, target)| pool::raise(target, share));
            let lowered = members.iter().map(|(source, _)| pool::lower(source, share));
            if share == 100 { raised.collect() } else { raised.chain(lowered).collect() }
        }
        Weights::Presence => {
            let n = members.len() as u64;
            let targets = (n * u64::from(share)).div_ceil(100);
            let gone = n * u64::from(share) / 100;
            let present = |name: &str, there: bool| Change {
                member: name.to_owned(),
                weight: u16::from(there),
                mode: Mode::Ready,
            };
            let raised = members.iter().zip(0..).map(|((_, t), i)| present(&t.name, i < targets));
            let lowered = members.iter().zip(0..).map(|((s, _), i)| present(&s.name, i >= gone));
            if share == 100 { raised.collect() } else { raised.chain(lowered).collect() }
        }
    }
}

/// Empties and retires a source once the targets have everything.
fn conclude(
    plan: &ServicePlan<'_>,
    pair: &PairPlan<'_>,
    steps: &mut Steps,
    after: Vec<String>,
) -> Result<Vec<String>, Finding> {
    let chain = &mut plan.chain(Some(pair.pair), after);
    plan.hooks(chain, steps, pair, HookPoint::AfterShift)?;
    plan.hooks(chain, steps, pair, HookPoint::BeforeDrain)?;
    if let (Some(pool), Some((source, _))) = (&plan.pool, &pair.members) {
        let back = plan.way_back(std::iter::once(pair), Duration::ZERO);
        let drain = pool.step(vec![pool::drain(source, pool.can)], Purpose::Drain, back);
        let drained = chain.add(steps, &plan.id(pair, "drain"), drain);
        settle(pool, chain, steps, &plan.id(pair, "drain-settle"));
        wait_empty(plan, pair, chain, steps, drained);
        plan.hooks(chain, steps, pair, HookPoint::AfterDrain)?;
        if pool.can.drain {
            chain.add(
                steps,
                &plan.id(pair, "retire"),
                pool.step(vec![pool::retire(source)], Purpose::Retire, WayBack::default()),
            );
        }
    }
    plan.hooks(chain, steps, pair, HookPoint::AfterPair)?;
    plan.clean_up(chain, steps, pair);
    Ok(chain.ends())
}

/// Lowers the TTL ahead, where the plan wants it and it is not low already; returns the id of the step.
pub fn lower_ttl(plan: &ServicePlan<'_>, chain: &mut Chain, steps: &mut Steps) -> Option<String> {
    let pool = plan.pool.as_ref()?;
    let ttl = pool.traffic.ttl.filter(|_| pool.can.ttl)?;
    if pool.now.and_then(|p| p.ttl).is_some_and(|now| now <= ttl) {
        return None;
    }
    let (director, name) = (pool.traffic.director.clone(), pool.traffic.pool.clone());
    let id = format!("{}/lower-ttl", plan.service.name);
    chain.add(steps, &id, StepKind::LowerTtl(LowerTtlStep { director: director.clone(), pool: name.clone(), ttl }));
    let settle = StepKind::Settle(SettleStep { director, pool: name, outlast: Some(id.clone()) });
    chain.add(steps, &format!("{}/old-ttl", plan.service.name), settle);
    Some(id)
}

/// Puts the TTL back after `ends`; returns what ends the service then.
pub fn restore_ttl(
    plan: &ServicePlan<'_>,
    lowered: Option<String>,
    ends: Vec<String>,
    steps: &mut Steps,
) -> Vec<String> {
    let (Some(pool), Some(found_by)) = (&plan.pool, lowered) else { return ends };
    let mut chain = plan.chain(None, ends);
    let (director, name) = (pool.traffic.director.clone(), pool.traffic.pool.clone());
    chain.add(
        steps,
        &format!("{}/restore-ttl", plan.service.name),
        StepKind::RestoreTtl(RestoreTtlStep { director, pool: name, found_by }),
    );
    chain.ends()
}
