//! How one logs in to each host: what it says itself goes before its group, that before its site, and that before `defaults`.

use std::collections::BTreeMap;

use crate::config::read::host::Ssh;
use crate::yaml::diagnostic::{Diagnostic, Sink};
use crate::yaml::source::{At, Located};

use super::Inventories;

/// Settles it for all hosts. Two groups that speak of one host are an error: neither goes before the other.
pub fn resolve(inventories: &mut Inventories, sink: &Sink) {
    let groups = by_host(inventories, sink);
    for (name, host) in &mut inventories.hosts {
        let own = std::mem::take(&mut host.settings.ssh);
        let own = match groups.get(name) {
            Some((_, ssh)) => own.over(ssh, name),
            None => own,
        };
        host.settings.ssh = own.over(&host.inherited, name);
        if let Some(model) = inventories.inventory.hosts.get_mut(name) {
            model.ssh = host.settings.ssh.target();
        }
    }
}

fn by_host(inventories: &Inventories, sink: &Sink) -> BTreeMap<String, (String, Ssh)> {
    let mut found: BTreeMap<String, (String, Ssh)> = BTreeMap::new();
    for (group, ssh) in inventories.groups.iter().filter_map(|(name, (_, g))| Some((name, g.ssh.as_ref()?))) {
        let members = inventories.inventory.groups.get(group).into_iter().flatten();
        let mut twice = None;
        for host in members {
            match found.get(host) {
                Some((other, _)) => twice = twice.or(Some((host, other.clone()))),
                None => drop(found.insert(host.clone(), (group.clone(), ssh.value.clone()))),
            }
        }
        if let Some((host, other)) = twice {
            report(
                ssh,
                host,
                &other,
                inventories.groups.get(&other).and_then(|(_, g)| Some(&g.ssh.as_ref()?.at)),
                sink,
            );
        }
    }
    found
}

fn report(ssh: &Located<Ssh>, host: &str, other: &str, first: Option<&At>, sink: &Sink) {
    let message = format!("host `{host}` is in two groups that say how to log in: this one and `{other}`");
    let found = Diagnostic::error(&ssh.at, message).hint("say it at one of the two, or at the hosts themselves");
    sink.push(match first {
        Some(at) => found.note(format!("the other is at {}", at.short())),
        None => found,
    });
}
