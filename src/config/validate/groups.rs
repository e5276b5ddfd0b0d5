//! Groups.

use std::collections::BTreeSet;

use crate::config::read::group::Members;
use crate::yaml::diagnostic::{Diagnostic, Sink};

use super::{Inventories, unknown};

const MAX_GROUPS: usize = 1000;
const MAX_MEMBERS: usize = 200_000;

/// Every group has members, every name in it is a host, and no host is in it twice.
pub fn resolve(inventories: &mut Inventories, sink: &Sink) {
    let mut resolved = Vec::new();
    let mut left = MAX_MEMBERS;
    for (number, (name, (at, group))) in inventories.groups.iter().enumerate() {
        if number >= MAX_GROUPS || left == 0 {
            let message =
                format!("there are more than {MAX_GROUPS} groups, or more than {MAX_MEMBERS} members in them");
            sink.push(Diagnostic::error(at, message).hint("leave groups out that no plan uses"));
            break;
        }
        if let Some(host) = inventories.hosts.get(name) {
            let found = Diagnostic::error(at, format!("group `{name}` has the name of a host"))
                .note(format!("the host is at {}", host.name.at.short()))
                .hint("rename the group: `from` and `to` take both");
            sink.push(found);
        }
        let names = match &group.members {
            Some(Members::Names(names)) => by_name(inventories, names, sink),
            Some(Members::Selected { selector, sites, except }) => {
                let mut complete = true;
                let mut known = |kind, name: &crate::yaml::source::Located<String>, there: bool| {
                    complete &= there;
                    if !there && !inventories.broken.contains(&name.value) {
                        match kind {
                            "site" => unknown(sink, name, kind, inventories.sites.keys()),
                            _ => unknown(sink, name, kind, inventories.hosts.keys()),
                        }
                    }
                };
                sites.iter().for_each(|site| known("site", site, inventories.sites.contains_key(&site.value)));
                except.iter().for_each(|host| known("host", host, inventories.hosts.contains_key(&host.value)));
                complete.then(|| selector.pick(inventories.inventory.hosts.values()))
            }
            None => None,
        };
        let Some(names) = names else { continue };
        if names.is_empty() {
            let hint = match group.members {
                Some(Members::Names(_)) => "name its hosts: `[dal-1, dal-2]`",
                _ => "every condition of a selector must hold; check `site`, `tags`, `name` and `except`",
            };
            // A host that could not be read may have been its member.
            if !inventories.incomplete {
                sink.push(Diagnostic::error(at, format!("group `{name}` has no members")).hint(hint));
            }
        }
        left = left.saturating_sub(names.len());
        resolved.push((name.clone(), names));
    }
    inventories.inventory.groups = resolved.into_iter().collect();
}

fn by_name(
    inventories: &Inventories,
    names: &[crate::yaml::source::Located<String>],
    sink: &Sink,
) -> Option<Vec<String>> {
    let mut seen = BTreeSet::new();
    let mut out = Vec::new();
    let mut complete = true;
    for name in names {
        if !inventories.hosts.contains_key(&name.value) {
            complete = false;
            if !inventories.broken.contains(&name.value) {
                unknown(sink, name, "host", inventories.hosts.keys());
            }
        } else if !seen.insert(&name.value) {
            sink.push(
                Diagnostic::error(&name.at, format!("host `{}` is in this group twice", name.value))
                    .hint("remove one of the two"),
            );
        } else {
            out.push(name.value.clone());
        }
    }
    complete.then_some(out)
}
