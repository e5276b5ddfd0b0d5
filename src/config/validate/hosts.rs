//! Hosts: merging, inherited settings, jump hosts.

use std::collections::BTreeSet;
use std::collections::btree_map::Entry;

use crate::config::read::host::HostDraft;
use crate::config::read::inventory::InventoryDraft;
use crate::fields::template::Role;
use crate::model::{Host, Site};
use crate::yaml::diagnostic::{Diagnostic, Sink};
use crate::yaml::source::{At, Located};

use super::{Inventories, unknown};

const CAPACITY: u32 = 100;

/// Puts inventories together; what is defined twice is reported with both places.
pub fn merge(drafts: Vec<InventoryDraft>, sink: &Sink) -> Inventories {
    let mut inventories = Inventories::default();
    let mut hosts = Vec::new();
    let mut implied = Vec::new();
    for draft in drafts {
        inventories.incomplete |= draft.incomplete;
        inventories.broken.extend(draft.broken);
        if draft.implied {
            implied.extend(draft.sites);
        } else {
            for (name, site) in draft.sites {
                insert(sink, "site", name, &mut inventories.sites, site);
            }
        }
        for (name, members) in draft.groups {
            insert(sink, "group", name, &mut inventories.groups, members);
        }
        for (name, director) in draft.directors {
            insert(sink, "director", name, &mut inventories.directors, director);
        }
        inventories.invoices.extend(draft.invoices.into_iter().filter_map(|(name, money)| Some((name.value, money?))));
        hosts.extend(draft.hosts.into_iter().map(|host| (host, draft.defaults.clone())));
    }
    for (name, site) in implied {
        inventories.sites.entry(name.value).or_insert((name.at, site));
    }
    for (mut host, defaults) in hosts {
        let name = host.name.value.clone();
        // The site may come from the defaults, and brings settings that go before them.
        let site = host.settings.site.as_ref().or(defaults.site.as_ref());
        if let Some((_, site)) = site.and_then(|s| inventories.sites.get(&s.value)) {
            host.settings = host.settings.over(&site.defaults);
            host.inherited = host.inherited.over(&site.defaults.ssh, &name);
        }
        host.settings = host.settings.over(&defaults);
        host.inherited = host.inherited.over(&defaults.ssh, &name);
        match inventories.hosts.entry(name) {
            Entry::Vacant(entry) => drop(entry.insert(host)),
            Entry::Occupied(entry) => twice(sink, "host", &host.name, &entry.get().name.at),
        }
    }
    inventories.inventory.sites = inventories
        .sites
        .iter()
        .map(|(name, (_, site))| (name.clone(), Site { description: site.description.clone() }))
        .collect();
    inventories.inventory.hosts = inventories.hosts.iter().map(|(name, host)| (name.clone(), model(host))).collect();
    let warned = inventories.hosts.iter().filter(|(_, host)| !host.warnings.is_empty());
    inventories.inventory.warnings = warned.map(|(name, host)| (name.clone(), host.warnings.clone())).collect();
    let bmcs = inventories.hosts.iter().filter_map(|(name, host)| Some((name.clone(), host.settings.bmc.clone()?)));
    inventories.inventory.bmcs = bmcs.collect();
    let configs = inventories.directors.iter().filter_map(|(name, (_, d))| Some((name.clone(), d.config.clone()?)));
    inventories.inventory.directors = configs.collect();
    inventories.inventory.invoices = std::mem::take(&mut inventories.invoices);
    inventories
}

fn insert<T>(
    sink: &Sink,
    kind: &str,
    name: Located<String>,
    into: &mut std::collections::BTreeMap<String, (At, T)>,
    value: T,
) {
    match into.entry(name.value.clone()) {
        Entry::Vacant(entry) => drop(entry.insert((name.at, value))),
        Entry::Occupied(entry) => twice(sink, kind, &name, &entry.get().0),
    }
}

fn twice(sink: &Sink, kind: &str, name: &Located<String>, first: &At) {
    let found = Diagnostic::error(&name.at, format!("{kind} `{}` is defined twice", name.value))
        .note(format!("first at {}", first.short()))
        .hint("remove or rename one of the two");
    sink.push(found);
}

fn model(draft: &HostDraft) -> Host {
    let HostDraft { name, address, settings, .. } = draft;
    let mut vars = settings.vars.clone();
    vars.insert("name".to_owned(), name.value.clone());
    vars.insert("address".to_owned(), address.value.clone());
    if let Some(site) = &settings.site {
        vars.insert("site".to_owned(), site.value.clone());
    }
    Host {
        name: name.value.clone(),
        site: settings.site.as_ref().map(|site| site.value.clone()),
        address: address.value.clone(),
        ssh: settings.ssh.target(),
        tags: settings.tags.iter().cloned().collect(),
        capacity: settings.capacity.unwrap_or(CAPACITY),
        cost_per_month: settings.cost_per_month.clone(),
        vars,
    }
}

/// Every jump host is a host.
pub fn jumps_exist(inventories: &mut Inventories, sink: &Sink) {
    for host in inventories.hosts.values() {
        for hop in host.settings.ssh.jump.iter().flatten() {
            if !inventories.knows(&hop.value) {
                unknown(sink, hop, "host", inventories.hosts.keys());
            }
        }
    }
}

/// Following jump hosts from a host never comes back to it.
pub fn no_jump_cycles(inventories: &mut Inventories, sink: &Sink) {
    let mut done: BTreeSet<&str> = BTreeSet::new();
    for start in inventories.hosts.keys() {
        let mut path: Vec<(&str, usize)> = vec![(start, 0)];
        let mut on_path: BTreeSet<&str> = BTreeSet::from([start.as_str()]);
        // Depth first: each host is entered once, and left when all its hops have been looked at.
        while let Some((name, next)) = path.pop() {
            let hop = inventories.hosts.get(name).and_then(|h| h.settings.ssh.jump.iter().flatten().nth(next));
            let Some(hop) = hop.filter(|_| !done.contains(name)) else {
                on_path.remove(name);
                done.insert(name);
                continue;
            };
            path.push((name, next + 1));
            if on_path.contains(hop.value.as_str()) {
                report_cycle(&path, hop, sink);
            } else if !done.contains(hop.value.as_str()) {
                on_path.insert(&hop.value);
                path.push((&hop.value, 0));
            }
        }
    }
}

fn report_cycle(path: &[(&str, usize)], hop: &Located<String>, sink: &Sink) {
    const SHOWN: usize = 8;
    let names = path.iter().map(|(name, _)| *name).skip_while(|name| *name != hop.value);
    let mut way: Vec<&str> = names.take(SHOWN).collect();
    way.push(if way.len() == SHOWN { "… " } else { &hop.value });
    let message = format!("host `{}` is reached through itself: {}", hop.value, way.join(" → "));
    sink.push(
        Diagnostic::error(&hop.at, message).hint("one of these hosts needs a way that does not go through the others"),
    );
}

/// Every host that a director names is a host.
pub fn directors_exist(inventories: &mut Inventories, sink: &Sink) {
    let uses = inventories.directors.values().flat_map(|(_, director)| &director.uses);
    for host in uses.filter(|u| matches!(u.role, Role::Host)).map(|u| &u.template) {
        if !inventories.knows(&host.value.0) {
            let name = Located { value: host.value.0.clone(), at: host.at.clone() };
            unknown(sink, &name, "host", inventories.hosts.keys());
        }
    }
}
