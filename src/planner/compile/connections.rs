//! Connections that do not end by themselves: those of drained sources, and those of targets that a way back has taken out of service.

use super::pool::{Member, PoolPlan};
use super::service::{PairPlan, Place, ServicePlan};
use super::{Compilation, traffic};
use crate::check::SubjectName;
use crate::model::finding::Finding;
use crate::model::{Govern, Host, LetGo, OnDeadline, Strategy};
use crate::spec::Service;
use crate::step::{ConnectionsStep, LetGoBy, Watched};

/// How a source and its target let connections go, with everything filled in.
pub struct BothSides {
    pub source: LetGoBy,
    pub target: LetGoBy,
}

/// Fills in what the plan says, for both hosts of a pair.
pub fn fill(service: &Service, source: &Host, target: &Host) -> Result<Option<BothSides>, Finding> {
    let Some(connections) = &service.drain.connections else { return Ok(None) };
    let of = |host: &Host| {
        Ok::<_, Finding>(match &connections.by {
            LetGo::Close => LetGoBy::Close,
            LetGo::Reset => LetGoBy::Reset,
            LetGo::Hint { run, timeout, secrets } => {
                LetGoBy::Hint { run: host.fill_command(run)?, timeout: *timeout, secrets: secrets.clone() }
            }
        })
    };
    Ok(Some(BothSides { source: of(source)?, target: of(target)? }))
}

/// What a drained source still holds in one of its pools.
pub fn of_source(plan: &ServicePlan<'_>, pair: &PairPlan<'_>, place: Place<'_>) -> Option<ConnectionsStep> {
    let by = pair.let_go.as_ref()?.source.clone();
    let targets = plan.pairs.iter().map(|pair| (pair.target, pair.target_port));
    let drained_by = traffic::drained_by(plan, pair);
    step(plan, place.pool, (place.source, pair.source, pair.port), by, targets, drained_by)
}

/// What a target still holds once a way back has taken it out of service.
pub fn of_target(
    plan: &ServicePlan<'_>,
    pair: &PairPlan<'_>,
    place: Place<'_>,
    shifted_by: &str,
) -> Option<ConnectionsStep> {
    let by = pair.let_go.as_ref()?.target.clone();
    let sources = plan.pairs.iter().map(|pair| (pair.source, pair.port));
    let shifted_by = plan.id(Some(pair), shifted_by);
    let step = step(plan, place.pool, (place.target, pair.target, pair.target_port), by, sources, shifted_by)?;
    // A way back that misses it has no traffic to put back.
    let restores = step.on_deadline == OnDeadline::Restore;
    Some(ConnectionsStep { on_deadline: if restores { OnDeadline::Hold } else { step.on_deadline }, ..step })
}

fn step<'p>(
    plan: &ServicePlan<'_>,
    pool: &PoolPlan<'_>,
    (member, host, port): (&Member, &Host, Option<u16>),
    by: LetGoBy,
    others: impl Iterator<Item = (&'p Host, Option<u16>)>,
    drained_by: String,
) -> Option<ConnectionsStep> {
    let drain = &plan.service.drain;
    let connections = drain.connections.as_ref()?;
    let asks = |signals: &[Govern]| signals.iter().any(|signal| connections.govern.contains(signal));
    let others = others.map(|(host, port)| Watched { host: host.name.clone(), port }).collect::<Vec<_>>();
    let checked = others.iter().filter(|_| asks(&[Govern::Checks])).map(|watched| SubjectName::host(&watched.host));
    Some(ConnectionsStep {
        director: pool.traffic.director.clone(),
        pool: pool.traffic.pool.clone(),
        member: member.name.clone(),
        host: host.name.clone(),
        port,
        by,
        pace: connections.pace,
        max_pace: connections.max_pace,
        checks: plan.service.checks_of(checked),
        watched: if asks(&[Govern::AcceptQueue, Govern::Load]) { others } else { Vec::new() },
        asks: plan.service.asked_for_its_pace(),
        govern: connections.govern.clone(),
        within: connections.within,
        after: connections.after,
        on_deadline: drain.on_deadline,
        drained_by,
    })
}

/// Clients that are pinned to a member in drain come back to it as often as they are let go.
pub fn judge(c: &mut Compilation<'_>) {
    for service in c.services.iter().filter(|s| s.plan.service.strategy == Strategy::Ramp) {
        let plan = &service.plan;
        let Some(pool) = plan.pools.iter().find(|pool| pool.pins()) else { continue };
        if plan.service.drain.connections.is_some() {
            let what = "`connections` cannot move clients that are pinned: they come back to a source in drain";
            let hint = "take the cookie or the stick table away first, or leave `connections` out";
            c.findings.push(Finding::refused(pool.about(), what).hint(hint));
        }
    }
}
