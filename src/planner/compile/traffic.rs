//! What a service with a pool contributes: shares that rise, sources that are drained and retired, a TTL that is low meanwhile.

use std::time::Duration;

use super::Compilation;
use super::pool::{self, Member, PoolPlan};
use super::service::{PairPlan, Place, ServicePlan, around};
use super::{connections, parts, reverse, share};
use crate::check::{PoolRef, SubjectName};
use crate::model::finding::Finding;
use crate::model::{Change, Mode, OnDeadline, OnDrift, Strategy, Weights};
use crate::step::{
    CheckStep, Draft, EmptyStep, FenceStep, LowerTtlStep, Moment, Purpose, RestoreTtlStep, SettleStep, StepKind,
    TrafficStep, UnfenceStep, WatchStep, WayBack,
};
use crate::traffic::ReachedShare;

/// All of what sources and targets get.
const WHOLE: u8 = 100;

/// What is done for all pairs together.
pub fn together(plan: &ServicePlan<'_>, moment: Moment, findings: &mut Vec<Finding>) -> Vec<Draft> {
    match moment {
        _ if plan.pools.is_empty() => Vec::new(),
        Moment::Checked => check(plan).into_iter().collect(),
        Moment::Shifted => shift_together(plan, findings),
        _ => Vec::new(),
    }
}

/// The check of the service as it is before anything shifts, if there is any: what fails already says nothing of the targets.
fn check(plan: &ServicePlan<'_>) -> Option<Draft> {
    let checks = plan.service.checks_of_itself();
    (!checks.is_empty()).then(|| Draft::new("check", StepKind::Check(CheckStep { checks, serving: false })))
}

/// Lets the directors say what they think of pairs that move one by one.
pub fn ask_directors(c: &mut Compilation<'_>) {
    for service in c.services.iter().filter(|s| s.plan.service.strategy == Strategy::Cutover) {
        for (at, pool) in service.plan.pools.iter().enumerate() {
            c.findings.extend(pool.advice(&service.plan, at, &[]));
            c.findings.extend(unreached(pool, &of_single_pairs(&service.plan, at)));
        }
    }
}

/// Takes the source out of its pools, those first that clients come to first, and waits until nothing is connected by any way.
pub fn drain(plan: &ServicePlan<'_>, pair: &PairPlan<'_>) -> Vec<Draft> {
    if plan.pools.is_empty() {
        return Vec::new();
    }
    let mut drafts: Vec<Draft> = Vec::new();
    for Place { pool, source, .. } in plan.members(pair) {
        // The targets have got more by the director before.
        let name = if drafts.is_empty() { "look".to_owned() } else { pool.named("look") };
        drafts.extend(look(plan, pair, name));
        let back = way_back(plan, pool, std::iter::once(pair), Duration::ZERO);
        // Clients that are pinned come back to a member in drain, and would write behind the freeze.
        let pinned = plan.service.strategy == Strategy::Cutover && pool.pins() && pool.can.drain;
        let change = if pinned { pool::retire(source) } else { pool::drain(source, pool.can) };
        let step = out(plan, pair, pool.step(vec![change], Purpose::Drain, back));
        drafts.push(Draft::new(pool.named("drain"), step));
        drafts.extend(settle(pool, "drain-settle"));
    }
    drafts.extend(watch_without(plan, pair, "watch-drained"));
    drafts.extend(fence(plan, pair).map(|fence| Draft::new(FENCE, StepKind::Fence(fence))));
    drafts.extend(plan.members(pair).filter_map(|place| {
        let step = connections::of_source(plan, pair, place)?;
        Some(Draft::new(place.pool.named("connections"), StepKind::Connections(Box::new(step))))
    }));
    let empty = |place: Place<'_>| Some(Draft::new(place.pool.named("empty"), empty(plan, pair, place)?));
    drafts.extend(plan.members(pair).filter_map(empty));
    drafts
}

