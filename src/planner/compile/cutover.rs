//! `cutover`: one writer at a time, pair by pair.
//!
//! seed → (slot) → catch up → verify ahead → catch up → drain → empty → freeze → last pass → streams → verify → thaw → check → shift in
//! steps → retire.

use std::time::Duration;

use super::pool::{self, PoolPlan};
use super::service::{PairPlan, ServicePlan};
use super::{Chain, Slots, Steps};
use crate::model::HookPoint;
use crate::model::finding::Finding;
use crate::step::{Comparison, CopyPass, EmptyStep, Purpose, SettleStep, StepKind, WayBack};

/// Adds the steps of a service; returns those that end it.
pub fn compile(
    plan: &ServicePlan<'_>,
    steps: &mut Steps,
    findings: &mut Vec<Finding>,
    before: &[String],
    slots: &mut Slots,
) -> Vec<String> {
    let pairs = remaining(plan, findings);
    if pairs.is_empty() {
        return Vec::new();
    }
    if let Some(pool) = &plan.pool {
        let members: Vec<_> = pairs.iter().filter_map(|p| p.members.as_ref()).collect();
        findings.extend(pool.advice(&members, &[], &[]));
    }
    let mut chain = plan.chain(None, before.to_vec());
    let ttl = super::ramp::lower_ttl(plan, &mut chain, steps);
    let mut ends = Vec::new();
    for pair in pairs {
        match compile_pair(plan, pair, steps, before, slots, ttl.as_ref().map(|_| chain.ends())) {
            Ok(end) => ends.extend(end),
            Err(finding) => findings.push(finding),
        }
    }
    super::ramp::restore_ttl(plan, ttl, ends, steps)
}

fn compile_pair(
    plan: &ServicePlan<'_>,
    pair: &PairPlan<'_>,
    steps: &mut Steps,
    before: &[String],
    slots: &mut Slots,
    ttl_lowered: Option<Vec<String>>,
) -> Result<Vec<String>, Finding> {
    let chain = &mut plan.chain(Some(pair.pair), before.to_vec());
    plan.hooks(chain, steps, pair, HookPoint::BeforePair)?;
    plan.hooks(chain, steps, pair, HookPoint::BeforeSeed)?;
    plan.copies(chain, steps, pair, CopyPass::Seed, "seed");
    plan.hooks(chain, steps, pair, HookPoint::AfterSeed)?;
    // Caught up only once it is this pair's turn, so that little is left for the freeze however long the others took.
    chain.wait_for(slots.next());
    chain.wait_for(ttl_lowered.into_iter().flatten());
    plan.copies(chain, steps, pair, CopyPass::CatchUp, "catch-up");
    plan.verify_ahead(chain, steps, pair);
    plan.hooks(chain, steps, pair, HookPoint::BeforeDrain)?;
    empty_source(plan, pair, chain, steps);
    plan.hooks(chain, steps, pair, HookPoint::AfterDrain)?;
    hand_over(plan, pair, chain, steps)?;
    shift(plan, pair, chain, steps)?;
    slots.give(chain.ends());
    plan.hooks(chain, steps, pair, HookPoint::AfterPair)?;
    plan.clean_up(chain, steps, pair);
    Ok(chain.ends())
}

/// From the last write on the source to the first on the target: the part in which a run must not stop.
fn hand_over(plan: &ServicePlan<'_>, pair: &PairPlan<'_>, chain: &mut Chain, steps: &mut Steps) -> Result<(), Finding> {
    plan.hooks(chain, steps, pair, HookPoint::Freeze)?;
    chain.urgent(true);
    plan.copies(chain, steps, pair, CopyPass::Last, "last-pass");
    plan.streams(chain, steps, pair);
    plan.comparisons(chain, steps, pair, Comparison::Whole, "verify");
    plan.hooks(chain, steps, pair, HookPoint::Thaw)?;
    plan.check(chain, steps, pair);
    plan.hooks(chain, steps, pair, HookPoint::BeforeShift)
}

