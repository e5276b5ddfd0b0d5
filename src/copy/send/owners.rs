//! Tells the target what the owners on the source are called.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use super::link::Link;
use super::source::Found;
use crate::copy::failure::{Failure, Side};
use crate::copy::filter::Filter;
use crate::copy::listing::{Entries, Entry};
use crate::copy::message::{Order, Orders, Report};
use crate::copy::owners::{Kind, names};
use crate::copy::path::{self, TempNames};
use crate::copy::scan::{Visit, Visitor, walk};
use crate::copy::tree::Tree;

/// What of the source is carried.
pub struct Carried<'a> {
    /// The tree.
    pub tree: &'a Tree,
    /// What stays behind.
    pub filter: &'a Filter,
    /// Names that are never sent.
    pub temp: &'a TempNames,
}

/// Agrees with the target about owners by name, if they are to go by it; how many users and groups keep their number all the same.
pub fn agree(orders: &Orders, carried: &Carried<'_>, found: Option<&Found>, link: &Link) -> Result<u64, Failure> {
    if !orders.by_name {
        return Ok(0);
    }
    let ids = match found {
        Some(found) => of_found(found),
        // The target's listing is in the source's terms, so that they are needed before anything is compared.
        None => of_tree(carried),
    };
    let (users, groups) = (names(Kind::Passwd, &ids.users), names(Kind::Group, &ids.groups));
    let nameless = (ids.users.len() - users.len()) + (ids.groups.len() - groups.len());
    link.order(&Order::Owners { users, groups }, Vec::new())?;
    match link.report()? {
        Report::Owners { unknown } => Ok(unknown + nameless as u64),
        _ => Err(Failure::protocol(Side::Target, "an answer to another question")),
    }
}

#[derive(Default)]
struct Ids {
    users: BTreeSet<u32>,
    groups: BTreeSet<u32>,
}

impl Ids {
    fn add(&mut self, entry: &Entry<'_>) {
        self.users.insert(entry.uid);
        self.groups.insert(entry.gid);
    }
}

fn of_found(found: &Found) -> Ids {
    let mut ids = Ids::default();
    if let Some(root) = found.root.get() {
        ids.add(&root);
    }
    for listing in found.dirs.iter().filter_map(|dir| dir.listing.as_deref()) {
        Entries(listing).for_each(|entry| ids.add(&entry));
    }
    ids
}

fn of_tree(carried: &Carried<'_>) -> Ids {
    let collector = Collector { carried, ids: Mutex::default() };
    if let Ok(st) = rustix::fs::fstat(carried.tree.root()) {
        collector.lock().add(&Entry::of_stat(b"", &st));
    }
    let threads = std::thread::available_parallelism().map_or(2, |n| n.get().clamp(2, 8));
    walk(carried.tree, Side::Source, threads, &collector);
    collector.ids.into_inner().unwrap_or_else(PoisonError::into_inner)
}

struct Collector<'a> {
    carried: &'a Carried<'a>,
    ids: Mutex<Ids>,
}

impl Collector<'_> {
    fn lock(&self) -> std::sync::MutexGuard<'_, Ids> {
        self.ids.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Visitor for Collector<'_> {
    fn skips(&self, dir: &[u8], name: &[u8], is_dir: bool) -> bool {
        let Carried { filter, temp, .. } = self.carried;
        temp.matches(name) || !filter.is_empty() && filter.excludes(&path::join(dir, name), is_dir)
    }

    fn visit(&self, visit: Visit<'_>) {
        let mut ids = self.lock();
        Entries(&visit.listing).for_each(|entry| ids.add(&entry));
    }

    /// The scan that follows comes to it, too.
    fn problem(&self, _: Failure) {}
}
