//! What the target has by its own listing, where nobody knows it any more.
//!
//! Must never take an entry on the target for what was sent unless the manifest says so and the target's own view agrees.

use std::collections::BTreeMap;

use crate::copy::failure::{Failure, Side};
use crate::copy::fs::listing::{DIRTY, Entry, FOREIGN, FileTime, Merged, is_valid, merge};
use crate::copy::fs::path;
use crate::copy::send::link::Link;
use crate::copy::send::source::baseline::{Baseline, Leftovers};
use crate::copy::wire::request::Request;
use crate::copy::wire::response::Response;
use crate::copy::wire::task::TreeTask;

/// Asks the target for all it has and matches it with the manifest.
pub fn ask(task: &TreeTask, link: &Link, manifest: &Baseline, privileged: bool) -> Result<Baseline, Failure> {
    link.request(&Request::List, Vec::new())?;
    let mut there: BTreeMap<Vec<u8>, Vec<u8>> = BTreeMap::new();
    let mut left = Leftovers::new();
    loop {
        match link.response()? {
            Response::Listing { path, listing } => {
                if !path::is_relative(&path) || !is_valid(&listing) {
                    return Err(Failure::protocol(Side::Target, "an invalid listing"));
                }
                there.entry(path).or_default().extend_from_slice(&listing);
            }
            Response::Leftover { dir, name } => drop(left.entry(dir).or_default().insert(name)),
            Response::ListingEnd => break,
            _ => return Err(Failure::protocol(Side::Target, "an unexpected response")),
        }
    }
    if there.values().any(|listing| !is_valid(listing)) {
        return Err(Failure::protocol(Side::Target, "an invalid listing"));
    }
    let lenience = Lenience { owners: !privileged, times: task.rules.allow_inexact_times };
    for (path, listing) in &mut there {
        *listing = reconcile(listing, manifest.listing(path).unwrap_or_default(), lenience);
    }
    Ok(Baseline::Listing(there, left))
}

/// The target's entries as the manifest knows them; what it does not know is marked.
fn reconcile(there: &[u8], sent: &[u8], lenience: Lenience) -> Vec<u8> {
    let mut out = Vec::with_capacity(there.len());
    for pair in merge(there, sent) {
        match pair {
            Merged::Both(there, sent) if agrees(&there, &sent, lenience) => sent.encode(&mut out),
            Merged::Both(there, _) | Merged::Left(there) => {
                Entry { flags: DIRTY | FOREIGN, ctime: FileTime::default(), ino: 0, ..there }.encode(&mut out);
            }
            Merged::Right(_) => {}
        }
    }
    out
}

/// What says nothing.
#[derive(Debug, Clone, Copy, Default)]
struct Lenience {
    /// Without privilege owners cannot be given.
    owners: bool,
    /// Times may be kept as the filesystem does.
    times: bool,
}

/// Whether an entry on the target looks like what was sent.
fn agrees(there: &Entry<'_>, sent: &Entry<'_>, lenience: Lenience) -> bool {
    let time = there.mtime == sent.mtime || lenience.times && sent.mtime.may_be_kept_as(there.mtime);
    let same = there.mode == sent.mode && there.size == sent.size && time && there.rdev == sent.rdev;
    same && (lenience.owners || (there.uid, there.gid) == (sent.uid, sent.gid))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::copy::fs::listing::Entries;

    fn entry(name: &[u8], size: u64, ino: u64) -> Vec<u8> {
        let stamp = FileTime { sec: 7, nsec: 7 };
        let mut out = Vec::new();
        Entry { name, flags: 0, mode: 0o100_644, ino, size, mtime: stamp, ctime: stamp, uid: 1, gid: 1, rdev: 0 }
            .encode(&mut out);
        out
    }

    #[test]
    fn only_what_the_manifest_and_the_target_agree_on_is_believed() {
        let sent = [entry(b"a", 1, 11), entry(b"b", 2, 12), entry(b"gone", 3, 13)].concat();
        let there = [entry(b"a", 1, 99), entry(b"b", 999, 98), entry(b"extra", 5, 97)].concat();
        let known = reconcile(&there, &sent, Lenience::default());
        let known: Vec<_> = Entries(&known).collect();
        assert_eq!(known.iter().map(|e| e.name).collect::<Vec<_>>(), [&b"a"[..], b"b", b"extra"]);
        assert_eq!((known[0].ino, known[0].flags), (11, 0));
        assert_eq!(known[1].flags, DIRTY | FOREIGN);
        assert_eq!(known[2].flags, DIRTY | FOREIGN);
    }
}
