//! What a service with a pool contributes: shares that rise, sources that are drained and retired, a TTL that is low meanwhile.

use std::time::Duration;

use super::Compilation;
use super::pool::{self, Member, PoolPlan};
use super::service::{PairPlan, ServicePlan};
use super::{reverse, share};
use crate::check::PoolRef;
use crate::model::finding::Finding;
use crate::model::{Change, Mode, OnDeadline, Strategy, Weights};
use crate::step::{
    CheckStep, Draft, EmptyStep, FenceStep, LowerTtlStep, Moment, Purpose, RestoreTtlStep, SettleStep, StepKind,
    TrafficStep, UnfenceStep, WatchStep, WayBack,
};
use crate::traffic::ReachedShare;

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
            c.findings.extend(pool.advice(&service.plan, &[]));
            c.findings.extend(unreached(pool, &of_single_pairs(&service.plan)));
        }
    }
}

/// Takes the source out of its pool and waits until nothing is connected.
pub fn drain(plan: &ServicePlan<'_>, pair: &PairPlan<'_>) -> Vec<Draft> {
    let (Some(pool), Some((source, _))) = (&plan.pool, &pair.members) else { return Vec::new() };
    let back = way_back(plan, std::iter::once(pair), Duration::ZERO);
    // Clients that are pinned come back to a member in drain, and would write behind the freeze.
    let pinned = plan.service.strategy == Strategy::Cutover && pool.pins() && pool.can.drain;
    let change = if pinned { pool::retire(source) } else { pool::drain(source, pool.can) };
    let step = out(plan, pair, pool.step(vec![change], Purpose::Drain, back));
    let mut drafts = vec![Draft::new("drain", step)];
    drafts.extend(settle(pool, "drain-settle"));
    drafts.extend(fence(plan, pair).map(|fence| Draft::new(FENCE, StepKind::Fence(fence))));
    drafts.extend(empty(plan, pair).map(|empty| Draft::new("empty", empty)));
    drafts
}

/// The name of the step that fences a source.
pub const FENCE: &str = "fence";

/// Refuses new connections on the source itself, where the plan asks for that: clients may come by other ways.
pub fn fence(plan: &ServicePlan<'_>, pair: &PairPlan<'_>) -> Option<FenceStep> {
    let on_drift = plan.pool.as_ref()?.traffic.on_drift;
    let cutover = plan.service.strategy == Strategy::Cutover && plan.service.drain.fence.is_some();
    Some(FenceStep { host: pair.source.name.clone(), port: pair.port.filter(|_| cutover)?, on_drift })
}

/// Takes the fence away, once the source is out for good.
pub fn unfence(plan: &ServicePlan<'_>, pair: &PairPlan<'_>) -> Option<Draft> {
    fence(plan, pair).map(|fence| Draft::new("unfence", StepKind::Unfence(UnfenceStep { fence })))
}

/// Waits until a drained source has no connections, where they can be counted.
pub fn empty(plan: &ServicePlan<'_>, pair: &PairPlan<'_>) -> Option<StepKind> {
    let (pool, (source, _)) = plan.pool.as_ref().zip(pair.members.as_ref())?;
    let drain = &plan.service.drain;
    let can_count = pool.can.connections || pair.port.is_some();
    can_count.then(|| {
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
            keeps_pinned: plan.service.strategy == Strategy::Ramp && pool.pins(),
        })
    })
}

/// The same for a target that a rollback has taken out of service, before it is frozen.
fn empty_back(plan: &ServicePlan<'_>, pair: &PairPlan<'_>, shifted_by: &str) -> Option<Box<EmptyStep>> {
    let (pool, (_, target)) = plan.pool.as_ref().zip(pair.members.as_ref())?;
    let drain = &plan.service.drain;
    let can_count = pool.can.connections || pair.target_port.is_some();
    let wanted = plan.service.reverse.until().is_some() && can_count;
    wanted.then(|| {
        Box::new(EmptyStep {
            director: pool.traffic.director.clone(),
            pool: pool.traffic.pool.clone(),
            member: target.name.clone(),
            host: pair.target.name.clone(),
            port: pair.target_port,
            deadline: drain.deadline,
            interval: drain.interval,
            // A way back that misses it has no traffic to put back.
            on_deadline: if drain.on_deadline == OnDeadline::Proceed { OnDeadline::Proceed } else { OnDeadline::Hold },
            drained_by: plan.id(Some(pair), shifted_by),
            keeps_pinned: false,
        })
    })
}

/// A step that takes a source out of service: where it has something that was copied, it must not get traffic back.
fn out(plan: &ServicePlan<'_>, pair: &PairPlan<'_>, step: StepKind) -> StepKind {
    match step {
        StepKind::Traffic(traffic) => {
            let was_writer = plan.service.strategy == Strategy::Cutover && !pair.states.is_empty();
            StepKind::Traffic(TrafficStep { was_writer, ..traffic })
        }
        other => other,
    }
}

