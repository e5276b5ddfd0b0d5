//! Sources that are to be given back, as their providers have them now. Asks, and gives nothing back.

use std::collections::BTreeMap;

use super::super::observed::Seen;
use super::LiveSystem;
use crate::outside::Error;
use crate::provider::{Machine, Prospect, ProviderConfig};
use crate::spec::Spec;

/// Asks the providers of all sources that are to be given back. Which machine a host is not known to be, is refused elsewhere.
pub async fn survey(spec: &Spec, live: &LiveSystem<'_>) -> BTreeMap<String, Seen<Prospect>> {
    let mut asked: Vec<(&ProviderConfig, Vec<Machine>)> = Vec::new();
    for service in &spec.plan.services {
        let Some(how) = &service.decommission else { continue };
        let hosts = service.pairs.iter().filter_map(|pair| spec.inventory.hosts.get(&pair.source));
        let machines = hosts.filter_map(|host| how.provider.kind().machine(host).ok());
        match asked.iter_mut().find(|(provider, _)| **provider == how.provider) {
            Some((_, known)) => known.extend(machines),
            None => asked.push((&how.provider, machines.collect())),
        }
    }
    let mut seen = BTreeMap::new();
    for (provider, machines) in asked {
        let answers = live.providers.find(provider).survey(&machines).await;
        seen.extend(machines.into_iter().zip(answers).map(|(machine, answer)| (machine.host, seen_of(answer))));
    }
    seen
}

fn seen_of(answer: Result<Prospect, Error>) -> Seen<Prospect> {
    answer.map_or_else(|e| Seen::Failed { why: e.to_string(), hint: e.hint }, Seen::Live)
}
