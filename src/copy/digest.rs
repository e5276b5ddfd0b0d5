//! BLAKE3 of everything in a tree, in parallel, for comparing two sides.
//!
//! Owns how content and extended attributes become 32 bytes. Reads from the filesystem only; believes no record.
//!
//! A file up to one segment is hashed as it is; a longer one by the hash of its segments' hashes, so that one huge file keeps
//! all processors busy, too.

use std::collections::HashMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::fs::FileType;
use rustix::io::Errno;

use super::failure::{Failure, Side};
use super::filter::Filter;
use super::listing::{Entries, Entry};
use super::message::Report;
use super::meta::{Object, read_xattrs};
use super::owners::Translation;
use super::path::{self, TempNames};
use super::scan::{Visit, Visitor, walk};
use super::tree::{Tree, open_file};

/// Bytes that one thread hashes of a file before another may take the next.
const SEGMENT: u64 = 8 << 20;
const READ: usize = 1 << 20;

/// The digest of one entry: 24 bytes for its content, 8 for its extended attributes.
pub type Digest = [u8; 32];

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
    /// What owners are called on the other side, if that is another.
    pub owners: Option<&'a Translation>,
}

/// What was hashed.
#[derive(Debug, Default)]
pub struct Totals {
    /// Regular files.
    pub files: AtomicU64,
    /// Their bytes.
    pub bytes: AtomicU64,
}

/// A directory whose digests are known.
pub struct Hashed {
    /// Its path.
    pub path: Vec<u8>,
    /// Its entries.
    pub listing: Vec<u8>,
    /// One for each.
    pub digests: Vec<Digest>,
}

/// Hashes everything; `done` gets directories as they are complete, from several threads.
pub fn hash_tree(hashing: &Hashing<'_>, totals: &Totals, done: &(dyn Fn(Hashed) + Sync)) -> Vec<Failure> {
    let threads = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
    let walker = Walker { hashing, totals, done, large: Mutex::default(), failures: Mutex::default() };
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
        walker.complete(pending, &hashes);
    }
    walker.failures.into_inner().unwrap_or_else(PoisonError::into_inner)
}

/// A directory with files that are hashed by segments after the walk.
struct Pending {
    hashed: Hashed,
    /// Position and size of each.
    files: Vec<(usize, u64)>,
}

struct Walker<'a> {
    hashing: &'a Hashing<'a>,
    totals: &'a Totals,
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
        let mut digests = Vec::new();
        let mut files = Vec::new();
        let mut buffer = Vec::new();
        for entry in Entries(&visit.listing) {
            if entry.is_file() && entry.size > SEGMENT {
                files.push((digests.len(), entry.size));
            }
            digests.push(self.digest(&visit, &entry, &mut buffer));
        }
        let hashed = Hashed { path: visit.path.to_vec(), listing: visit.listing, digests };
        if files.is_empty() {
            (self.done)(hashed);
        } else {
            lock(&self.large).push(Pending { hashed, files });
        }
    }

    fn problem(&self, failure: Failure) {
        lock(&self.failures).push(failure);
    }
}

impl Walker<'_> {
    /// The digest of an entry; of a large file only its attributes.
    fn digest(&self, visit: &Visit<'_>, entry: &Entry<'_>, buffer: &mut Vec<u8>) -> Digest {
        let result = match entry.kind() {
            FileType::RegularFile => self.file(visit.fd, entry, buffer),
            FileType::Symlink => self.symlink(visit.fd, entry.name),
            _ => self.attributes(Object::Named(visit.fd, entry.name)).map(|attributes| join(&[0; 32], &attributes)),
        };
        result.unwrap_or_else(|e| {
            // Vanished since it was listed: the other side tells that it differs.
            if e != Errno::NOENT {
                self.problem(Failure::of(self.hashing.side, "read", &path::join(visit.path, entry.name), e));
            }
            [0xff; 32]
        })
    }

    fn file(&self, dir: BorrowedFd<'_>, entry: &Entry<'_>, buffer: &mut Vec<u8>) -> rustix::io::Result<Digest> {
        let fd = open_file(dir, entry.name)?;
        let attributes = self.attributes(Object::Open(fd.as_fd()))?;
        self.totals.files.fetch_add(1, Ordering::Relaxed);
        if entry.size > SEGMENT {
            return Ok(join(&[0; 32], &attributes));
        }
        let content = self.hash_range(&fd, 0, SEGMENT, buffer)?;
        Ok(join(&content, &attributes))
    }

    fn symlink(&self, dir: BorrowedFd<'_>, name: &[u8]) -> rustix::io::Result<Digest> {
        let to = rustix::fs::readlinkat(dir, name, Vec::new())?;
        let attributes = self.attributes(Object::Named(dir, name))?;
        Ok(join(blake3::hash(to.to_bytes()).as_bytes(), &attributes))
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
        self.totals.bytes.fetch_add(at - from, Ordering::Relaxed);
        Ok(*hash.finalize().as_bytes())
    }

    /// Puts the hashes of large files' segments into the digests of their directory.
    fn complete(&self, mut pending: Pending, hashes: &[Vec<[u8; 32]>]) {
        for ((nth, _), segments) in pending.files.iter().zip(hashes) {
            let mut hash = blake3::Hasher::new();
            for segment in segments {
                hash.update(segment);
            }
            if let Some(digest) = pending.hashed.digests.get_mut(*nth) {
                *digest = join_tail(hash.finalize().as_bytes(), digest);
            }
        }
        (self.done)(pending.hashed);
    }
}

