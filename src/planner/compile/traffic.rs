//! What a service with a pool contributes: shares that rise, sources that are drained and retired, a TTL that is low meanwhile.

use std::time::Duration;

use super::Compilation;
use super::pool::{self, Member, PoolPlan};
use super::service::{PairPlan, ServicePlan};
use crate::model::finding::Finding;
use crate::model::{Change, Mode, Strategy, Weights};
use crate::step::{
    CheckStep, Draft, EmptyStep, LowerTtlStep, Moment, Purpose, RestoreTtlStep, SettleStep, StepKind, WatchStep,
    WayBack,
};

/// What is done for all pairs together.
pub fn together(plan: &ServicePlan<'_>, moment: Moment, findings: &mut Vec<Finding>) -> Vec<Draft> {
    match (moment, &plan.pool) {
        (Moment::Checked, Some(_)) => check(plan).into_iter().collect(),
        (Moment::Shifted, Some(pool)) => shift_together(plan, pool, findings),
        _ => Vec::new(),
    }
}

/// The check of the service as it is before anything shifts, if there is any: what fails already says nothing of the targets.
fn check(plan: &ServicePlan<'_>) -> Option<Draft> {
    let checks = plan.service.checks_of_itself();
    (!checks.is_empty()).then(|| Draft::new("check", StepKind::Check(CheckStep { checks })))
}

/// Lets the directors say what they think of pairs that move one by one.
pub fn ask_directors(c: &mut Compilation<'_>) {
    for service in c.services.iter().filter(|s| s.plan.service.strategy == Strategy::Cutover) {
        if let Some(pool) = &service.plan.pool {
            let members: Vec<_> = service.plan.pairs.iter().filter_map(|p| p.members.as_ref()).collect();
            c.findings.extend(pool.advice(&members, &[], &[]));
        }
    }
}

/// Takes the source out of its pool and waits until nothing is connected.
pub fn drain(plan: &ServicePlan<'_>, pair: &PairPlan<'_>) -> Vec<Draft> {
    let (Some(pool), Some((source, _))) = (&plan.pool, &pair.members) else { return Vec::new() };
    let back = way_back(plan, std::iter::once(pair), Duration::ZERO);
    let step = pool.step(vec![pool::drain(source, pool.can)], Purpose::Drain, back);
    let mut drafts = vec![Draft::new("drain", step)];
    drafts.extend(settle(pool, "drain-settle"));
    if pool.can.connections || pair.port.is_some() {
        drafts.push(Draft::new("empty", empty(plan, pool, pair, source)));
    }
    drafts
}

/// Waits until a drained source has no connections.
fn empty(plan: &ServicePlan<'_>, pool: &PoolPlan<'_>, pair: &PairPlan<'_>, source: &Member) -> StepKind {
    let drain = &plan.service.drain;
    StepKind::Empty(EmptyStep {
        director: pool.traffic.director.clone(),
        pool: pool.traffic.pool.clone(),
        member: source.name.clone(),
        host: pair.source.name.clone(),
        port: pair.port,
        deadline: drain.deadline,
        interval: drain.interval,
        on_deadline: drain.on_deadline,
        drained_by: plan.id(Some(pair), "drain"),
    })
}

/// Where answers are cached, waits until no old one is left.
fn settle(pool: &PoolPlan<'_>, name: impl Into<String>) -> Option<Draft> {
    let (director, name_of_pool) = (pool.traffic.director.clone(), pool.traffic.pool.clone());
    let step = SettleStep { director, pool: name_of_pool, outlast: None };
    pool.can.ttl.then(|| Draft::new(name, StepKind::Settle(step)))
}

/// Weights of one pair in steps. With the first one the target may take writes.
pub fn shift(plan: &ServicePlan<'_>, pair: &PairPlan<'_>) -> Vec<Draft> {
    let (Some(pool), Some((_, target))) = (&plan.pool, &pair.members) else { return Vec::new() };
    let shares = plan.service.shift.steps.iter().map(|share| (*share, pool::raise(target, *share)));
    let mut last = None;
    let mut drafts = Vec::new();
    for (share, change) in shares {
        if last.as_ref() == Some(&change) {
            continue;
        }
        let back = WayBack { settle: pool.can.ttl, hold: plan.service.shift.hold, ..WayBack::default() };
        let step = pool.step(vec![change.clone()], Purpose::Shift(share), back);
        let no_return = if last.is_none() { stays_behind(pair) } else { None };
        drafts.push(Draft { no_return, ..Draft::new(format!("shift-{share}"), step) });
        drafts.extend(settle(pool, format!("shift-{share}-settle")));
        drafts.push(Draft::new(format!("watch-{share}"), watch(plan, std::iter::once(pair))));
        last = Some(change);
    }
    drafts
}

