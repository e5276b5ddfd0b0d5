//! From a plan to the simulated world that it begins in.
//!
//! Sources serve and have everything; targets are there, healthy and empty. What the plan does not say is assumed as `plan --offline` does.

use std::collections::BTreeMap;
use std::time::Duration;

use super::model::{Copy, Does, HookModel, Membership, Model, PairModel, Tree};
use super::pool::{MemberModel, PoolModel};
use super::replica::{Means, ReplicaModel};
use crate::check::SubjectName;
use crate::model::{HookPoint, OnDeadline, Pair, Strategy};
use crate::model::{Mode, Weights};
use crate::planner::rails;
use crate::spec::{Service, Spec, Traffic};
use crate::step::{Class, Graph, Step, StepKind};

/// What a member has that takes its whole share, as `plan --offline` assumes it.
const FULL: u16 = 100;
/// TTL of a pool before the move.
const TTL: Duration = Duration::from_secs(3600);

/// The world before the first step.
pub(super) fn build(spec: &Spec, graph: &Graph) -> Model {
    let mut model = Model::default();
    let mut places = BTreeMap::new();
    for service in &spec.plan.services {
        for pair in &service.pairs {
            places.insert((service.name.to_string(), pair.source.clone()), model.pairs.len());
            let built = pair_model(spec, graph, service, pair, &mut model.pools);
            model.pairs.push(built);
        }
    }
    for step in &graph.steps {
        let pair = step.pair.as_ref().and_then(|p| places.get(&(step.service.to_string(), p.source.clone()))).copied();
        let hook = hook_model(step, pair, &mut model);
        model.hooks.push(hook);
    }
    model
}

fn pair_model(spec: &Spec, graph: &Graph, service: &Service, pair: &Pair, pools: &mut Vec<PoolModel>) -> PairModel {
    let steps = || graph.steps.iter().filter(|s| s.service == service.name && s.pair.as_deref() == Some(pair));
    let mut trees: Vec<Tree> = Vec::new();
    for step in steps() {
        if let Some(job) = step.kind.carries()
            && trees.iter().all(|t| t.job != job)
        {
            // Nothing is there yet: not even the writes from before the run.
            let (source, target) = (Copy { has: 1, ..Copy::default() }, Copy { torn: true, ..Copy::default() });
            trees.push(Tree { job: job.to_owned(), source, target, traces: false });
        }
    }
    let replicas = steps().filter_map(|s| match &s.kind {
        StepKind::Replica(replica) => Some(replica.as_ref()),
        _ => None,
    });
    let thaws = |s: &Step| matches!(&s.kind, StepKind::Hook(h) if h.at == HookPoint::Thaw && h.host == pair.target);
    let waits = |s: &Step| matches!(&s.kind, StepKind::Empty(empty) if empty.on_deadline != OnDeadline::Proceed);
    PairModel {
        source: pair.source.clone(),
        target: pair.target.clone(),
        cutover: service.strategy == Strategy::Cutover,
        watched: service.strategy == Strategy::Ramp && !service.checks_of([SubjectName::host(&pair.target)]).is_empty(),
        memberships: service.traffic.iter().filter_map(|t| place(spec, service, pair, t, pools)).collect(),
        thaws: steps().any(thaws),
        waits_for_empty: steps().any(waits),
        acked: 1,
        trees,
        replicas: ReplicaModel::of(replicas),
        ..PairModel::default()
    }
}

/// Puts both hosts of a pair into the pool of its service.
fn place(
    spec: &Spec,
    service: &Service,
    pair: &Pair,
    traffic: &Traffic,
    pools: &mut Vec<PoolModel>,
) -> Option<Membership> {
    let can = spec.inventory.directors.get(&traffic.director)?.kind().capabilities();
    let presence = can.weights == Weights::Presence;
    let found = pools.iter().position(|p| p.director == traffic.director && p.name == traffic.pool);
    let pool = found.unwrap_or_else(|| {
        pools.push(PoolModel {
            director: traffic.director.clone(),
            name: traffic.pool.clone(),
            presence,
            ttl: can.ttl.then_some(TTL),
            stale_until: Duration::ZERO,
            members: Vec::new(),
            floor: rails::floor(spec, traffic),
            set_back: false,
            was: Vec::new(),
        });
        pools.len() - 1
    });
    let mut member = |host: &str, serving: bool| {
        let host = spec.inventory.hosts.get(host)?;
        let name = traffic.member.render_plain(&host.vars).ok()?;
        let members = &mut pools.get_mut(pool)?.members;
        if let Some(there) = members.iter().position(|m| m.name == name) {
            return Some(there);
        }
        let (weight, mode) = match (presence, serving) {
            (true, serving) => (u16::from(serving), Mode::Ready),
            (false, true) => (FULL, Mode::Ready),
            (false, false) => (FULL, Mode::Maint),
        };
        let capacity = u64::from(host.capacity);
        let stays = service.drain.connections.is_some();
        members.push(MemberModel { name, capacity, weight, mode, users_until: Duration::ZERO, stays });
        Some(members.len() - 1)
    };
    Some(Membership { source: member(&pair.source, true)?, target: member(&pair.target, false)?, pool })
}

/// What a step's hook does to its pair; steps that are no hooks do nothing.
fn hook_model(step: &Step, pair: Option<usize>, model: &mut Model) -> HookModel {
    let repeatable = !matches!(step.kind.class(), Class::Keyed | Class::Opaque);
    let nothing = HookModel { pair, repeatable, ..HookModel::default() };
    if let StepKind::Replica(replica) = &step.kind {
        let does = model.replica_of(replica).zip(Means::of(replica)).map(|((_, n), means)| Does::Replica(n, means));
        return HookModel { does: does.unwrap_or_default(), ..nothing };
    }
    if matches!(&step.kind, StepKind::Decommission(back) if back.wipes().is_some()) {
        return HookModel { does: Does::Something, ..nothing };
    }
    let StepKind::Hook(hook) = &step.kind else { return nothing };
    let Some(sides) = pair.and_then(|p| model.pairs.get_mut(p)) else { return nothing };
    let does = match hook.at {
        HookPoint::Freeze if hook.host == sides.source => {
            sides.freezes += 1;
            Does::Freeze(sides.freezes - 1)
        }
        HookPoint::Thaw if hook.host == sides.target => Does::Thaw,
        _ => Does::Something,
    };
    HookModel { does, ..nothing }
}
