//! Comparing both sides entry by entry.
//!
//! Must never call two entries the same because a record says so: everything is read again on both disks.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Mutex, PoisonError};

use super::identity::new_generation;
use super::known::Known;
use super::link::Link;
use super::owners::{self, Carried};
use super::source::Source;
use crate::copy::VerifyReport;
use crate::copy::digest::{Digest, Hashed, Hashing, Totals, hash_tree, same_content};
use crate::copy::failure::{Failure, Side, show};
use crate::copy::filter::Filter;
use crate::copy::listing::{Entries, Entry, LINKED, Pair, is_valid, merge};
use crate::copy::message::{Begin, Order, Orders, Ready, Report};
use crate::copy::meta::Rights;
use crate::copy::path::{self, TempNames};
use crate::copy::tree::Tree;
use crate::copy::wire::VERSION;

/// Differences that are spelled out.
const EXAMPLES: usize = 20;

/// Reads both trees and compares them.
pub fn verify(orders: &Orders, link: &Link) -> Result<VerifyReport, Failure> {
    let filter = Filter::new(&orders.exclude).map_err(|e| Failure::fatal(Side::Source, e.to_string()))?;
    let temp = TempNames::of_job(&orders.job);
    let tree = Tree::open(std::path::Path::new(&orders.from)).map_err(|e| {
        let f = Failure::of(Side::Source, "open the source directory", orders.from.as_bytes(), e);
        Failure { fatal: true, ..f }
    })?;
    let exclude = orders.exclude.clone();
    let next = new_generation()?;
    let ready = link.begin(Begin { version: VERSION, generation: None, next, exclude, read_only: true })?;
    owners::agree(orders, &Carried { tree: &tree, filter: &filter, temp: &temp }, None, link)?;
    let hashing =
        Hashing { tree: &tree, side: Side::Source, filter: &filter, temp: &temp, privileged: false, owners: None };
    let compare = Compare { owners: ready.privileged, delete: orders.delete, ..Compare::default() };
    let totals = hash_both(hashing, link, &ready, &compare)?;
    Ok(compare.report(totals.files.into_inner(), totals.bytes.into_inner()))
}

/// Where that is asked for, what the target has by the content of everything on both sides; what differs stays as `known` has it.
pub fn by_content(
    orders: &Orders,
    source: &Source,
    link: &Link,
    known: Known,
    ready: &Ready,
) -> Result<Known, Failure> {
    let (mut there, left) = match known {
        Known::Target(there, left) if orders.checksum => (there, left),
        other => return Ok(other),
    };
    let Source { tree, filter, temp, .. } = source;
    let hashing = Hashing { tree, side: Side::Source, filter, temp, privileged: false, owners: None };
    let compare = Compare { owners: ready.privileged, ..Compare::default() };
    hash_both(hashing, link, ready, &compare)?;
    compare.mark_same(&mut there);
    Ok(Known::Target(there, left))
}

/// Has both sides hash everything and takes it in.
fn hash_both(hashing: Hashing<'_>, link: &Link, ready: &Ready, compare: &Compare) -> Result<Totals, Failure> {
    let privileged = ready.privileged && Rights::of_process().privileged;
    let hashing = Hashing { privileged, ..hashing };
    link.order(&Order::Digest { privileged }, Vec::new())?;
    let totals = Totals::default();
    let (failures, theirs) = std::thread::scope(|scope| {
        let ours = scope.spawn(|| hash_tree(&hashing, &totals, &|hashed| compare.ours(hashed)));
        let theirs = receive(link, compare);
        (ours.join().unwrap_or_default(), theirs)
    });
    let mut problems = failures;
    problems.extend(theirs?);
    if let Some(first) = problems.first() {
        let what = format!("{} could not be read: {}", crate::text::count(problems.len() as u64, "path"), first.what);
        return Err(Failure { what, fatal: true, ..first.clone() });
    }
    Ok(totals)
}

/// Takes in the target's digests; what it could not read comes back.
fn receive(link: &Link, compare: &Compare) -> Result<Vec<Failure>, Failure> {
    loop {
        match link.report()? {
            Report::Digests { path, listing, digests } => {
                if !path::is_relative(&path) || !is_valid(&listing) || Entries(&listing).count() != digests.len() {
                    return Err(Failure::protocol(Side::Target, "digests that make no sense"));
                }
                compare.theirs(path, &listing, &digests);
            }
            Report::Digested { failures, .. } => return Ok(failures),
            _ => return Err(Failure::protocol(Side::Target, "an answer to another question")),
        }
    }
}

