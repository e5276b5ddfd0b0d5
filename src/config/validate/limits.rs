//! Limits: which hosts of the plan stand where one holds.

use std::collections::{BTreeMap, BTreeSet};

use crate::config::read::limits::{LimitDraft, PlaceDraft};
use crate::model::{Host, Limit, LimitedPlace};
use crate::text::suggest;
use crate::yaml::diagnostic::{Diagnostic, Sink};

use super::{Draft, some, unknown};

/// Every limit with the hosts that it holds for. Where no pair may be known, nothing is said of hosts.
pub fn resolve(draft: &mut Draft<'_>, sink: &Sink) {
    let mut limits: Vec<Limit> = Vec::new();
    let known = draft.pairs.iter().all(Option::is_some) && !draft.inventories.incomplete;
    let pairs = draft.pairs.iter().flatten().flatten().flat_map(|pair| [&pair.source, &pair.target]);
    let hosts: Vec<&Host> = pairs.filter_map(|name| draft.inventories.inventory.hosts.get(name)).collect();
    for limit in &draft.plan.limits {
        let places = match &limit.place {
            PlaceDraft::Everywhere => everywhere(limit, sink),
            PlaceDraft::Site(site) if !draft.inventories.sites.contains_key(&site.value) => {
                unknown(sink, site, "site", draft.inventories.sites.keys());
                continue;
            }
            PlaceDraft::Jump(jump) if !draft.inventories.knows(&jump.value) => {
                unknown(sink, jump, "host", draft.inventories.hosts.keys());
                continue;
            }
            PlaceDraft::Site(site) => {
                one(LimitedPlace::Site(site.value.clone()), &hosts, |host| host.site.as_ref() == Some(&site.value))
            }
            PlaceDraft::Jump(jump) => {
                one(LimitedPlace::Behind(jump.value.clone()), &hosts, |host| host.ssh.jump.contains(&jump.value))
            }
            PlaceDraft::Each(each) => by_each(&each.value, &hosts),
        };
        if known && !matches!(limit.place, PlaceDraft::Everywhere) {
            judge(limit, &places, &hosts, sink);
        }
        for (place, hosts) in places {
            let LimitDraft { bandwidth, streams, max_unavailable, .. } = *limit;
            limits.push(Limit { place, hosts, bandwidth, streams, max_unavailable });
        }
    }
    draft.limits = limits;
}

type Places = BTreeMap<LimitedPlace, BTreeSet<String>>;

fn everywhere(limit: &LimitDraft, sink: &Sink) -> Places {
    let elsewhere = [
        (limit.bandwidth.is_some(), "bandwidth", "`total_bandwidth` of the plan"),
        (limit.max_unavailable.is_some(), "max_unavailable", "`max_unavailable` of a wave"),
    ];
    for (_, key, other) in elsewhere.into_iter().filter(|(is_set, ..)| *is_set) {
        let what = format!("`{key}` without a place is said by {other}");
        sink.push(Diagnostic::error(&limit.at, what).hint("name a place: `site`, `jump` or `each`"));
    }
    Places::from([(LimitedPlace::Everywhere, BTreeSet::new())])
}

fn one(place: LimitedPlace, hosts: &[&Host], is_there: impl Fn(&Host) -> bool) -> Places {
    let there = hosts.iter().filter(|host| is_there(host)).map(|host| host.name.clone());
    Places::from([(place, there.collect())])
}

/// One place for each site, jump host or value of a variable.
fn by_each(each: &str, hosts: &[&Host]) -> Places {
    let mut places = Places::new();
    for host in hosts {
        let of_host: Vec<LimitedPlace> = match each {
            "site" => host.site.iter().cloned().map(LimitedPlace::Site).collect(),
            "jump" => host.ssh.jump.iter().cloned().map(LimitedPlace::Behind).collect(),
            var => {
                host.vars.get(var).map(|value| LimitedPlace::Var(var.to_owned(), value.clone())).into_iter().collect()
            }
        };
        for place in of_host {
            places.entry(place).or_default().insert(host.name.clone());
        }
    }
    places
}

/// A limit that holds nowhere is a mistake; hosts that it does not hold for are told.
fn judge(limit: &LimitDraft, places: &Places, hosts: &[&Host], sink: &Sink) {
    let held: BTreeSet<&String> = places.values().flatten().collect();
    let var = match &limit.place {
        PlaceDraft::Each(each) if each.value != "site" && each.value != "jump" => Some(each),
        _ => None,
    };
    if held.is_empty() {
        let what = Diagnostic::error(&limit.at, "the limit holds for no host of the plan");
        let vars: BTreeSet<&str> = hosts.iter().flat_map(|host| host.vars.keys()).map(String::as_str).collect();
        let hint = var.map_or_else(
            || "hosts say where they stand by `site`, and how they are reached by `jump` of `ssh`".to_owned(),
            |var| suggest::hint(&var.value, "variables", vars),
        );
        return sink.push(what.hint(hint));
    }
    let without: BTreeSet<&String> = hosts.iter().map(|host| &host.name).filter(|name| !held.contains(name)).collect();
    if let Some(var) = var.filter(|_| !without.is_empty()) {
        let names: Vec<String> = without.into_iter().cloned().collect();
        let what = format!("the limit does not hold for hosts without `{}`: {}", var.value, some(&names));
        sink.push(Diagnostic::warning(&limit.at, what).hint("give them the variable, as one that stands alone"));
    }
}
