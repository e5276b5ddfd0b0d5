//! Groups of groups: who is a member of what, and which variable of which group a host has in the end.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

/// Groups in groups are followed this far.
const MAX_DEPTH: usize = 32;

/// A group as it is written.
#[derive(Debug, Clone, Default)]
pub struct RawGroup {
    pub hosts: BTreeSet<String>,
    pub children: BTreeSet<String>,
    pub vars: Map<String, Value>,
}

/// An inventory as it is written.
#[derive(Debug, Clone, Default)]
pub struct Raw {
    pub groups: BTreeMap<String, RawGroup>,
    /// Variables of hosts alone.
    pub hosts: BTreeMap<String, Map<String, Value>>,
}

/// An inventory with everything in its place.
#[derive(Debug, Clone, PartialEq)]
pub struct Groups {
    /// Hosts of each group, those of its children among them.
    pub members: BTreeMap<String, BTreeSet<String>>,
    /// Variables of each host.
    pub vars: BTreeMap<String, Map<String, Value>>,
}

impl Raw {
    /// Puts everything in its place, as Ansible does: what is said closer to a host goes before what is said further away.
    pub fn merged(mut self) -> Result<Groups, String> {
        let written: BTreeSet<String> = self.groups.values().flat_map(|g| g.hosts.iter().cloned()).collect();
        for host in written {
            self.hosts.entry(host).or_default();
        }
        self.groups.entry("all".into()).or_default().hosts.extend(self.hosts.keys().cloned());
        let depths = self.depths()?;
        let mut members = BTreeMap::new();
        for name in self.groups.keys() {
            let mut hosts = BTreeSet::new();
            self.collect(name, &mut hosts, &mut BTreeSet::new());
            members.insert(name.clone(), hosts);
        }
        let mut order: Vec<(usize, &String)> =
            self.groups.keys().map(|name| (depths.get(name).copied().unwrap_or(1), name)).collect();
        order.sort();
        let mut vars = BTreeMap::new();
        for (host, own) in &self.hosts {
            let mut merged = Map::new();
            let of = order.iter().filter(|(_, group)| members.get(*group).is_some_and(|m| m.contains(host)));
            of.filter_map(|(_, group)| self.groups.get(*group)).for_each(|group| merged.extend(group.vars.clone()));
            merged.extend(own.clone());
            vars.insert(host.clone(), merged);
        }
        Ok(Groups { members, vars })
    }

    fn collect(&self, name: &str, hosts: &mut BTreeSet<String>, seen: &mut BTreeSet<String>) {
        if let Some(group) = self.groups.get(name).filter(|_| seen.insert(name.to_owned())) {
            hosts.extend(group.hosts.iter().cloned());
            group.children.iter().for_each(|child| self.collect(child, hosts, seen));
        }
    }

    /// How far below `all` each group is at most.
    fn depths(&self) -> Result<BTreeMap<String, usize>, String> {
        let mut depths: BTreeMap<String, usize> =
            self.groups.keys().map(|name| (name.clone(), usize::from(name != "all"))).collect();
        for _ in 0..=MAX_DEPTH {
            let mut moved = false;
            for (name, group) in &self.groups {
                let below = depths.get(name).copied().unwrap_or(1) + 1;
                for child in group.children.iter().filter(|child| *child != "all") {
                    let depth = depths.entry(child.clone()).or_insert(1);
                    if name != "all" && *depth < below {
                        (*depth, moved) = (below, true);
                    }
                }
            }
            if !moved {
                return Ok(depths);
            }
        }
        Err(format!("its groups are in a circle, or more than {MAX_DEPTH} deep"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_in_a_circle_come_to_an_end() {
        let mut raw = Raw::default();
        raw.groups.entry("a".into()).or_default().children.insert("b".into());
        raw.groups.entry("b".into()).or_default().children.insert("a".into());
        assert!(raw.merged().unwrap_err().contains("in a circle"));
    }
}
