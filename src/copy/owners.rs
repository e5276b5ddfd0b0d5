//! Owners by name: what a user or group of the source is called, and which number has that name on the target.
//!
//! Owns the translation of numbers. On the wire all numbers are the source's; the target translates at its own edge.
//! Must never give a name of a peer to a program that could take it for an option.

use std::collections::{BTreeMap, BTreeSet};
use std::process::{Command, Stdio};

use serde::Serialize;

use crate::copy::fs::acl::{self, IdKind};
use crate::copy::fs::listing::{Entries, Entry};
use crate::copy::fs::metadata::Metadata;

/// Names asked for at once.
const AT_ONCE: usize = 500;
/// More users or groups than any host has.
const MAX: usize = 1 << 16;
/// What the target has of an owner that nobody on the source is.
const NOBODY_THERE: u32 = u32::MAX - 1;

/// The names of numbers on this host. What has no name is left out.
pub fn names(kind: IdKind, ids: &BTreeSet<u32>) -> Vec<(u32, String)> {
    let keys: Vec<String> = ids.iter().map(u32::to_string).collect();
    look_up(kind, &keys)
        .into_iter()
        .filter(|(name, id)| ids.contains(id) && is_name(name))
        .map(|(n, id)| (id, n))
        .collect()
}

/// The numbers that names have on this host.
fn numbers(kind: IdKind, names: &[(u32, String)]) -> BTreeMap<String, u32> {
    let keys: Vec<String> = names.iter().map(|(_, name)| name.clone()).filter(|name| is_name(name)).collect();
    look_up(kind, &keys).into_iter().collect()
}

/// Whether a word can be a name that `getent` takes for nothing else.
fn is_name(name: &str) -> bool {
    let strange = |c: char| c == ':' || c == '/' || c.is_control() || c.is_whitespace();
    !name.is_empty()
        && name.len() <= 255
        && !name.starts_with('-')
        && !name.contains(strange)
        && name.parse::<u32>().is_err()
}

/// Asks the host's name service, whatever is behind it; where there is no `getent`, the files.
fn look_up(kind: IdKind, keys: &[String]) -> Vec<(String, u32)> {
    let mut found = Vec::new();
    for keys in keys.chunks(AT_ONCE) {
        let mut getent = Command::new("getent");
        getent.arg(kind.database()).args(keys).stdin(Stdio::null()).stderr(Stdio::null());
        let text = match getent.output() {
            Ok(output) => output.stdout,
            Err(_) => std::fs::read(format!("/etc/{}", kind.database())).unwrap_or_default(),
        };
        found.extend(String::from_utf8_lossy(&text).lines().filter_map(entry));
    }
    found
}

/// `name:x:number:…`
fn entry(line: &str) -> Option<(String, u32)> {
    let mut fields = line.split(':');
    let (name, _, id) = (fields.next()?, fields.next()?, fields.next()?);
    Some((name.to_owned(), id.parse().ok()?))
}

/// Numbers of the source and what they are here.
#[derive(Debug, Clone, Default, Serialize)]
pub struct IdMap {
    users: IdTable,
    groups: IdTable,
}

#[derive(Debug, Clone, Default, Serialize)]
struct IdTable {
    here: BTreeMap<u32, u32>,
    there: BTreeMap<u32, u32>,
}

impl IdMap {
    /// From the names that the source sends; how many of them nobody has here.
    pub fn resolve(users: &[(u32, String)], groups: &[(u32, String)]) -> Option<(Self, u64)> {
        if users.len() > MAX || groups.len() > MAX {
            return None;
        }
        let (users, no_users) = IdTable::new(users, &numbers(IdKind::Passwd, users));
        let (groups, no_groups) = IdTable::new(groups, &numbers(IdKind::Group, groups));
        Some((Self { users, groups }, no_users + no_groups))
    }