/// Why there is no way back once the target may have taken writes.
fn stays_behind(pair: &PairPlan<'_>) -> Option<String> {
    let lost = pair.states.iter().any(|state| !state.comes_back);
    lost.then(|| format!("{} may have taken writes that {} does not have", pair.target.name, pair.source.name))
}

/// Keeps a drained source out for good.
pub fn retire(plan: &ServicePlan<'_>, pair: &PairPlan<'_>) -> Option<Draft> {
    let (pool, (source, _)) = plan.pool.as_ref().zip(pair.members.as_ref())?;
    let step = pool.step(vec![pool::retire(source)], Purpose::Retire, WayBack::default());
    pool.can.drain.then(|| Draft::new("retire", step))
}

/// Weights of all pairs in steps.
fn shift_together(plan: &ServicePlan<'_>, pool: &PoolPlan<'_>, findings: &mut Vec<Finding>) -> Vec<Draft> {
    let members: Vec<&(Member, Member)> = plan.pairs.iter().filter_map(|p| p.members.as_ref()).collect();
    let mut last = None;
    let mut idle = Vec::new();
    let mut drafts = Vec::new();
    for share in &plan.service.shift.steps {
        let changes = changes_at(pool, &members, *share);
        if last.as_ref() == Some(&changes) {
            idle.push(*share);
            continue;
        }
        let back = way_back(plan, plan.pairs.iter(), plan.service.shift.hold);
        let step = pool.step(changes.clone(), Purpose::Shift(*share), back);
        drafts.push(Draft::new(format!("shift-{share}"), step));
        drafts.extend(settle(pool, format!("shift-{share}-settle")));
        drafts.push(Draft::new(format!("watch-{share}"), watch(plan, plan.pairs.iter())));
        last = Some(changes);
    }
    findings.extend(pool.advice(&members, &plan.service.shift.steps, &idle));
    drafts
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

/// What the way back of a step that takes traffic from these sources has to respect.
fn way_back<'p>(plan: &ServicePlan<'_>, pairs: impl Iterator<Item = &'p PairPlan<'p>>, hold: Duration) -> WayBack {
    // Of hosts alone: a service that fails because of its targets must not keep them from losing their traffic.
    let checks = plan.service.checks_of(pairs.map(|p| &p.source.name));
    WayBack { checks, hold, settle: plan.pool.as_ref().is_some_and(|p| p.can.ttl) }
}

/// A watch over the targets and the service for the plan's hold.
fn watch<'p>(plan: &ServicePlan<'_>, pairs: impl Iterator<Item = &'p PairPlan<'p>>) -> StepKind {
    let checks = plan.service.all_checks(pairs.map(|p| &p.target.name));
    StepKind::Watch(WatchStep { hold: plan.service.shift.hold, checks })
}

/// A TTL that is lowered ahead, and put back at the end.
pub struct Ttl {
    /// The old one is waited out, too.
    pub lower: Vec<Draft>,
    pub restore: Draft,
}

/// What is done about the TTL, where the plan wants another one than there is.
pub fn ttl(plan: &ServicePlan<'_>) -> Option<Ttl> {
    let pool = plan.pool.as_ref()?;
    let ttl = pool.traffic.ttl.filter(|_| pool.can.ttl)?;
    if pool.now.and_then(|p| p.ttl).is_some_and(|now| now <= ttl) {
        return None;
    }
    let (director, name) = (pool.traffic.director.clone(), pool.traffic.pool.clone());
    let lowered = plan.id(None, "lower-ttl");
    let lower = StepKind::LowerTtl(LowerTtlStep { director: director.clone(), pool: name.clone(), ttl });
    let outlast = Some(lowered.clone());
    let settle = StepKind::Settle(SettleStep { director: director.clone(), pool: name.clone(), outlast });
    let restore = StepKind::RestoreTtl(RestoreTtlStep { director, pool: name, found_by: lowered });
    Some(Ttl {
        lower: vec![Draft::new("lower-ttl", lower), Draft::new("old-ttl", settle)],
        restore: Draft::new("restore-ttl", restore),
    })
}
