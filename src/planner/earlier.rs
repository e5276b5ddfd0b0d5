//! What an earlier run has seen of a source that has moved already: by that it is given back, too.
//!
//! Owns what counts as such evidence. Must never take one host for another because both have one name, and never take what a run has
//! begun for what it has done.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::compile::{members_of, steps_of, unverified};
use crate::model::{Host, Pair};
use crate::provider::Machine;
use crate::spec::{Decommission, Service, Spec};
use crate::step::{EmptyStep, Step, Steps};

/// A source that an earlier run has moved.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Earlier {
    /// The run.
    pub run: String,
    /// Where it was seen to be empty: the pools that it was in.
    pub members: Vec<EmptyStep>,
    /// Why that is no reason to give it back; `None`: it is one.
    pub against: Option<String>,
}

/// A run as it ended.
pub struct Ended<'a> {
    /// Its name.
    pub run: &'a str,
    /// What it was begun with.
    pub spec: &'a Spec,
    /// What it was to do.
    pub steps: &'a Steps,
    /// Whether a step of it has taken hold.
    pub done: &'a dyn Fn(&str) -> bool,
}

/// The sources that go back by this plan, with how and in which pair.
pub fn wanted(spec: &Spec) -> impl Iterator<Item = (&Service, &Decommission, &Arc<Pair>)> {
    let services = spec.plan.services.iter().filter_map(|s| Some((s, s.decommission.as_ref()?)));
    services.flat_map(|(service, how)| service.pairs.iter().map(move |pair| (service, how, pair)))
}

/// What a run says of the sources that are to go back by `now` and of which nothing is `known` yet from newer runs.
pub fn add(known: &mut BTreeMap<String, Earlier>, then: &Ended<'_>, now: &Spec) {
    for (service, how, pair) in wanted(now) {
        if known.contains_key(&pair.source) {
            continue;
        }
        let own = steps_of(then.spec, then.steps, &pair.source);
        let carried = |step: &&Step| {
            step.service == service.name && step.pair.as_ref().is_some_and(|other| other.source == pair.source)
        };
        if !own.iter().any(carried) {
            continue;
        }
        let members = members_of(&own, &pair.source);
        let against = against(then, now, how, pair, &own).err();
        known.insert(pair.source.clone(), Earlier { run: then.run.to_owned(), members, against });
    }
}

fn against(then: &Ended<'_>, now: &Spec, how: &Decommission, pair: &Pair, own: &[&Step]) -> Result<(), String> {
    let run = then.run;
    let hosts = |name: &String| then.spec.inventory.hosts.get(name).zip(now.inventory.hosts.get(name));
    for name in [&pair.source, &pair.target] {
        if !hosts(name).is_some_and(|(then, now)| then.address == now.address && then.ssh.address == now.ssh.address) {
            return Err(format!("{name} had another address in the inventory of {run}"));
        }
    }
    let machine = |host: &Host| -> Option<Machine> { how.provider.kind().machine(host).ok() };
    let other = |(then, now): (&Host, &Host)| machine(then).is_some_and(|then| machine(now) != Some(then));
    if hosts(&pair.source).is_some_and(other) {
        return Err(format!("{} was another machine in the inventory of {run}", pair.source));
    }
    if let Some(step) = own.iter().find(|step| !(then.done)(&step.id)) {
        return Err(format!("{} is not done in {run}", step.id));
    }
    let elsewhere = own.iter().filter_map(|step| step.pair.as_deref()).find(|p| p.source == pair.source && *p != pair);
    if let Some(other) = elsewhere {
        return Err(format!("{run} has moved it to {}, and the plan says {}", other.target, pair.target));
    }
    unverified(own, &pair.source)
        .map_err(|finding| format!("{run} has not compared its copy with it ({})", finding.what))
}