/// All segments of all large files, taken one by one.
struct Segments<'a> {
    large: &'a [Pending],
    /// Directory, file in it, segment.
    work: Vec<(usize, usize, u64)>,
    next: AtomicUsize,
    hashes: Mutex<Vec<Vec<Vec<[u8; 32]>>>>,
}

impl<'a> Segments<'a> {
    fn new(large: &'a [Pending]) -> Self {
        let mut work = Vec::new();
        let mut hashes = Vec::new();
        for (dir, pending) in large.iter().enumerate() {
            let mut of_dir = Vec::new();
            for (file, (_, size)) in pending.files.iter().enumerate() {
                let count = size.div_ceil(SEGMENT);
                work.extend((0..count).map(|segment| (dir, file, segment)));
                of_dir.push(vec![[0; 32]; usize::try_from(count).unwrap_or(0)]);
            }
            hashes.push(of_dir);
        }
        Self { large, work, next: AtomicUsize::new(0), hashes: Mutex::new(hashes) }
    }

    fn work(&self, walker: &Walker<'_>) {
        let mut buffer = Vec::new();
        let mut open: HashMap<(usize, usize), OwnedFd> = HashMap::new();
        while let Some(&(dir, file, segment)) = self.work.get(self.next.fetch_add(1, Ordering::Relaxed)) {
            if !open.contains_key(&(dir, file)) {
                open.clear();
            }
            let hash = self.hash(walker, (dir, file, segment), &mut open, &mut buffer);
            let mut hashes = lock(&self.hashes);
            if let Some(slot) =
                hashes.get_mut(dir).and_then(|d| d.get_mut(file)).and_then(|f| f.get_mut(segment as usize))
            {
                *slot = hash;
            }
        }
    }

    fn hash(
        &self,
        walker: &Walker<'_>,
        (dir, file, segment): (usize, usize, u64),
        open: &mut HashMap<(usize, usize), OwnedFd>,
        buffer: &mut Vec<u8>,
    ) -> [u8; 32] {
        let Some(pending) = self.large.get(dir) else { return [0xff; 32] };
        let nth = pending.files.get(file).map_or(0, |(nth, _)| *nth);
        let Some(entry) = Entries(&pending.hashed.listing).nth(nth) else { return [0xff; 32] };
        let path = &pending.hashed.path;
        let result = match open.entry((dir, file)) {
            std::collections::hash_map::Entry::Occupied(fd) => Ok(fd.into_mut()),
            std::collections::hash_map::Entry::Vacant(slot) => {
                let fd = walker.hashing.tree.dir(path).and_then(|dir| open_file(dir.as_fd(), entry.name));
                fd.map(|fd| slot.insert(fd))
            }
        }
        .and_then(|fd| walker.hash_range(fd, segment * SEGMENT, SEGMENT, buffer));
        result.unwrap_or_else(|e| {
            walker.problem(Failure::of(walker.hashing.side, "read", &path::join(path, entry.name), e));
            [0xff; 32]
        })
    }

    fn into_hashes(self) -> Vec<Vec<Vec<[u8; 32]>>> {
        self.hashes.into_inner().unwrap_or_else(PoisonError::into_inner)
    }
}

/// 24 bytes of one hash, 8 of another.
fn join(content: &[u8; 32], attributes: &[u8; 32]) -> Digest {
    let mut digest = *content;
    digest.iter_mut().skip(24).zip(attributes).for_each(|(to, from)| *to = *from);
    digest
}

/// The same, where the second is a digest already.
fn join_tail(content: &[u8; 32], digest: &Digest) -> Digest {
    let mut joined = *content;
    joined.iter_mut().zip(digest).skip(24).for_each(|(to, from)| *to = *from);
    joined
}

/// Whether two digests stand for the same content.
pub fn same_content(a: &Digest, b: &Digest) -> bool {
    a.iter().zip(b).take(24).all(|(a, b)| a == b)
}

/// Hashes everything and reports it directory by directory.
pub fn report(hashing: &Hashing<'_>, send: &(dyn Fn(Report) -> Result<(), Failure> + Sync)) -> Result<(), Failure> {
    let totals = Totals::default();
    let failed = Mutex::new(None);
    let failures = hash_tree(hashing, &totals, &|hashed| {
        for report in reports(&hashed) {
            if let Err(failure) = send(report) {
                lock(&failed).get_or_insert(failure);
            }
        }
    });
    if let Some(failure) = lock(&failed).take() {
        return Err(failure);
    }
    let (files, bytes) = (totals.files.into_inner(), totals.bytes.into_inner());
    send(Report::Digested { files, bytes, failures: failures.into_iter().take(100).collect() })
}

/// A directory in frames of bounded length.
fn reports(hashed: &Hashed) -> Vec<Report> {
    let mut digests = hashed.digests.iter().copied();
    let pieces = super::listing::split(&hashed.listing).into_iter();
    let report = |listing: &[u8]| Report::Digests {
        path: hashed.path.clone(),
        listing: listing.to_vec(),
        digests: digests.by_ref().take(Entries(listing).count()).collect(),
    };
    pieces.map(report).collect()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
