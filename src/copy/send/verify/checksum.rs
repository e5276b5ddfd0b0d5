//! What the target has by the content of everything on both sides, for a pass that believes no record of what was sent.

use std::collections::{BTreeMap, HashSet};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use super::compare::{Comparison, Verdict, compare};
use crate::copy::digest::hash::Hashed;
use crate::copy::failure::Failure;
use crate::copy::fs::listing::{LINKED, Pair, merge};
use crate::copy::send::link::Link;
use crate::copy::send::source::baseline::Known;
use crate::copy::send::source::scan::Source;
use crate::copy::wire::response::Ready;
use crate::copy::wire::task::Orders;

/// Where that is asked for: what is the same by its content, `known` gets as the source has it; the rest stays as it is.
pub fn by_content(
    orders: &Orders,
    source: &Source,
    dir: &Path,
    link: &Link,
    known: Known,
    ready: &Ready,
) -> Result<Known, Failure> {
    let (there, left) = match known {
        Known::Target(there, left) if orders.checksum => (there, left),
        other => return Ok(other),
    };
    let there = Mutex::new(there);
    Comparison { orders, source, dir, link, ready }.run(&|ours, theirs| {
        let mut there = there.lock().unwrap_or_else(PoisonError::into_inner);
        mark_same(ours, theirs, ready.privileged, &mut there);
    })?;
    Ok(Known::Target(there.into_inner().unwrap_or_else(PoisonError::into_inner), left))
}

/// Puts what is the same on both sides into `known` as the source has it.
fn mark_same(ours: &Hashed, theirs: &Hashed, owners: bool, known: &mut BTreeMap<Vec<u8>, Vec<u8>>) {
    let Some(listing) = known.get_mut(&ours.path) else { return };
    let mut same = HashSet::new();
    compare(ours, theirs, owners, &mut |entry, verdict| {
        // Content says nothing about which names belong to one inode.
        if matches!(verdict, Verdict::Same { .. }) && entry.flags & LINKED == 0 {
            same.insert(entry.name.to_vec());
        }
    });
    let mut out = Vec::with_capacity(listing.len());
    for pair in merge(listing, &ours.listing) {
        match pair {
            Pair::Both(_, ours) if same.contains(ours.name) => ours.encode(&mut out),
            Pair::Both(there, _) | Pair::Left(there) => there.encode(&mut out),
            Pair::Right(_) => {}
        }
    }
    *listing = out;
}
