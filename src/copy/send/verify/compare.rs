//! Has both sides hash their trees at the same time, and compares the digests directory by directory as they arrive.
//!
//! Owns what makes two entries the same. Must never hold more of a tree than one side is ahead of the other.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use crate::copy::digest::cache::{CacheScope, DigestCache};
use crate::copy::digest::hash::{HashedDir, TreeHasher};
use crate::copy::digest::tree::hash_tree;
use crate::copy::failure::{Failure, Side};
use crate::copy::fs::listing::{Entries, Entry, LEFT_OUT, Merged, is_valid, merge};
use crate::copy::fs::metadata::Privileges;
use crate::copy::fs::path;
use crate::copy::send::link::Link;
use crate::copy::send::source::scan::Source;
use crate::copy::wire::request::Request;
use crate::copy::wire::response::{Digest, DigestOrigin, Ready, Response};
use crate::copy::wire::task::TreeTask;

/// Two trees to be compared.
pub struct Comparison<'a> {
    /// How the job is done.
    pub task: &'a TreeTask,
    /// The source's side.
    pub source: &'a Source,
    /// Where the source keeps the records of the job.
    pub dir: &'a Path,
    /// The link to the target.
    pub link: &'a Link,
    /// The state of the target.
    pub ready: &'a Ready,
}

impl Comparison<'_> {
    /// Has both sides hash everything. `each` gets every directory of the source, and what the target has under the same path.
    pub fn run(&self, each: &(dyn Fn(&HashedDir, &HashedDir) + Sync)) -> Result<(), Failure> {
        let Source { tree, filter, temp, moment } = self.source;
        let (task, fresh) = (self.task, self.task.fresh);
        let privileged = self.ready.privileged && Privileges::of_process().privileged;
        let (side, root) = (Side::Source, task.from.as_bytes());
        let subject = CacheScope { dir: self.dir, side, job: &task.job, root, privileged, owners: None };
        let memory = if fresh { None } else { DigestCache::begin(&subject, tree, *moment) };
        let (leave, memory_of) = (|| self.link.may_go_on(), memory.as_ref());
        let hashing = TreeHasher { tree, side, filter, temp, privileged, owners: None, leave: &leave };
        self.link.request(&Request::DigestTree { privileged, fresh }, Vec::new())?;
        let pairing = Pairing { waiting: Mutex::default(), each };
        let (ours, theirs) = std::thread::scope(|scope| {
            let ours = scope.spawn(|| hash_tree(&hashing, memory_of, &|hashed| pairing.ours(hashed)));
            let theirs = self.receive(&pairing);
            (ours.join(), theirs)
        });
        let mut problems = ours.map_err(|_| Failure::fatal(Side::Source, "hashing the source failed"))?;
        // Also when the connection broke, so that the next attempt reads less.
        memory.into_iter().for_each(DigestCache::finish);
        problems.extend(theirs?);
        if let Some(first) = problems.first() {
            let what =
                format!("{} could not be read: {}", crate::text::count(problems.len() as u64, "path"), first.what);
            return Err(Failure { what, fatal: true, ..first.clone() });
        }
        pairing.finish();
        Ok(())
    }

    /// Takes in the target's digests; what it could not read comes back.
    fn receive(&self, pairing: &Pairing<'_>) -> Result<Vec<Failure>, Failure> {
        let mut arriving: HashMap<Vec<u8>, HashedDir> = HashMap::new();
        loop {
            match self.link.response()? {
                Response::Digests { path, listing, digests, last } => {
                    if !path::is_relative(&path) || !is_valid(&listing) || Entries(&listing).count() != digests.len() {
                        return Err(Failure::protocol(Side::Target, "invalid digests"));
                    }
                    let there = arriving.entry(path.clone()).or_default();
                    there.listing.extend_from_slice(&listing);
                    there.digests.extend(digests);
                    if last && let Some(there) = arriving.remove(&path) {
                        pairing.theirs(HashedDir { path, ..there });
                    }
                }
                Response::DigestsEnd { failures } => return Ok(failures),
                _ => return Err(Failure::protocol(Side::Target, "an unexpected response")),
            }
        }
    }
}

/// Directories that have arrived from one side only.
struct Pairing<'a> {
    waiting: Mutex<Waiting>,
    each: &'a (dyn Fn(&HashedDir, &HashedDir) + Sync),
}

#[derive(Default)]
struct Waiting {
    ours: HashMap<Vec<u8>, HashedDir>,
    theirs: HashMap<Vec<u8>, HashedDir>,
}

