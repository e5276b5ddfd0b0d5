//! Clients that still come to the old address of a source are sent on to the new side, until nobody comes any more.
//!
//! The relay is set when its source has left for good. What watches it and takes it away stands behind everything else of the pair; nothing
//! but a decommission waits for that.

use std::net::{Ipv4Addr, SocketAddrV4};

use super::Compilation;
use super::decommission::{ends, steps_of};
use super::service::{PairPlan, ServicePlan};
use crate::model::finding::Finding;
use crate::model::{Host, Pair};
use crate::spec::{Relay, Service, Spec};
use crate::step::{Draft, RelayStep, Route, Step, StepKind, Steps, StragglersStep, UnrelayStep};

/// The name of the step that sets it.
const RELAY: &str = "relay";

/// The step that sets it, where the plan asks for that.
pub fn set(plan: &ServicePlan<'_>, pair: &PairPlan<'_>) -> Result<Option<Draft>, Finding> {
    let Some(relay) = &plan.service.relay else { return Ok(None) };
    let step = of(relay, pair.source, pair.target, pair.port)?;
    Ok(Some(Draft::new(RELAY, StepKind::Relay(step))))
}

/// What is sent where. `port` is that of the service on the source.
pub fn of(relay: &Relay, source: &Host, target: &Host, port: Option<u16>) -> Result<RelayStep, Finding> {
    let filled = target.fill(&relay.to)?;
    let (ip, new) = match (filled.parse::<SocketAddrV4>(), filled.parse::<Ipv4Addr>()) {
        (Ok(to), _) => (*to.ip(), Some(to.port())),
        (_, Ok(ip)) => (ip, None),
        _ => return Err(Finding::refused(&source.name, "cannot send anybody on: `to` is no IPv4 address")),
    };
    if [Some(&source.address), source.ssh.address.as_ref()].into_iter().flatten().any(|own| *own == ip.to_string()) {
        let what = format!("would send who comes on to itself ({ip})");
        return Err(Finding::refused(&source.name, what).hint("`relay: {to: …}` names an address of the new side"));
    }
    let ports = if relay.ports.is_empty() { port.into_iter().collect() } else { relay.ports.clone() };
    let routes = ports.into_iter().map(|port| Route { port, to: SocketAddrV4::new(ip, new.unwrap_or(port)) });
    let (host, address) = (source.name.clone(), source.address.clone());
    Ok(RelayStep { host, address, routes: routes.collect(), on_drift: relay.on_drift })
}

/// The same for a pair of which nothing else is known yet; `None` where that is refused elsewhere.
pub fn relay_of(spec: &Spec, service: &Service, pair: &Pair) -> Option<RelayStep> {
    let hosts = &spec.inventory.hosts;
    let (source, target) = (hosts.get(&pair.source)?, hosts.get(&pair.target)?);
    let port = service.port().and_then(|port| source.fill(port).ok()?.parse().ok());
    of(service.relay.as_ref()?, source, target, port).ok()
}

/// Adds what watches relays and takes them away.
pub fn outlast(c: &mut Compilation<'_>) {
    let relayed = c.spec.plan.services.iter().filter_map(|service| Some((service, service.relay.as_ref()?)));
    let steps: Vec<Step> = relayed
        .flat_map(|(service, relay)| service.pairs.iter().map(move |pair| (service, relay, pair)))
        .flat_map(|(service, relay, pair)| of_pair(c.spec, &c.graph.steps, service, relay, pair))
        .collect();
    if !steps.is_empty() {
        c.graph.steps = c.graph.steps.iter().cloned().chain(steps).collect();
    }
}

fn of_pair(spec: &Spec, graph: &Steps, service: &Service, relay: &Relay, pair: &Pair) -> Vec<Step> {
    let id = |name: &str| format!("{}/{}/{name}", service.name, pair.source);
    let Some(set) = graph.by_id(&id(RELAY)) else { return Vec::new() };
    let StepKind::Relay(step) = &set.kind else { return Vec::new() };
    let behind = |name: &str, kind: StepKind, after: Vec<String>| Step {
        service: service.name.clone(),
        pair: Some(pair.clone().into()),
        ..Step::of_wave(id(name), set.wave.clone(), kind, after)
    };
    let (quiet_for, interval) = (relay.quiet_for, relay.interval);
    let work = StragglersStep { by: set.id.clone(), relay: step.clone(), quiet_for, interval };
    let watch = behind("stragglers", StepKind::Stragglers(work), vec![set.id.clone()]);
    // The receipts of a pair are removed at its end: what is done on the host after that removes its own.
    let mut after = ends(&steps_of(spec, graph, &pair.source));
    after.retain(|id| *id != set.id);
    after.push(watch.id.clone());
    let lift = behind("unrelay", StepKind::Unrelay(UnrelayStep { relay: step.clone() }), after);
    vec![watch, lift]
}
