//! BLAKE3 of everything in a tree, in parallel, directory by directory.
//!
//! A file up to one segment is hashed as it is. A longer one is hashed by the hashes of its segments, so that one huge file keeps
//! all processors busy.

use std::os::fd::{AsFd, BorrowedFd};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::fs::{AtFlags, FileType, Stat, fstat, statat};
use rustix::io::Errno;

use super::cache::DigestCache;
use super::hash::{HashedDir, SEGMENT, TreeHasher, is_excused, is_same, join};
use super::segments::{Pending, Segments};
use crate::copy::failure::Failure;
use crate::copy::fs::listing::{Entries, Entry};
use crate::copy::fs::metadata::{Object, read_xattrs};
use crate::copy::fs::path;
use crate::copy::fs::walk::{VisitedDir, Visitor, walk};
use crate::copy::wire::response::{Digest, DigestOrigin, Sum};

/// Hashes everything; `done` gets directories as they are complete, from several threads.
pub fn hash_tree(
    hashing: &TreeHasher<'_>,
    memory: Option<&DigestCache>,
    done: &(dyn Fn(HashedDir) + Sync),
) -> Vec<Failure> {
    let threads = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
    let walker = Walker { hashing, memory, done, large: Mutex::default(), failures: Mutex::default() };
    walk(hashing.tree, hashing.side, threads, &walker);
    let large = std::mem::take(&mut *lock(&walker.large));
    let segments = Segments::new(&large);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| segments.work(hashing, &|failure| walker.fail(failure)));
        }
    });
    let hashes = segments.into_hashes();
    for (pending, hashes) in large.into_iter().zip(hashes) {
        walker.complete(pending.complete(&hashes));
    }
    walker.failures.into_inner().unwrap_or_else(PoisonError::into_inner)
}

struct Walker<'a> {
    hashing: &'a TreeHasher<'a>,
    /// What need not be read again; `None` to read everything.
    memory: Option<&'a DigestCache>,
    done: &'a (dyn Fn(HashedDir) + Sync),
    large: Mutex<Vec<Pending>>,
    failures: Mutex<Vec<Failure>>,
}

impl Visitor for Walker<'_> {
    fn skips(&self, dir: &[u8], name: &[u8], is_dir: bool) -> bool {
        let filter = self.hashing.filter;
        self.hashing.temp.matches(name) || !filter.is_empty() && filter.excludes(&path::join(dir, name), is_dir)
    }

    fn visit(&self, visit: VisitedDir<'_>) {
        let remembered = self.memory.and_then(|memory| memory.recall(visit.path, visit.dev));
        let mut known = remembered.iter().flat_map(|remembered| remembered.entries()).peekable();
        let mut digests = Vec::new();
        let mut files = Vec::new();
        let mut buffer = Vec::new();
        for entry in Entries(&visit.listing) {
            while known.next_if(|(then, _)| then.name < entry.name).is_some() {}
            if let Some((_, sum)) = known.next_if(|(then, _)| *then == entry) {
                digests.push(Digest { sum, how: DigestOrigin::Cached });
                continue;
            }
            if entry.is_file() && entry.size > SEGMENT {
                files.push((digests.len(), entry.size));
            }
            digests.push(self.digest(&visit, &entry, &mut buffer));
        }
        let hashed = HashedDir { path: visit.path.to_vec(), dev: visit.dev, listing: visit.listing, digests };
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

    fn complete(&self, hashed: HashedDir) {
        if let Some(memory) = self.memory {
            memory.keep(&hashed);
        }
        (self.done)(hashed);
    }

    /// The digest of an entry; of a large file only its attributes.
    fn digest(&self, visit: &VisitedDir<'_>, entry: &Entry<'_>, buffer: &mut Vec<u8>) -> Digest {
        let result = match entry.kind() {
            FileType::RegularFile => self.file(visit.fd, entry, buffer),
            FileType::Symlink => self.symlink(visit.fd, entry.name),
            _ => self.special(visit.fd, entry.name),
        };
        match result {
            Ok((sum, st)) => {
                Digest { sum, how: if is_same(entry, &st) { DigestOrigin::Read } else { DigestOrigin::Changed } }
            }
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
        let fd = self.hashing.tree.open_file(dir, entry.name)?;
        let attributes = self.attributes(Object::Open(fd.as_fd()))?;
        let content = match entry.size > SEGMENT || !is_same(entry, &fstat(&fd)?) {
            true => [0; 32],
            false => self.hashing.hash_range(&fd, 0, SEGMENT, buffer)?,
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
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
