//! What the target has by its own listing, where nobody knows it any more.
//!
//! Must never take an entry on the target for what was sent unless the manifest says so and the target's own view agrees.

use std::collections::{BTreeMap, BTreeSet};

use crate::copy::failure::{Failure, Side};
use crate::copy::fs::listing::{DIRTY, Entry, FOREIGN, FileTime, GONE, MOUNT, Merged, is_valid, merge};
use crate::copy::fs::path;
use crate::copy::send::link::Link;
use crate::copy::send::source::baseline::{Baseline, Leftovers};
use crate::copy::wire::request::Request;
use crate::copy::wire::response::Response;
use crate::copy::wire::task::TreeTask;

/// What the target has.
pub struct Listed {
    /// As the manifest knows it.
    pub known: Baseline,
    /// Whether it is what the manifest says, and no more where more would be removed.
    pub as_left: bool,
    /// Directories in which nothing can be made; known only where nothing is to be written.
    pub closed: BTreeSet<Vec<u8>>,
}

/// Asks the target for all it has and matches it with the manifest.
pub fn ask(task: &TreeTask, link: &Link, manifest: &Baseline, privileged: bool) -> Result<Listed, Failure> {
    link.request(&Request::List, Vec::new())?;
    let mut there: BTreeMap<Vec<u8>, Vec<u8>> = BTreeMap::new();
    let (mut left, mut closed) = (Leftovers::new(), BTreeSet::new());
    loop {
        match link.response()? {
            Response::Listing { path, listing } => {
                if !path::is_relative(&path) || !is_valid(&listing) {
                    return Err(Failure::protocol(Side::Target, "an invalid listing"));
                }
                there.entry(path).or_default().extend_from_slice(&listing);
            }
            Response::Leftover { dir, name, bytes } => drop(left.entry(dir).or_default().insert(name, bytes)),
            Response::Closed { path } => drop(closed.insert(path)),
            Response::ListingEnd => break,
            _ => return Err(Failure::protocol(Side::Target, "an unexpected response")),
        }
    }
    if there.values().any(|listing| !is_valid(listing)) {
        return Err(Failure::protocol(Side::Target, "an invalid listing"));
    }
    let lenience = Lenience { owners: !privileged, times: task.rules.allow_inexact_times };
    let mut as_left = manifest.listing(b"").is_none_or(<[u8]>::is_empty) || there.contains_key(&b""[..]);
    for (path, listing) in &mut there {
        let sent = manifest.listing(path).unwrap_or_default();
        as_left &= is_as_left(listing, sent, lenience, task.rules.delete);
        *listing = reconcile(listing, sent, lenience);
    }
    Ok(Listed { known: Baseline::Listing(there, left), as_left, closed })
}

/// Whether a directory on the target has what was sent. A directory that it lacks is missing in the listing above.
fn is_as_left(there: &[u8], sent: &[u8], lenience: Lenience, delete: bool) -> bool {
    merge(there, sent).all(|pair| match pair {
        Merged::Both(there, sent) => agrees(&there, &sent, lenience),
        Merged::Left(_) => !delete,
        Merged::Right(sent) => sent.flags & GONE != 0,
    })
}

/// The target's entries as the manifest knows them; what it does not know is marked.
fn reconcile(there: &[u8], sent: &[u8], lenience: Lenience) -> Vec<u8> {
    let mut out = Vec::with_capacity(there.len());
    for pair in merge(there, sent) {
        match pair {
            Merged::Both(there, sent) if agrees(&there, &sent, lenience) => sent.encode(&mut out),
            // That the source had another filesystem there stays true, whatever became of the target.
            Merged::Both(there, sent) => unknown(there, sent.flags & MOUNT).encode(&mut out),
            Merged::Left(there) => unknown(there, 0).encode(&mut out),
            Merged::Right(_) => {}
        }
    }
    out
}

/// An entry on the target that nobody has compared with the source.
fn unknown(there: Entry<'_>, kept: u8) -> Entry<'_> {
    Entry { flags: DIRTY | FOREIGN | kept, ctime: FileTime::default(), ino: 0, ..there }
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

    #[test]
    fn a_mounted_directory_that_changed_on_the_target_is_still_known_as_one() {
        let directory = |flags, sec| {
            let stamp = FileTime { sec, nsec: 0 };
            let (uid, gid) = (1, 1);
            let mut out = Vec::new();
            let name = &b"data"[..];
            Entry { name, flags, mode: 0o040_755, ino: 3, size: 0, mtime: stamp, ctime: stamp, uid, gid, rdev: 0 }
                .encode(&mut out);
            out
        };
        let known = reconcile(&directory(0, 9), &directory(MOUNT, 7), Lenience::default());
        let known: Vec<_> = Entries(&known).collect();
        assert_eq!(known[0].flags, DIRTY | FOREIGN | MOUNT);
    }

    #[test]
    fn a_target_is_as_it_was_left_while_it_has_what_was_sent() {
        let sent = [entry(b"a", 1, 11), entry(b"b", 2, 12)].concat();
        let left = |there: &[Vec<u8>], delete| is_as_left(&there.concat(), &sent, Lenience::default(), delete);
        let (a, b, extra) = (entry(b"a", 1, 99), entry(b"b", 2, 98), entry(b"extra", 5, 97));
        assert!(left(&[a.clone(), b.clone()], true));
        assert!(!left(std::slice::from_ref(&a), false), "one is gone");
        assert!(!left(&[], false), "both are gone");
        assert!(!left(&[a.clone(), entry(b"b", 3, 98)], false), "one is another");
        assert!(left(&[a.clone(), b.clone(), extra.clone()], false), "what is not to be removed may be there");
        assert!(!left(&[a, b, extra], true));
    }
}
