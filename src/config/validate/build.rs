//! From drafts without errors to the model.

use std::sync::Arc;

use crate::config::read::service::ServiceDraft;
use crate::config::read::traffic::TrafficDraft;
use crate::model::Template;
use crate::spec::{Plan, Service, Traffic};

use super::{Draft, Inventories, members, reverse, services};

/// The plan. `None` only if a pass let something through that it should have reported.
pub fn plan(draft: Draft<'_>) -> Option<Plan> {
    let Draft { plan, inventories, pairs, waves, limits } = draft;
    let services = plan.services.iter().zip(pairs).map(|(service, pairs)| {
        let settings = &service.settings;
        Some(Service {
            name: service.name.value.as_str().into(),
            strategy: services::strategy(service),
            pairs: pairs?.into_iter().map(Arc::new).collect(),
            traffic: traffic(service, inventories)?,
            state: settings.state.iter().map(|s| s.state.clone()).collect(),
            drain: settings.drain.drain.clone(),
            health: settings.health.iter().cloned().map(Arc::new).collect(),
            shift: settings.shift.clone(),
            hooks: settings.hooks.iter().map(|h| h.hook.clone()).collect(),
            min_capacity: settings.min_capacity,
            gates: settings.gates.clone(),
            on_failure: settings.on_failure,
            persist: settings.persist.as_ref().map_or_else(Default::default, |l| l.value),
            freeze: settings.freeze.as_ref().map(|draft| draft.freeze),
            reverse: reverse::of(service),
            parity: settings.parity.clone(),
            relay: settings.relay.as_ref().map(|draft| draft.relay.clone()),
            silence: settings.silence.clone(),
            decommission: settings.decommission.as_ref().map(|draft| draft.decommission.clone()),
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
        limits,
        audit: plan.audit.clone(),
        notify: plan.notify.clone(),
    })
}

fn traffic(service: &ServiceDraft, inventories: &Inventories) -> Option<Vec<Traffic>> {
    let port = service.settings.directors().find_map(|draft| draft.port.as_ref());
    let port = port.map(|port| port.template.value.clone());
    service.settings.directors().map(|draft| binding(draft, port.clone(), inventories)).collect()
}

fn binding(draft: &TrafficDraft, port: Option<Template>, inventories: &Inventories) -> Option<Traffic> {
    let director = inventories.inventory.directors.get(&draft.director.value)?.kind();
    let given = draft.member.as_ref().map(|m| m.template.value.clone());
    Some(Traffic {
        director: draft.director.value.clone(),
        pool: director.pool_name(&draft.pool.value).ok()?,
        member: given.unwrap_or_else(|| members::default_member(director)),
        address: draft.address.as_ref().map(|a| a.template.value.clone()),
        absent_sources: draft.absent_sources,
        others_stay: draft.others_stay,
        port,
        ttl: draft.ttl.as_ref().map(|t| t.value),
        on_drift: draft.on_drift,
    })
}