/// Directories of which one side is known, and the differences found so far.
#[derive(Default)]
struct Compare {
    owners: bool,
    delete: bool,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    ours: HashMap<Vec<u8>, Hashed>,
    theirs: HashMap<Vec<u8>, (Vec<u8>, Vec<Digest>)>,
    report: VerifyReport,
}

impl Compare {
    fn ours(&self, hashed: Hashed) {
        self.lock().ours.insert(hashed.path.clone(), hashed);
    }

    /// A directory of the target may come in several pieces.
    fn theirs(&self, path: Vec<u8>, listing: &[u8], digests: &[Digest]) {
        let mut state = self.lock();
        let there = state.theirs.entry(path).or_default();
        there.0.extend_from_slice(listing);
        there.1.extend_from_slice(digests);
    }

    fn report(self, files: u64, bytes: u64) -> VerifyReport {
        let (owners, delete) = (self.owners, self.delete);
        let State { ours, mut theirs, mut report } = self.state.into_inner().unwrap_or_else(PoisonError::into_inner);
        let mut paths: Vec<&Vec<u8>> = ours.keys().collect();
        paths.sort_unstable();
        for path in paths {
            let (listing, digests) = theirs.remove(path).unwrap_or_default();
            if let Some(hashed) = ours.get(path) {
                compare_directory(hashed, &listing, &digests, owners, delete, &mut |name, what| {
                    report.different += 1;
                    if report.examples.len() < EXAMPLES {
                        report.examples.push(format!("{}: {what}", show(&path::join(path, name))));
                    }
                });
            }
        }
        VerifyReport { files, bytes, ..report }
    }

    /// Puts what is the same on both sides into `known` as the source has it.
    fn mark_same(self, known: &mut BTreeMap<Vec<u8>, Vec<u8>>) {
        let owners = self.owners;
        let State { ours, mut theirs, .. } = self.state.into_inner().unwrap_or_else(PoisonError::into_inner);
        for (path, hashed) in ours {
            let (Some(listing), Some((there, digests))) = (known.get_mut(&path), theirs.remove(&path)) else {
                continue;
            };
            let mut other = HashSet::new();
            compare_directory(&hashed, &there, &digests, owners, true, &mut |name, _| {
                other.insert(name.to_vec());
            });
            *listing = with_same(listing, &hashed.listing, &other);
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A listing of the target in which what is not among the `other` names is as the source has it.
fn with_same(there: &[u8], ours: &[u8], other: &HashSet<Vec<u8>>) -> Vec<u8> {
    let mut out = Vec::with_capacity(there.len());
    for pair in merge(there, ours) {
        match pair {
            // Content says nothing about which names belong to one inode.
            Pair::Both(_, ours) if !other.contains(ours.name) && ours.flags & LINKED == 0 => ours.encode(&mut out),
            Pair::Both(there, _) | Pair::Left(there) => there.encode(&mut out),
            Pair::Right(_) => {}
        }
    }
    out
}

fn compare_directory(
    ours: &Hashed,
    listing: &[u8],
    digests: &[Digest],
    owners: bool,
    extras_count: bool,
    differs: &mut dyn FnMut(&[u8], &str),
) {
    let mut here = Entries(&ours.listing).zip(&ours.digests).peekable();
    let mut there = Entries(listing).zip(digests).peekable();
    loop {
        match (here.peek().copied(), there.peek().copied()) {
            (None, None) => return,
            (Some((a, x)), Some((b, y))) if a.name == b.name => {
                if let Some(what) = difference(&a, x, &b, y, owners) {
                    differs(a.name, what);
                }
                here.next();
                there.next();
            }
            (Some((a, _)), Some((b, _))) if a.name > b.name => {
                if extras_count {
                    differs(b.name, "is only on the target");
                }
                there.next();
            }
            (Some((a, _)), _) => {
                differs(a.name, "is missing on the target");
                here.next();
            }
            (None, Some((b, _))) => {
                if extras_count {
                    differs(b.name, "is only on the target");
                }
                there.next();
            }
        }
    }
}

/// The most telling way in which two entries differ.
fn difference(a: &Entry<'_>, x: &Digest, b: &Entry<'_>, y: &Digest, owners: bool) -> Option<&'static str> {
    let checks = [
        (a.kind() != b.kind(), "is another kind of file"),
        (a.size != b.size, "size differs"),
        (!same_content(x, y), "content differs"),
        (a.rdev != b.rdev, "device number differs"),
        (owners && (a.uid, a.gid) != (b.uid, b.gid), "owner differs"),
        (owners && a.mode != b.mode || a.mode & 0o777 != b.mode & 0o777, "permissions differ"),
        (a.mtime != b.mtime, "modification time differs"),
        (x != y, "extended attributes differ"),
    ];
    checks.into_iter().find(|(differs, _)| *differs).map(|(_, what)| what)
}
