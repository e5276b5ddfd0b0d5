//! Both sides hashed at the same time, and compared directory by directory as they come.
//!
//! Owns what makes two entries the same. Must never hold more of the tree than what one side is ahead of the other.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use crate::copy::digest::cache::{Memory, Subject};
use crate::copy::digest::hash::{Hashed, Hashing};
use crate::copy::digest::tree::hash_tree;
use crate::copy::failure::{Failure, Side};
use crate::copy::fs::listing::{Entries, Entry, Pair, is_valid, merge};
use crate::copy::fs::metadata::Rights;
use crate::copy::fs::path;
use crate::copy::send::link::Link;
use crate::copy::send::source::scan::Source;
use crate::copy::wire::request::Order;
use crate::copy::wire::response::{Digest, How};
use crate::copy::wire::response::{Ready, Report};
use crate::copy::wire::task::Orders;

/// Two trees to be compared.
pub struct Comparison<'a> {
    /// How the job is done.
    pub orders: &'a Orders,
    /// The source's side.
    pub source: &'a Source,
    /// Where the source keeps the records of the job.
    pub dir: &'a Path,
    /// The way to the target.
    pub link: &'a Link,
    /// The state of the target.
    pub ready: &'a Ready,
}

impl Comparison<'_> {
    /// Has both sides hash everything; `each` gets the directories of the source, and what the target has in their place.
    pub fn run(&self, each: &(dyn Fn(&Hashed, &Hashed) + Sync)) -> Result<(), Failure> {
        let Source { tree, filter, temp, moment } = self.source;
        let (orders, fresh) = (self.orders, self.orders.fresh);
        let privileged = self.ready.privileged && Rights::of_process().privileged;
        let (side, root) = (Side::Source, orders.from.as_bytes());
        let subject = Subject { dir: self.dir, side, job: &orders.job, root, privileged, owners: None };
        let memory = if fresh { None } else { Memory::begin(&subject, tree, *moment) };
        let (leave, memory_of) = (|| self.link.may_go_on(), memory.as_ref());
        let hashing = Hashing { tree, side, filter, temp, privileged, owners: None, leave: &leave };
        self.link.order(&Order::Digest { privileged, fresh }, Vec::new())?;
        let pairing = Pairing { waiting: Mutex::default(), each };
        let (ours, theirs) = std::thread::scope(|scope| {
            let ours = scope.spawn(|| hash_tree(&hashing, memory_of, &|hashed| pairing.ours(hashed)));
            let theirs = self.receive(&pairing);
            (ours.join(), theirs)
        });
        let mut problems = ours.map_err(|_| Failure::fatal(Side::Source, "hashing the source failed"))?;
        // Also where the connection broke: the next try need not read it all again.
        memory.into_iter().for_each(Memory::finish);
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
        let mut arriving: HashMap<Vec<u8>, Hashed> = HashMap::new();
        loop {
            match self.link.report()? {
                Report::Digests { path, listing, digests, last } => {
                    if !path::is_relative(&path) || !is_valid(&listing) || Entries(&listing).count() != digests.len() {
                        return Err(Failure::protocol(Side::Target, "digests that make no sense"));
                    }
                    let there = arriving.entry(path.clone()).or_default();
                    there.listing.extend_from_slice(&listing);
                    there.digests.extend(digests);
                    if last && let Some(there) = arriving.remove(&path) {
                        pairing.theirs(Hashed { path, ..there });
                    }
                }
                Report::Digested { failures } => return Ok(failures),
                _ => return Err(Failure::protocol(Side::Target, "an answer to another question")),
            }
        }
    }
}

/// Directories of which one side is known.
struct Pairing<'a> {
    waiting: Mutex<Waiting>,
    each: &'a (dyn Fn(&Hashed, &Hashed) + Sync),
}

#[derive(Default)]
struct Waiting {
    ours: HashMap<Vec<u8>, Hashed>,
    theirs: HashMap<Vec<u8>, Hashed>,
}

impl Pairing<'_> {
    fn ours(&self, ours: Hashed) {
        let theirs = {
            let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
            match waiting.theirs.remove(&ours.path) {
                Some(theirs) => theirs,
                None => return drop(waiting.ours.insert(ours.path.clone(), ours)),
            }
        };
        (self.each)(&ours, &theirs);
    }

    fn theirs(&self, theirs: Hashed) {
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
        waiting.ours.values().for_each(|ours| (self.each)(ours, &Hashed::default()));
    }
}

/// What a comparison says of one name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Both sides have the same.
    Same {
        /// Neither side had to read it: both knew it from an earlier comparison.
        known: bool,
    },
    /// They have not.
    Differs {
        /// In what, for people.
        what: &'static str,
        /// Whether it stood still on the source while it was compared.
        still: bool,
    },
    /// The source has no such entry.
    Extra,
}

/// Compares a directory; `verdict` gets every name, with the source's entry where there is one.
pub fn compare(ours: &Hashed, theirs: &Hashed, owners: bool, verdict: &mut dyn FnMut(&Entry<'_>, Verdict)) {
    let (mut here, mut there) = (ours.digests.iter(), theirs.digests.iter());
    for pair in merge(&ours.listing, &theirs.listing) {
        match pair {
            Pair::Both(a, b) => {
                let (Some(x), Some(y)) = (here.next(), there.next()) else { return };
                let found = match difference((&a, x), (&b, y), owners) {
                    Some(what) => Verdict::Differs { what, still: x.how != How::Moved },
                    None => Verdict::Same { known: x.how == How::Known && y.how == How::Known },
                };
                verdict(&a, found);
            }
            Pair::Left(a) => {
                let still = here.next().is_some_and(|x| x.how != How::Moved);
                verdict(&a, Verdict::Differs { what: "is missing on the target", still });
            }
            Pair::Right(b) => {
                there.next();
                verdict(&b, Verdict::Extra);
            }
        }
    }
}

/// The most telling way in which two entries differ.
fn difference((a, x): (&Entry<'_>, &Digest), (b, y): (&Entry<'_>, &Digest), owners: bool) -> Option<&'static str> {
    let checks = [
        (a.kind() != b.kind(), "is another kind of file"),
        (a.size != b.size, "size differs"),
        (!x.is_some() || !y.is_some(), "changed while it was read"),
        (!x.has_content_of(y), "content differs"),
        (a.rdev != b.rdev, "device number differs"),
        (owners && (a.uid, a.gid) != (b.uid, b.gid), "owner differs"),
        (owners && a.mode != b.mode || a.mode & 0o777 != b.mode & 0o777, "permissions differ"),
        (a.mtime != b.mtime, "modification time differs"),
        (x.sum != y.sum, "extended attributes differ"),
    ];
    checks.into_iter().find(|(differs, _)| *differs).map(|(_, what)| what)
}
