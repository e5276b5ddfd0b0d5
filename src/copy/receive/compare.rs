//! The target's half of a comparison.
//!
//! Must never write into the tree: what it remembers is beside the other records of the job.

use std::sync::{Mutex, MutexGuard, PoisonError};

use super::root::Permit;
use super::target::Target;
use crate::copy::digest::cache::{CacheScope, DigestCache};
use crate::copy::digest::hash::{HashedDir, TreeHasher};
use crate::copy::digest::tree::hash_tree;
use crate::copy::failure::{Failure, Side};
use crate::copy::fs::listing::{Entries, split};
use crate::copy::fs::sync_point::SyncPoint;
use crate::copy::owners::IdMap;
use crate::copy::wire::response::Response;

/// Failures that are told.
const TOLD: usize = 100;

/// Hashes everything and reports it directory by directory; `fresh`: reads it all.
pub fn compare(
    permit: &Permit,
    target: &Target,
    owners: Option<&IdMap>,
    (privileged, fresh): (bool, bool),
    send: &(dyn Fn(Response) -> Result<(), Failure> + Sync),
) -> Result<(), Failure> {
    let Target { tree, filter, temp, .. } = target;
    let moment = SyncPoint::begin(tree);
    let root = permit.root.as_os_str().as_encoded_bytes();
    let dir = permit.work.join("jobs").join(&permit.job);
    let subject = CacheScope { dir: &dir, side: Side::Target, job: &permit.job, root, privileged, owners };
    let memory = if fresh { None } else { DigestCache::begin(&subject, tree, moment) };
    let broken = Mutex::new(None);
    let (memory_of, leave) = (memory.as_ref(), || lock(&broken).is_none());
    let side = Side::Target;
    let hashing = TreeHasher { tree, side, filter, temp, privileged, owners, leave: &leave };
    let failures = hash_tree(&hashing, memory_of, &|hashed| {
        if let Err(failure) = reports(&hashed).into_iter().try_for_each(send) {
            lock(&broken).get_or_insert(failure);
        }
    });
    // Also where nobody listens any more: the next try need not read it all again.
    memory.into_iter().for_each(DigestCache::finish);
    let broken = lock(&broken).take();
    match broken {
        Some(failure) => Err(failure),
        None => send(Response::DigestsEnd { failures: failures.into_iter().take(TOLD).collect() }),
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A directory in frames of bounded length.
fn reports(hashed: &HashedDir) -> Vec<Response> {
    let mut digests = hashed.digests.iter().copied();
    let pieces = split(&hashed.listing);
    let count = pieces.len();
    let report = |(nth, listing): (usize, &[u8])| Response::Digests {
        path: hashed.path.clone(),
        listing: listing.to_vec(),
        digests: digests.by_ref().take(Entries(listing).count()).collect(),
        last: nth + 1 == count,
    };
    pieces.into_iter().enumerate().map(report).collect()
}