/// The step that takes the source of a pair out of service: the first, where there are several. What misses a deadline puts it back, and
/// all that came after it.
pub fn drained_by(plan: &ServicePlan<'_>, pair: &PairPlan<'_>) -> String {
    let name = plan.pools.first().map_or_else(|| "drain".to_owned(), |pool| pool.named("drain"));
    plan.id(Some(pair), &name)
}

/// Nothing is taken from the sources of a ramp while a target fails, however long ago it was watched.
fn look(plan: &ServicePlan<'_>, pair: &PairPlan<'_>, name: String) -> Option<Draft> {
    if plan.service.strategy != Strategy::Ramp {
        return None;
    }
    look_at(plan, beside(plan, pair), name)
}

/// A look at targets that serve, and at the service.
fn look_at<'p>(plan: &ServicePlan<'_>, pairs: impl Iterator<Item = &'p PairPlan<'p>>, name: String) -> Option<Draft> {
    let checks = plan.service.all_checks(pairs.map(|pair| pair.asked.clone()));
    (!checks.is_empty()).then(|| Draft::new(name, StepKind::Check(CheckStep { checks, serving: true })))
}

/// Nor is the source of a cutover drained while the target of a pair before it fails; `moved` are services and targets.
pub fn look_at_moved(plan: &ServicePlan<'_>, moved: &[(&str, SubjectName)]) -> Option<Draft> {
    plan.pools.first().filter(|_| plan.service.strategy == Strategy::Cutover)?;
    let mut targets = moved
        .iter()
        .filter(|(service, _)| *service == &*plan.service.name)
        .map(|(_, target)| target.clone())
        .peekable();
    targets.peek()?;
    let checks = plan.service.all_checks(targets);
    let wanted = !checks.is_empty();
    wanted.then(|| Draft::new("look", StepKind::Check(CheckStep { checks, serving: true })))
}

/// Watches over the targets of a ramp while they do the work of a source, too.
fn watch_without(plan: &ServicePlan<'_>, pair: &PairPlan<'_>, name: &str) -> Option<Draft> {
    let ramp = plan.service.strategy == Strategy::Ramp;
    ramp.then(|| Draft::new(name, watch(plan, beside(plan, pair))))
}

/// The targets that are asked when the source of a pair leaves.
fn beside<'p>(plan: &'p ServicePlan<'_>, pair: &PairPlan<'_>) -> impl Iterator<Item = &'p PairPlan<'p>> {
    around(&plan.pairs, |other| std::ptr::eq(other.pair, pair.pair))
}

/// The name of the step that fences a source.
pub const FENCE: &str = "fence";

/// Refuses new connections on the source itself, where the plan asks for that: clients may come by other ways.
pub fn fence(plan: &ServicePlan<'_>, pair: &PairPlan<'_>) -> Option<FenceStep> {
    plan.pools.first()?;
    let holds = plan.pools.iter().any(|pool| pool.traffic.on_drift == OnDrift::Hold);
    let on_drift = if holds { OnDrift::Hold } else { OnDrift::Restore };
    let cutover = plan.service.strategy == Strategy::Cutover && plan.service.drain.fence.is_some();
    Some(FenceStep { host: pair.source.name.clone(), port: pair.port.filter(|_| cutover)?, on_drift })
}

/// Takes the fence away, once the source is out for good.
pub fn unfence(plan: &ServicePlan<'_>, pair: &PairPlan<'_>) -> Option<Draft> {
    fence(plan, pair).map(|fence| Draft::new("unfence", StepKind::Unfence(UnfenceStep { fence })))
}

/// Waits until a drained source has no connections, where they can be counted.
pub fn empty(plan: &ServicePlan<'_>, pair: &PairPlan<'_>, Place { pool, source, .. }: Place<'_>) -> Option<StepKind> {
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
            drained_by: drained_by(plan, pair),
            keeps_pinned: (plan.service.strategy == Strategy::Ramp && pool.pins()) || is_visited(plan, pool),
        })
    })
}