/// Where answers are cached, waits until no old one is left.
pub fn settled(pool: &PoolPlan<'_>) -> Option<StepKind> {
    let (director, name) = (pool.traffic.director.clone(), pool.traffic.pool.clone());
    pool.can.ttl.then_some(StepKind::Settle(SettleStep { director, pool: name, outlast: None }))
}

fn settle(pool: &PoolPlan<'_>, name: impl Into<String>) -> Option<Draft> {
    settled(pool).map(|kind| Draft::new(name, kind))
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
        let (first, name) = (last.is_none(), format!("shift-{share}"));
        let empty = if first { empty_back(plan, pair, &name) } else { None };
        let back = WayBack { settle: pool.can.ttl, hold: plan.service.shift.hold, empty, ..WayBack::default() };
        let step = pool.step(vec![change.clone()], Purpose::Shift(share), back);
        let no_return = if first { reverse::stays_behind(plan, pair) } else { None };
        drafts.push(Draft { no_return, opens: first, ..Draft::new(name, step) });
        drafts.extend(settle(pool, format!("shift-{share}-settle")));
        drafts.push(Draft::new(format!("watch-{share}"), watch(plan, std::iter::once(pair))));
        last = Some(change);
    }
    drafts
}

/// Keeps a drained source out for good.
pub fn retire(plan: &ServicePlan<'_>, pair: &PairPlan<'_>) -> Option<Draft> {
    let (pool, (source, _)) = plan.pool.as_ref().zip(pair.members.as_ref())?;
    let step = out(plan, pair, pool.step(vec![pool::retire(source)], Purpose::Retire, WayBack::default()));
    pool.can.drain.then(|| Draft::new("retire", step))
}

/// Weights of all pairs in steps, and before them larger ones in the same proportions where those are too small to be divided.
fn shift_together(plan: &ServicePlan<'_>, pool: &PoolPlan<'_>, findings: &mut Vec<Finding>) -> Vec<Draft> {
    let members: Vec<&(Member, Member)> = plan.pairs.iter().filter_map(|p| p.members.as_ref()).collect();
    let (scale, steps) = match pool.can.weights {
        Weights::Exact(max) => by_weight(pool, &members, max, &plan.service.shift.steps),
        Weights::Presence => (Vec::new(), by_presence(pool, &members, &plan.service.shift.steps)),
    };
    let mut drafts = Vec::new();
    if !scale.is_empty() {
        let back = way_back(plan, plan.pairs.iter(), Duration::ZERO);
        drafts.push(Draft::new("scale", pool.step(scale, Purpose::Scale, back)));
    }
    let mut shares = Vec::new();
    let mut last = None;
    for Set { share, changes, reached } in steps {
        let new = last.as_ref() != Some(&changes);
        shares.push(ReachedShare { wanted: share, reached, new });
        if !new {
            continue;
        }
        let back = way_back(plan, plan.pairs.iter(), plan.service.shift.hold);
        let step = pool.step(changes.clone(), Purpose::Shift(share), back);
        drafts.push(Draft::new(format!("shift-{share}"), step));
        drafts.extend(settle(pool, format!("shift-{share}-settle")));
        drafts.push(Draft::new(format!("watch-{share}"), watch(plan, plan.pairs.iter())));
        last = Some(changes);
    }
    findings.extend(pool.advice(plan, &shares));
    findings.extend(unreached(pool, &shares));
    drafts
}

/// What one step sets.
struct Set {
    share: u8,
    /// Targets first, so that capacity never dips.
    changes: Vec<Change>,
    /// What it gives, in percent.
    reached: f64,
}

fn by_weight(pool: &PoolPlan<'_>, members: &[&(Member, Member)], max: u16, steps: &[u8]) -> (Vec<Change>, Vec<Set>) {
    let fit = pool.fit(max, members, steps);
    let sources = |weights: &[u16]| -> Vec<Change> {
        let set = members.iter().zip(weights).filter(|((source, _), _)| pool.may_serve(&source.name));
        set.map(|((source, _), weight)| pool::serving(source, *weight)).collect()
    };
    let now: Vec<u16> = members.iter().map(|(source, _)| source.full).collect();
    let scaled = fit.whole.sources.iter().zip(&now).any(|(scaled, now)| scaled > now);
    let scale = if scaled { sources(&fit.whole.sources) } else { Vec::new() };
    let steps = fit.steps.into_iter().map(|step| {
        let raised = members.iter().zip(&step.weights.targets).map(|((_, target), w)| pool::serving(target, *w));
        let lowered = if step.share == 100 { Vec::new() } else { sources(&step.weights.sources) };
        Set { share: step.share, changes: raised.chain(lowered).collect(), reached: step.reached }
    });
    (scale, steps.collect())
}

