//! From drafts without errors to the model.

use crate::config::read::service::ServiceDraft;
use crate::spec::{Plan, Service, Traffic};

use super::{Draft, Inventories, members, reverse, services};

/// The plan. `None` only if a pass let something through that it should have reported.
pub fn plan(draft: Draft<'_>) -> Option<Plan> {
    let Draft { plan, inventories, pairs, waves } = draft;
    let services = plan.services.iter().zip(pairs).map(|(service, pairs)| {
        let settings = &service.settings;
        Some(Service {
            name: service.name.value.clone(),
            strategy: services::strategy(service),
            pairs: pairs?,
            traffic: traffic(service, inventories),
            state: settings.state.iter().map(|s| s.state.clone()).collect(),
            drain: settings.drain.drain.clone(),
            health: settings.health.clone(),
            shift: settings.shift.clone(),
            hooks: settings.hooks.iter().map(|h| h.hook.clone()).collect(),
            min_capacity: settings.min_capacity,
            gates: settings.gates.clone(),
            on_failure: settings.on_failure,
            persist: settings.persist.as_ref().map_or_else(Default::default, |l| l.value),
            reverse: reverse::of(service),
        })
    });
    let services = services.collect::<Option<Vec<Service>>>()?;
    Some(Plan {
        name: plan.name.as_ref()?.value.clone(),
        description: plan.description.clone(),
        services,
        waves,
        failure_budget: plan.failure_budget,
        total_bandwidth: plan.total_bandwidth,
        audit: plan.audit.clone(),
    })
}

fn traffic(service: &ServiceDraft, inventories: &Inventories) -> Option<Traffic> {
    let draft = service.settings.traffic.as_ref()?;
    let director = inventories.inventory.directors.get(&draft.director.value)?.kind();
    let given = draft.member.as_ref().map(|m| m.template.value.clone());
    Some(Traffic {
        director: draft.director.value.clone(),
        pool: director.pool_name(&draft.pool.value).ok()?,
        member: given.unwrap_or_else(|| members::default_member(director)),
        address: draft.address.as_ref().map(|a| a.template.value.clone()),
        absent_sources: draft.absent_sources,
        others_stay: draft.others_stay,
        port: draft.port.as_ref().map(|p| p.template.value.clone()),
        ttl: draft.ttl.as_ref().map(|t| t.value),
        on_drift: draft.on_drift,
    })
}