/// Takes the source out of its pool and waits until nothing is connected.
pub fn empty_source(plan: &ServicePlan<'_>, pair: &PairPlan<'_>, chain: &mut Chain, steps: &mut Steps) {
    let (Some(pool), Some((source, _))) = (&plan.pool, &pair.members) else { return };
    let back = plan.way_back(std::iter::once(pair), Duration::ZERO);
    let drain = pool.step(vec![pool::drain(source, pool.can)], Purpose::Drain, back);
    let drained_by = chain.add(steps, &plan.id(pair, "drain"), drain);
    settle(pool, chain, steps, &plan.id(pair, "drain-settle"));
    wait_empty(plan, pair, chain, steps, drained_by);
}

/// Waits until a drained source has no connections.
pub fn wait_empty(
    plan: &ServicePlan<'_>,
    pair: &PairPlan<'_>,
    chain: &mut Chain,
    steps: &mut Steps,
    drained_by: String,
) {
    let (Some(pool), Some((source, _))) = (&plan.pool, &pair.members) else { return };
    if !pool.can.connections && pair.port.is_none() {
        return;
    }
    let drain = &plan.service.drain;
    let kind = StepKind::Empty(EmptyStep {
        director: pool.traffic.director.clone(),
        pool: pool.traffic.pool.clone(),
        member: source.name.clone(),
        host: pair.source.name.clone(),
        port: pair.port,
        deadline: drain.deadline,
        interval: drain.interval,
        on_deadline: drain.on_deadline,
        drained_by,
    });
    chain.add(steps, &plan.id(pair, "empty"), kind);
}

/// Where answers are cached, waits until no old one is left.
pub fn settle(pool: &PoolPlan<'_>, chain: &mut Chain, steps: &mut Steps, id: &str) {
    if pool.can.ttl {
        let (director, pool) = (pool.traffic.director.clone(), pool.traffic.pool.clone());
        chain.add(steps, id, StepKind::Settle(SettleStep { director, pool, outlast: None }));
    }
}

fn shift(plan: &ServicePlan<'_>, pair: &PairPlan<'_>, chain: &mut Chain, steps: &mut Steps) -> Result<(), Finding> {
    if let (Some(pool), Some((source, target))) = (&plan.pool, &pair.members) {
        let mut last = None;
        for share in &plan.service.shift.steps {
            let change = pool::raise(target, *share);
            if last.as_ref() == Some(&change) {
                continue;
            }
            let back = WayBack { settle: pool.can.ttl, hold: plan.service.shift.hold, ..WayBack::default() };
            let step = pool.step(vec![change.clone()], Purpose::Shift(*share), back);
            chain.add(steps, &plan.id(pair, &format!("shift-{share}")), step);
            if last.is_none() && pair.has_state() {
                let (source, target) = (&pair.source.name, &pair.target.name);
                Chain::no_return(steps, format!("{target} may have taken writes that {source} does not have"));
            }
            chain.urgent(false);
            settle(pool, chain, steps, &plan.id(pair, &format!("shift-{share}-settle")));
            chain.add(steps, &plan.id(pair, &format!("watch-{share}")), plan.watch(std::iter::once(pair)));
            last = Some(change);
        }
        if pool.can.drain {
            chain.add(
                steps,
                &plan.id(pair, "retire"),
                pool.step(vec![pool::retire(source)], Purpose::Retire, WayBack::default()),
            );
        }
    }
    chain.urgent(false);
    plan.hooks(chain, steps, pair, HookPoint::AfterShift)
}

/// The pairs that have not moved yet. One whose target already takes traffic, while its source does not, is refused: its state
/// may have been written to over there, and copying again would lose that.
fn remaining<'p, 'a>(plan: &'p ServicePlan<'a>, findings: &mut Vec<Finding>) -> Vec<&'p PairPlan<'a>> {
    let mut left = Vec::new();
    for pair in &plan.pairs {
        let (Some(pool), Some(members)) = (&plan.pool, &pair.members) else {
            left.push(pair);
            continue;
        };
        if pool.moved(members) {
            continue;
        }
        if pool.serves(&members.1.name) && pair.has_state() {
            findings.push(
                Finding::refused(
                    format!("{} → {}", pair.source.name, pair.target.name),
                    format!(
                        "{} already takes traffic, and copying over it would undo what it has written",
                        pair.target.name
                    ),
                )
                .hint(
                    "go on with the run that began this (`migrate status`), or take the target out of the pool first",
                ),
            );
        }
        left.push(pair);
    }
    left
}
