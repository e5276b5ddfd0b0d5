//! BLAKE3 of everything in a tree, in parallel, for comparing two sides.
//!
//! Owns how content and extended attributes become 32 bytes. Reads from the filesystem only; what an earlier comparison knew is taken
//! only where [`memory`] vouches for it.
//!
//! A file up to one segment is hashed as it is; a longer one by the hash of its segments' hashes.

pub mod memory;
mod record;
mod segments;

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::fs::{AtFlags, FileType, Stat, fstat, statat};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use self::memory::Memory;
use self::segments::{Pending, Segments};
use super::failure::{Failure, Side};
use super::filter::Filter;
use super::listing::{Entries, Entry};
use super::meta::{Object, read_xattrs};
use super::owners::Translation;
use super::path::{self, TempNames};
use super::scan::{Visit, Visitor, walk};
use super::tree::{Tree, open_file};

/// Bytes that one thread hashes of a file before another may take the next.
const SEGMENT: u64 = 8 << 20;
const READ: usize = 1 << 20;

/// 24 bytes for the content of an entry, 8 for its extended attributes.
pub type Sum = [u8; 32];

/// The digest of one entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Digest {
    /// What two sides are compared by.
    pub sum: Sum,
    /// How it came to be.
    pub how: How,
}

impl Digest {
    /// Of what could not be read as a whole; it is like no other, and not like itself.
    const NONE: Self = Self { sum: [0xff; 32], how: How::Moved };

    /// Whether it stands for anything.
    pub fn is_some(&self) -> bool {
        self.sum != Self::NONE.sum
    }

    /// Whether two digests stand for the same content.
    pub fn has_content_of(&self, other: &Self) -> bool {
        self.sum.iter().zip(&other.sum).take(24).all(|(a, b)| a == b)
    }
}

/// How a digest came to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum How {
    /// The entry was read, and was the same afterwards as when it was listed.
    Read,
    /// It changed or vanished while it was read.
    Moved,
    /// It was read for an earlier comparison and has not changed since.
    Known,
}

/// What a tree is compared by.
pub struct Hashing<'a> {
    /// The tree.
    pub tree: &'a Tree,
    /// Which side it is, for errors.
    pub side: Side,
    /// What is left out.
    pub filter: &'a Filter,
    /// Names that are left out, too.
    pub temp: &'a TempNames,
    /// Whether attributes that only root can set count.
    pub privileged: bool,
    /// What need not be read again; `None` to read everything.
    pub memory: Option<&'a Memory>,
    /// Asked before each piece is read, and may take its time: false when nobody wants to know any more.
    pub leave: &'a (dyn Fn() -> bool + Sync),
    /// What owners are called on the other side, if that is another.
    pub owners: Option<&'a Translation>,
}

/// A directory whose digests are known.
#[derive(Debug, Default)]
pub struct Hashed {
    /// Its path.
    pub path: Vec<u8>,
    /// The filesystem it is on.
    pub dev: u64,
    /// Its entries.
    pub listing: Vec<u8>,
    /// One for each.
    pub digests: Vec<Digest>,
}

/// Hashes everything; `done` gets directories as they are complete, from several threads.
pub fn hash_tree(hashing: &Hashing<'_>, done: &(dyn Fn(Hashed) + Sync)) -> Vec<Failure> {
    let threads = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
    let walker = Walker { hashing, done, large: Mutex::default(), failures: Mutex::default() };
    walk(hashing.tree, hashing.side, threads, &walker);
    let large = std::mem::take(&mut *lock(&walker.large));
    let segments = Segments::new(&large);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| segments.work(&walker));
        }
    });
    let hashes = segments.into_hashes();
    for (pending, hashes) in large.into_iter().zip(hashes) {
        walker.complete(pending.complete(&hashes));
    }
    walker.failures.into_inner().unwrap_or_else(PoisonError::into_inner)
}

struct Walker<'a> {
    hashing: &'a Hashing<'a>,
    done: &'a (dyn Fn(Hashed) + Sync),
    large: Mutex<Vec<Pending>>,
    failures: Mutex<Vec<Failure>>,
}

impl Visitor for Walker<'_> {
    fn skips(&self, dir: &[u8], name: &[u8], is_dir: bool) -> bool {
        let filter = self.hashing.filter;
        self.hashing.temp.matches(name) || !filter.is_empty() && filter.excludes(&path::join(dir, name), is_dir)
    }

    fn visit(&self, visit: Visit<'_>) {
        let remembered = self.hashing.memory.and_then(|memory| memory.recall(visit.path, visit.dev));
        let mut known = remembered.iter().flat_map(|remembered| remembered.entries()).peekable();
        let mut digests = Vec::new();
        let mut files = Vec::new();
        let mut buffer = Vec::new();
        for entry in Entries(&visit.listing) {
            while known.next_if(|(then, _)| then.name < entry.name).is_some() {}
            if let Some((_, sum)) = known.next_if(|(then, _)| *then == entry) {
                digests.push(Digest { sum, how: How::Known });
                continue;
            }
            if entry.is_file() && entry.size > SEGMENT {
                files.push((digests.len(), entry.size));
            }
            digests.push(self.digest(&visit, &entry, &mut buffer));
        }
        let hashed = Hashed { path: visit.path.to_vec(), dev: visit.dev, listing: visit.listing, digests };
        if files.is_empty() {
            self.complete(hashed);
        } else {
            lock(&self.large).push(Pending { hashed, files });
        }
    }

    fn problem(&self, failure: Failure) {
        self.fail(failure);
    }
}

