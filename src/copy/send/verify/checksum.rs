//! Builds the baseline by comparing the content of everything on both sides, for a pass that trusts no record (`--checksum`).

use std::collections::{BTreeMap, HashSet};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use super::compare::{Comparison, Lenience, Verdict, compare};
use crate::copy::digest::hash::HashedDir;
use crate::copy::failure::Failure;
use crate::copy::fs::listing::{LINKED, Merged, merge};
use crate::copy::send::link::Link;
use crate::copy::send::source::baseline::Baseline;
use crate::copy::send::source::scan::Source;
use crate::copy::wire::response::Ready;
use crate::copy::wire::task::TreeTask;

/// If the task asks for it, marks every entry with the same content on both sides as sent. Other entries stay as they are.
pub fn by_content(
    task: &TreeTask,
    source: &Source,
    dir: &Path,
    link: &Link,
    known: Baseline,
    ready: &Ready,
) -> Result<Baseline, Failure> {
    let (there, left) = match known {
        Baseline::Listing(there, left) if task.checksum => (there, left),
        other => return Ok(other),
    };
    let there = Mutex::new(there);
    Comparison { task, source, dir, link, ready }.run(&|ours, theirs| {
        let mut there = there.lock().unwrap_or_else(PoisonError::into_inner);
        mark_same(ours, theirs, Lenience::of(task, ready), &mut there);
    })?;
    Ok(Baseline::Listing(there.into_inner().unwrap_or_else(PoisonError::into_inner), left))
}

/// Replaces entries of `known` that are the same on both sides by those of the source.
fn mark_same(ours: &HashedDir, theirs: &HashedDir, lenience: Lenience, known: &mut BTreeMap<Vec<u8>, Vec<u8>>) {
    let Some(listing) = known.get_mut(&ours.path) else { return };
    let mut same = HashSet::new();
    compare(ours, theirs, lenience, &mut |entry, verdict| {
        // Content says nothing about which names belong to one inode.
        if matches!(verdict, Verdict::Same { .. }) && entry.flags & LINKED == 0 {
            same.insert(entry.name.to_vec());
        }
    });
    let mut out = Vec::with_capacity(listing.len());
    for pair in merge(listing, &ours.listing) {
        match pair {
            Merged::Both(_, ours) if same.contains(ours.name) => ours.encode(&mut out),
            Merged::Both(there, _) | Merged::Left(there) => there.encode(&mut out),
            Merged::Right(_) => {}
        }
    }
    *listing = out;
}