    /// Puts the numbers of this host into the metadata of an entry, ACLs included.
    pub fn metadata(&self, meta: &mut Metadata) {
        meta.uid = self.users.here(meta.uid);
        meta.gid = self.groups.here(meta.gid);
        for (_, acl) in meta.xattrs.iter_mut().filter(|(key, _)| acl::is_acl(key)) {
            acl::map(acl, |kind, id| self.table(kind).here(id));
        }
    }

    /// Puts the numbers of the source into the ACLs among extended attributes of this host.
    pub fn leaving_acls(&self, xattrs: &mut [(Vec<u8>, Vec<u8>)]) {
        for (_, acl) in xattrs.iter_mut().filter(|(key, _)| acl::is_acl(key)) {
            acl::map(acl, |kind, id| self.table(kind).there(id));
        }
    }

    fn table(&self, kind: IdKind) -> &IdTable {
        match kind {
            IdKind::Passwd => &self.users,
            IdKind::Group => &self.groups,
        }
    }

    /// A listing of this host with the numbers of the source.
    pub fn listing(&self, listing: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(listing.len());
        for entry in Entries(listing) {
            let (uid, gid) = (self.users.there(entry.uid), self.groups.there(entry.gid));
            Entry { uid, gid, ..entry }.encode(&mut out);
        }
        out
    }
}

impl IdTable {
    /// `names`: of the source's numbers; `numbers`: of names here.
    fn new(names: &[(u32, String)], numbers: &BTreeMap<String, u32>) -> (Self, u64) {
        let mut table = Self::default();
        let mut unknown = 0;
        for (there, name) in names {
            let here = numbers.get(name).copied();
            unknown += u64::from(here.is_none());
            let here = here.unwrap_or(*there);
            table.here.insert(*there, here);
            table.there.insert(here, *there);
        }
        (table, unknown)
    }

    fn here(&self, there: u32) -> u32 {
        self.here.get(&there).copied().unwrap_or(there)
    }

    fn there(&self, here: u32) -> u32 {
        match self.there.get(&here) {
            Some(there) => *there,
            // That number is somebody on the source, who is another one here.
            None if self.here.contains_key(&here) => NOBODY_THERE,
            None => here,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(names: &[(u32, &str)], numbers: &[(&str, u32)]) -> (IdTable, u64) {
        let names: Vec<_> = names.iter().map(|(id, name)| (*id, (*name).to_owned())).collect();
        IdTable::new(&names, &numbers.iter().map(|(name, id)| ((*name).to_owned(), *id)).collect())
    }

    #[test]
    fn numbers_follow_their_names_there_and_back() {
        let (table, unknown) = table(&[(1000, "ada"), (1001, "bob"), (1002, "eve")], &[("ada", 1001), ("bob", 1000)]);
        assert_eq!(unknown, 1);
        assert_eq!([1000, 1001, 1002, 7].map(|id| table.here(id)), [1001, 1000, 1002, 7]);
        assert_eq!([1001, 1000, 1002, 7].map(|id| table.there(id)), [1000, 1001, 1002, 7]);
    }

    #[test]
    fn a_number_that_is_another_one_here_is_not_taken_for_the_one_there() {
        let (table, _) = table(&[(1000, "ada")], &[("ada", 2000)]);
        assert_eq!(table.there(2000), 1000);
        assert_ne!(table.there(1000), 1000);
    }

    #[test]
    fn names_that_could_be_something_else_are_not_asked_for() {
        for bad in ["", "-s", "--service=files", "a:b", "a\nb", "a b", "0", "1000", &"x".repeat(256)] {
            assert!(!is_name(bad), "{bad}");
        }
        for good in ["root", "www-data", "jörg", "user$", "DOM\\user"] {
            assert!(is_name(good), "{good}");
        }
    }

    #[test]
    fn this_host_knows_root() {
        assert_eq!(names(IdKind::Passwd, &[0].into()), [(0, "root".to_owned())]);
        assert_eq!(numbers(IdKind::Group, &[(5, "root".to_owned())]).get("root"), Some(&0));
    }
}