fn by_presence(pool: &PoolPlan<'_>, members: &[&(Member, Member)], steps: &[u8]) -> Vec<Set> {
    let n = members.len() as u64;
    let present =
        |name: &str, there: bool| Change { member: name.to_owned(), weight: u16::from(there), mode: Mode::Ready };
    let step = |share: &u8| {
        let targets = (n * u64::from(*share)).div_ceil(100);
        let gone = n * u64::from(*share) / 100;
        let raised = members.iter().zip(0..).map(|((_, t), i)| present(&t.name, i < targets));
        let there = members.iter().zip(0..).filter(|((s, _), _)| pool.may_serve(&s.name));
        let lowered = there.map(|((s, _), i)| present(&s.name, i >= gone));
        let changes: Vec<Change> = if *share == 100 { raised.collect() } else { raised.chain(lowered).collect() };
        let reached = 100.0 * targets as f64 / (targets + n - gone).max(1) as f64;
        Set { share: *share, changes, reached: if *share == 100 { 100.0 } else { reached } }
    };
    steps.iter().map(step).collect()
}

/// What the steps of pairs that move one by one give each pair, for the pair that is furthest from what is wanted.
fn of_single_pairs(plan: &ServicePlan<'_>) -> Vec<ReachedShare> {
    let targets = plan.pairs.iter().filter_map(|p| p.members.as_ref()).map(|(_, target)| target);
    let Some(smallest) = targets.map(|target| target.full).min().filter(|_| plan.service.shift.steps.len() > 1) else {
        return Vec::new();
    };
    let mut last = None;
    let step = |share: &u8| {
        let weight = share::portion(smallest, *share);
        let new = last.replace(weight) != Some(weight);
        ReachedShare { wanted: *share, reached: 100.0 * f64::from(weight) / f64::from(smallest.max(1)), new }
    };
    plan.service.shift.steps.iter().map(step).collect()
}

/// Steps that weights do not give.
fn unreached(pool: &PoolPlan<'_>, shares: &[ReachedShare]) -> Option<Finding> {
    let Weights::Exact(max) = pool.can.weights else { return None };
    let off = shares.iter().filter(|s| !s.new || !share::is_near(s.wanted, s.reached));
    let off: Vec<String> = off.map(|s| format!("{} % would be {:.1} %", s.wanted, s.reached)).collect();
    let what = format!("weights of whole numbers up to {max} do not give these steps: {}", off.join(", "));
    let hint = "give the members larger weights where they are configured, or leave these steps out";
    (!off.is_empty()).then(|| Finding::risk(pool.about(), what).hint(hint))
}

/// What the way back of a step that takes traffic from these sources has to respect.
fn way_back<'p>(plan: &ServicePlan<'_>, pairs: impl Iterator<Item = &'p PairPlan<'p>>, hold: Duration) -> WayBack {
    // Of hosts alone: a service that fails because of its targets must not keep them from losing their traffic.
    let checks = plan.service.checks_of(pairs.map(|p| &p.source.name));
    WayBack { checks, hold, settle: plan.pool.as_ref().is_some_and(|p| p.can.ttl), empty: None }
}

/// A watch over the targets and the service for the plan's hold.
fn watch<'p>(plan: &ServicePlan<'_>, pairs: impl Iterator<Item = &'p PairPlan<'p>>) -> StepKind {
    let pairs: Vec<&PairPlan<'_>> = pairs.collect();
    let checks = plan.service.all_checks(pairs.iter().map(|p| &p.target.name));
    let targets = pairs.iter().filter_map(|p| p.members.as_ref()).map(|(_, target)| target.name.clone()).collect();
    let measured = plan.pool.as_ref().filter(|pool| pool.can.connections).map(|pool| pool.measured(targets));
    StepKind::Watch(WatchStep { hold: plan.service.shift.hold, checks, measured, pools: pools(plan) })
}

/// The pool of a service, for those who read it.
fn pools(plan: &ServicePlan<'_>) -> Vec<PoolRef> {
    plan.pool.iter().map(|pool| pool.traffic.pool_ref()).collect()
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
    let lower = StepKind::LowerTtl(LowerTtlStep {
        director: director.clone(),
        pool: name.clone(),
        ttl,
        on_drift: pool.traffic.on_drift,
    });
    let outlast = Some(lowered.clone());
    let settle = StepKind::Settle(SettleStep { director: director.clone(), pool: name.clone(), outlast });
    let restore = StepKind::RestoreTtl(RestoreTtlStep { director, pool: name, found_by: lowered });
    Some(Ttl {
        lower: vec![Draft::new("lower-ttl", lower), Draft::new("old-ttl", settle)],
        restore: Draft::new("restore-ttl", restore),
    })
}