impl Walker<'_> {
    fn fail(&self, failure: Failure) {
        lock(&self.failures).push(failure);
    }

    fn complete(&self, hashed: Hashed) {
        if let Some(memory) = self.hashing.memory {
            memory.keep(&hashed);
        }
        (self.done)(hashed);
    }

    /// The digest of an entry; of a large file only its attributes.
    fn digest(&self, visit: &Visit<'_>, entry: &Entry<'_>, buffer: &mut Vec<u8>) -> Digest {
        let result = match entry.kind() {
            FileType::RegularFile => self.file(visit.fd, entry, buffer),
            FileType::Symlink => self.symlink(visit.fd, entry.name),
            _ => self.special(visit.fd, entry.name),
        };
        match result {
            Ok((sum, st)) => Digest { sum, how: if is_same(entry, &st) { How::Read } else { How::Moved } },
            Err(e) => {
                // Vanished since it was listed: the other side tells that it differs.
                if !is_excused(e) {
                    self.fail(Failure::of(self.hashing.side, "read", &path::join(visit.path, entry.name), e));
                }
                Digest::NONE
            }
        }
    }

    fn file(&self, dir: BorrowedFd<'_>, entry: &Entry<'_>, buffer: &mut Vec<u8>) -> rustix::io::Result<(Sum, Stat)> {
        let fd = open_file(dir, entry.name)?;
        let attributes = self.attributes(Object::Open(fd.as_fd()))?;
        let content = match entry.size > SEGMENT || !is_same(entry, &fstat(&fd)?) {
            true => [0; 32],
            false => self.hash_range(&fd, 0, SEGMENT, buffer)?,
        };
        Ok((join(&content, &attributes), fstat(&fd)?))
    }

    fn symlink(&self, dir: BorrowedFd<'_>, name: &[u8]) -> rustix::io::Result<(Sum, Stat)> {
        let to = match rustix::fs::readlinkat(dir, name, Vec::new()) {
            // It is something else by now.
            Err(Errno::INVAL) => return Err(Errno::NOENT),
            other => other?,
        };
        let attributes = self.attributes(Object::Named(dir, name))?;
        let sum = join(blake3::hash(to.to_bytes()).as_bytes(), &attributes);
        Ok((sum, statat(dir, name, AtFlags::SYMLINK_NOFOLLOW)?))
    }

    fn special(&self, dir: BorrowedFd<'_>, name: &[u8]) -> rustix::io::Result<(Sum, Stat)> {
        let attributes = self.attributes(Object::Named(dir, name))?;
        Ok((join(&[0; 32], &attributes), statat(dir, name, AtFlags::SYMLINK_NOFOLLOW)?))
    }

    fn attributes(&self, object: Object<'_>) -> rustix::io::Result<[u8; 32]> {
        let mut found = match read_xattrs(object) {
            // Links and devices take no user attributes on most filesystems.
            Err(Errno::NOTSUP | Errno::PERM) => Vec::new(),
            other => other?,
        };
        found.retain(|(key, _)| {
            let anyone = key.starts_with(b"user.") || key.starts_with(b"system.");
            anyone || self.hashing.privileged && key != b"security.selinux"
        });
        if let Some(owners) = self.hashing.owners {
            owners.leaving_acls(&mut found);
        }
        let mut hash = blake3::Hasher::new();
        for (key, value) in &found {
            for part in [key, value] {
                hash.update(&(part.len() as u64).to_le_bytes());
                hash.update(part);
            }
        }
        Ok(*hash.finalize().as_bytes())
    }

    fn hash_range(&self, fd: &OwnedFd, from: u64, len: u64, buffer: &mut Vec<u8>) -> rustix::io::Result<[u8; 32]> {
        buffer.resize(READ, 0);
        let mut hash = blake3::Hasher::new();
        let mut at = from;
        while at < from + len {
            if !(self.hashing.leave)() {
                return Err(Errno::CANCELED);
            }
            let want = usize::try_from(from + len - at).unwrap_or(READ).min(READ);
            let read = match rustix::io::pread(fd, buffer.get_mut(..want).unwrap_or_default(), at) {
                Ok(0) => break,
                Ok(n) => n,
                Err(Errno::INTR) => continue,
                Err(e) => return Err(e),
            };
            hash.update(buffer.get(..read).unwrap_or_default());
            at += read as u64;
        }
        Ok(*hash.finalize().as_bytes())
    }
}

/// Whether what was read is what was listed: nothing about it has changed.
fn is_same(listed: &Entry<'_>, st: &Stat) -> bool {
    Entry { flags: listed.flags, ..Entry::of_stat(listed.name, st) } == *listed
}

/// Whether something is no more, became something else, or is not wanted any more.
fn is_excused(e: Errno) -> bool {
    matches!(e, Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::NXIO | Errno::CANCELED)
}

/// 24 bytes of one hash, 8 of another.
fn join(content: &[u8; 32], attributes: &[u8; 32]) -> Sum {
    let mut sum = *content;
    sum.iter_mut().skip(24).zip(attributes).for_each(|(to, from)| *to = *from);
    sum
}

/// The same, where the second is a digest already.
fn join_tail(content: &[u8; 32], digest: &Sum) -> Sum {
    let mut joined = *content;
    joined.iter_mut().zip(digest).skip(24).for_each(|(to, from)| *to = *from);
    joined
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