/// Whether others than clients come and go where the connections of a pool are counted on hosts: the checks of another director, which
/// counts its clients itself.
fn is_visited(plan: &ServicePlan<'_>, pool: &PoolPlan<'_>) -> bool {
    !pool.can.connections && plan.pools.iter().any(|other| other.can.connections)
}

/// The same for a target that a rollback has taken out of service, before it is frozen.
fn empty_back(
    plan: &ServicePlan<'_>,
    pair: &PairPlan<'_>,
    Place { pool, target, .. }: Place<'_>,
    shifted_by: &str,
) -> Option<EmptyStep> {
    let drain = &plan.service.drain;
    let can_count = pool.can.connections || pair.target_port.is_some();
    let wanted = plan.service.reverse.until().is_some() && can_count;
    wanted.then(|| {
        EmptyStep {
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
            keeps_pinned: is_visited(plan, pool),
        }
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

fn settle(pool: &PoolPlan<'_>, name: &str) -> Option<Draft> {
    settled(pool).map(|kind| Draft::new(pool.named(name), kind))
}

/// Weights of one pair in steps, at each step those pools last that clients come to first. With the first one the target may take writes.
pub fn shift(plan: &ServicePlan<'_>, pair: &PairPlan<'_>) -> Result<Vec<Draft>, Finding> {
    let mut last: Vec<Option<Change>> = vec![None; plan.pools.len()];
    let mut drafts: Vec<Draft> = Vec::new();
    if last.is_empty() {
        return Ok(drafts);
    }
    for share in &plan.service.shift.steps {
        let name = format!("shift-{share}");
        let mut hold = plan.service.shift.hold;
        let mut set = false;
        for (place, last) in from_within(plan, pair).zip(&mut last) {
            let change = pool::raise(place.target, *share);
            if last.as_ref() == Some(&change) {
                continue;
            }
            let (first, opens) = (last.is_none(), drafts.is_empty());
            let mut back = WayBack { settle: place.pool.can.ttl, ..WayBack::default() };
            // Going back, time passes once all of them are set.
            back.hold = std::mem::take(&mut hold);
            let by = place.pool.named(&name);
            let emptied = || from_within(plan, pair).filter_map(|of| empty_back(plan, pair, of, &by));
            if opens {
                // The last that is put back: by then no director sends anybody to the target any more.
                let left = |of: Place<'_>| connections::of_target(plan, pair, of, &by);
                (back.empty, back.connections) =
                    (emptied().collect(), from_within(plan, pair).filter_map(left).collect());
            } else {
                back.freezes = first && emptied().next().is_some();
            }
            if set {
                // Nobody gets more who fails with what another director has sent.
                let name = place.pool.named(&format!("look-{share}"));
                drafts.extend(look_at(plan, std::iter::once(pair), name));
            }
            let step = place.pool.step(vec![change.clone()], Purpose::Shift(*share), back);
            let no_return = if first { reverse::stays_behind(plan, pair) } else { None };
            drafts.push(Draft { no_return, opens, ..Draft::new(by, step) });
            drafts.extend(settle(place.pool, &format!("{name}-settle")));
            (*last, set) = (Some(change), true);
        }
        if set {
            drafts.push(Draft::new(format!("watch-{share}"), watch(plan, std::iter::once(pair))));
            if *share < WHOLE {
                drafts.extend(parts::gates_between(plan, &[pair], *share)?);
            }
        }
    }
    Ok(drafts)
}

/// The pools of a pair from the hosts outwards: what is added is there for those who are sent to it.
fn from_within<'s>(plan: &'s ServicePlan<'_>, pair: &'s PairPlan<'_>) -> impl Iterator<Item = Place<'s>> {
    plan.members(pair).collect::<Vec<_>>().into_iter().rev()
}

/// Keeps a drained source out for good. Where clients have stayed on it until then, or were let go, their targets are watched anew.
pub fn retire(plan: &ServicePlan<'_>, pair: &PairPlan<'_>) -> Vec<Draft> {
    if plan.pools.is_empty() {
        return Vec::new();
    }
    let retired = plan.members(pair).filter(|place| place.pool.can.drain).map(|Place { pool, source, .. }| {
        let step = out(plan, pair, pool.step(vec![pool::retire(source)], Purpose::Retire, WayBack::default()));
        Draft::new(pool.named("retire"), step)
    });
    let stayed = plan.pools.iter().any(PoolPlan::pins) || plan.service.drain.connections.is_some();
    let watched = watch_without(plan, pair, "watch-retired").filter(|_| stayed);
    retired.chain(watched).collect()
}

/// Weights of all pairs in steps, and before them larger ones in the same proportions where those are too small to be divided. At each step
/// those pools come last that clients come to first.
fn shift_together(plan: &ServicePlan<'_>, findings: &mut Vec<Finding>) -> Vec<Draft> {
    let rising = plan.pools.iter().enumerate().map(|(at, pool)| Rising::new(plan, at, pool));
    let mut pools: Vec<Rising<'_>> = rising.rev().collect();
    let mut drafts = Vec::new();
    for Rising { pool, scale, .. } in pools.iter_mut().filter(|rising| !rising.scale.is_empty()) {
        let back = way_back(plan, pool, plan.pairs.iter(), Duration::ZERO);
        drafts.push(Draft::new(pool.named("scale"), pool.step(std::mem::take(scale), Purpose::Scale, back)));
    }
    let mut is_first = true;
    for (n, share) in plan.service.shift.steps.iter().enumerate() {
        let name = format!("shift-{share}");
        let mut hold = plan.service.shift.hold;
        let mut set = false;
        for rising in &mut pools {
            let Some(changes) = rising.changes(n) else { continue };
            let pool = rising.pool;
            // Going back, time passes once all of them are set.
            let mut back = way_back(plan, pool, plan.pairs.iter(), std::mem::take(&mut hold));
            if std::mem::take(&mut is_first) {
                let places = plan.pairs.iter().flat_map(|pair| from_within(plan, pair).map(move |of| (pair, of)));
                let by = pool.named(&name);
                let left = |(pair, of): (_, Place<'_>)| connections::of_target(plan, pair, of, &by);
                back.connections = places.filter_map(left).collect();
            }
            if set {
                drafts.extend(look_at(plan, plan.pairs.iter(), pool.named(&format!("look-{share}"))));
            }
            drafts.push(Draft::new(pool.named(&name), pool.step(changes, Purpose::Shift(*share), back)));
            drafts.extend(settle(pool, &format!("{name}-settle")));
            set = true;
        }
        if set {
            drafts.push(Draft::new(format!("watch-{share}"), watch(plan, plan.pairs.iter())));
            if *share < WHOLE {
                match parts::gates_between(plan, &plan.pairs.iter().collect::<Vec<_>>(), *share) {
                    Ok(gates) => drafts.extend(gates),
                    Err(finding) => findings.push(finding),
                }
            }
        }
    }
    for (at, rising) in pools.iter().rev().enumerate() {
        findings.extend(rising.pool.advice(plan, at, &rising.shares));
        findings.extend(unreached(rising.pool, &rising.shares));
    }
    drafts
}

/// A pool in which all targets rise together.
struct Rising<'p> {
    pool: &'p PoolPlan<'p>,
    /// Larger weights in the same proportions; empty where those that there are do.
    scale: Vec<Change>,
    steps: Vec<Set>,
    /// What the steps so far give.
    shares: Vec<ReachedShare>,
    last: Option<Vec<Change>>,
}

impl<'p> Rising<'p> {
    /// The pool at this place among those of its service.
    fn new(plan: &'p ServicePlan<'p>, at: usize, pool: &'p PoolPlan<'p>) -> Self {
        let members: Vec<&(Member, Member)> = plan.pairs.iter().filter_map(|pair| pair.members.get(at)).collect();
        let (scale, steps) = match pool.can.weights {
            Weights::Exact(max) => by_weight(pool, &members, max, &plan.service.shift.steps),
            Weights::Presence => (Vec::new(), by_presence(pool, &members, &plan.service.shift.steps)),
        };
        Self { pool, scale, steps, shares: Vec::new(), last: None }
    }

    /// What a step sets, each asked for once; `None` where that is what the one before it has set.
    fn changes(&mut self, n: usize) -> Option<Vec<Change>> {
        let Set { share, changes, reached } = self.steps.get(n)?;
        let new = self.last.as_ref() != Some(changes);
        self.shares.push(ReachedShare { wanted: *share, reached: *reached, new });
        if new {
            self.last = Some(changes.clone());
        }
        self.last.clone().filter(|_| new)
    }
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
fn of_single_pairs(plan: &ServicePlan<'_>, at: usize) -> Vec<ReachedShare> {
    let targets = plan.pairs.iter().filter_map(|pair| pair.members.get(at)).map(|(_, target)| target);
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
fn way_back<'p>(
    plan: &ServicePlan<'_>,
    pool: &PoolPlan<'_>,
    pairs: impl Iterator<Item = &'p PairPlan<'p>>,
    hold: Duration,
) -> WayBack {
    // Of hosts alone: a service that fails because of its targets must not keep them from losing their traffic.
    let checks = plan.service.checks_of(pairs.map(|p| SubjectName::host(&p.source.name)));
    WayBack { checks, hold, settle: pool.can.ttl, ..WayBack::default() }
}

/// A watch over the targets and the service for the plan's hold.
fn watch<'p>(plan: &ServicePlan<'_>, pairs: impl Iterator<Item = &'p PairPlan<'p>>) -> StepKind {
    let pairs: Vec<&PairPlan<'_>> = pairs.collect();
    let checks = plan.service.all_checks(pairs.iter().map(|p| p.asked.clone()));
    let counting = plan.pools.iter().enumerate().filter(|(_, pool)| pool.can.connections);
    let measured = counting.map(|(at, pool)| {
        let targets = pairs.iter().filter_map(|pair| pair.members.get(at)).map(|(_, target)| target.name.clone());
        pool.measured(targets.collect())
    });
    let measured = measured.collect();
    StepKind::Watch(WatchStep { hold: plan.service.shift.hold, checks, measured, pools: pools(plan) })
}

/// The pools of a service, for those who read them.
pub fn pools(plan: &ServicePlan<'_>) -> Vec<PoolRef> {
    plan.pools.iter().map(|pool| pool.traffic.pool_ref()).collect()
}

/// A TTL that is lowered ahead, and put back at the end.
pub struct Ttl {
    /// The old one is waited out, too.
    pub lower: Vec<Draft>,
    pub restore: Draft,
}

/// What is done about TTLs, where the plan wants others than there are.
pub fn ttls(plan: &ServicePlan<'_>) -> Vec<Ttl> {
    plan.pools.iter().filter_map(|pool| ttl(plan, pool)).collect()
}

fn ttl(plan: &ServicePlan<'_>, pool: &PoolPlan<'_>) -> Option<Ttl> {
    let ttl = pool.traffic.ttl.filter(|_| pool.can.ttl)?;
    if pool.now.and_then(|p| p.ttl).is_some_and(|now| now <= ttl) {
        return None;
    }
    let (director, name) = (pool.traffic.director.clone(), pool.traffic.pool.clone());
    let lowered = plan.id(None, &pool.named("lower-ttl"));
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
        lower: vec![Draft::new(pool.named("lower-ttl"), lower), Draft::new(pool.named("old-ttl"), settle)],
        restore: Draft::new(pool.named("restore-ttl"), restore),
    })
}