impl Pairing<'_> {
    fn ours(&self, ours: HashedDir) {
        let theirs = {
            let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
            match waiting.theirs.remove(&ours.path) {
                Some(theirs) => theirs,
                None => return drop(waiting.ours.insert(ours.path.clone(), ours)),
            }
        };
        (self.each)(&ours, &theirs);
    }

    fn theirs(&self, theirs: HashedDir) {
        let ours = {
            let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
            match waiting.ours.remove(&theirs.path) {
                Some(ours) => ours,
                None => return drop(waiting.theirs.insert(theirs.path.clone(), theirs)),
            }
        };
        (self.each)(&ours, &theirs);
    }

    /// What is still waiting has no counterpart. A directory that only the target has is an entry of its parent there.
    fn finish(self) {
        let waiting = self.waiting.into_inner().unwrap_or_else(PoisonError::into_inner);
        waiting.ours.values().for_each(|ours| (self.each)(ours, &HashedDir::default()));
    }
}

/// The result of comparing one entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Both sides have the same.
    Same {
        /// Neither side had to read it: both knew it from an earlier comparison.
        known: bool,
        /// Both have the same owner.
        owner: bool,
    },
    /// The sides differ.
    Differs {
        /// What differs, for people.
        what: &'static str,
        /// Whether it did not change on the source while it was compared.
        still: bool,
    },
    /// The source has no such entry.
    Extra,
}

/// What does not count as a difference.
#[derive(Debug, Clone, Copy)]
pub struct Lenience {
    /// Owners, and the bits that lend them: not everybody can give them.
    pub owners: bool,
    /// What the target's filesystem may have made of a time.
    pub times: bool,
}

impl Lenience {
    /// As a job asks for it, and as the target can.
    pub fn of(task: &TreeTask, ready: &Ready) -> Self {
        Self { owners: !ready.privileged, times: task.rules.allow_inexact_times }
    }
}

/// Compares a directory; `verdict` gets every name, with the source's entry where there is one.
pub fn compare(ours: &HashedDir, theirs: &HashedDir, lenience: Lenience, verdict: &mut dyn FnMut(&Entry<'_>, Verdict)) {
    let (mut here, mut there) = (ours.digests.iter(), theirs.digests.iter());
    for pair in merge(&ours.listing, &theirs.listing) {
        match pair {
            Merged::Both(a, b) => {
                let (Some(x), Some(y)) = (here.next(), there.next()) else { return };
                let found = match difference((&a, x), (&b, y), lenience) {
                    Some(what) => Verdict::Differs { what, still: x.how != DigestOrigin::Changed },
                    None => Verdict::Same {
                        known: x.how == DigestOrigin::Cached && y.how == DigestOrigin::Cached,
                        owner: (a.uid, a.gid) == (b.uid, b.gid) || a.flags & LEFT_OUT != 0,
                    },
                };
                verdict(&a, found);
            }
            Merged::Left(a) => {
                let still = here.next().is_some_and(|x| x.how != DigestOrigin::Changed);
                verdict(&a, Verdict::Differs { what: "is missing on the target", still });
            }
            Merged::Right(b) => {
                there.next();
                verdict(&b, Verdict::Extra);
            }
        }
    }
}

/// The most telling way in which two entries differ.
fn difference(
    (a, x): (&Entry<'_>, &Digest),
    (b, y): (&Entry<'_>, &Digest),
    lenience: Lenience,
) -> Option<&'static str> {
    if a.flags & LEFT_OUT != 0 && b.is_dir() {
        return None;
    }
    let owners = !lenience.owners;
    let time = a.mtime == b.mtime || lenience.times && a.mtime.may_be_kept_as(b.mtime);
    let checks = [
        (a.kind() != b.kind(), "is another kind of file"),
        (a.size != b.size, "size differs"),
        (!x.is_some() || !y.is_some(), "changed while it was read"),
        (!x.has_content_of(y), "content differs"),
        (a.rdev != b.rdev, "device number differs"),
        (owners && (a.uid, a.gid) != (b.uid, b.gid), "owner differs"),
        (owners && a.mode != b.mode || a.mode & 0o777 != b.mode & 0o777, "permissions differ"),
        (!time, "modification time differs"),
        (x.sum != y.sum, "extended attributes differ"),
    ];
    checks.into_iter().find(|(differs, _)| *differs).map(|(_, what)| what)
}
