//! Large files, hashed segment by segment, so that one huge file keeps all processors busy, too.
//!
//! Must never put a file's hash together from segments of different states of it.

use std::collections::HashMap;
use std::collections::hash_map::Entry as Slot;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use rustix::fs::fstat;

use super::hash::{HashedDir, SEGMENT, TreeHasher, is_excused, is_same, join_tail};
use crate::copy::failure::Failure;
use crate::copy::fs::listing::Entries;
use crate::copy::fs::path;
use crate::copy::wire::response::Digest;

/// The hashes of a file's segments; `None` where it was not what it was when it was listed.
type Hashes = Vec<Option<[u8; 32]>>;

/// A directory with files that are hashed by segments after the walk.
pub struct Pending {
    /// What is known of it; of these files only the attributes.
    pub hashed: HashedDir,
    /// Position and size of each.
    pub files: Vec<(usize, u64)>,
}

impl Pending {
    /// The directory, with the hashes of these files' segments in its digests.
    pub fn complete(mut self, hashes: &[Hashes]) -> HashedDir {
        for ((nth, _), segments) in self.files.iter().zip(hashes) {
            let Some(digest) = self.hashed.digests.get_mut(*nth) else { continue };
            let mut hash = blake3::Hasher::new();
            for segment in segments.iter().flatten() {
                hash.update(segment);
            }
            match segments.iter().all(Option::is_some) {
                true => digest.sum = join_tail(hash.finalize().as_bytes(), &digest.sum),
                false => *digest = Digest::NONE,
            }
        }
        self.hashed
    }
}

/// All segments of all large files, taken one by one.
pub struct Segments<'a> {
    large: &'a [Pending],
    /// Directory, file in it, segment.
    work: Vec<(usize, usize, u64)>,
    next: AtomicUsize,
    /// By directory and file.
    hashes: Mutex<Vec<Vec<Hashes>>>,
}

impl<'a> Segments<'a> {
    /// Of these files.
    pub fn new(large: &'a [Pending]) -> Self {
        let mut work = Vec::new();
        let mut hashes = Vec::new();
        for (dir, pending) in large.iter().enumerate() {
            let mut of_dir = Vec::new();
            for (file, (_, size)) in pending.files.iter().enumerate() {
                let count = size.div_ceil(SEGMENT);
                work.extend((0..count).map(|segment| (dir, file, segment)));
                of_dir.push(vec![None; usize::try_from(count).unwrap_or(0)]);
            }
            hashes.push(of_dir);
        }
        Self { large, work, next: AtomicUsize::new(0), hashes: Mutex::new(hashes) }
    }

    /// Hashes until nothing is left.
    pub fn work(&self, hashing: &TreeHasher<'_>, fail: &dyn Fn(Failure)) {
        let mut buffer = Vec::new();
        let mut open: HashMap<(usize, usize), OwnedFd> = HashMap::new();
        while let Some(&(dir, file, segment)) = self.work.get(self.next.fetch_add(1, Ordering::Relaxed)) {
            if !open.contains_key(&(dir, file)) {
                open.clear();
            }
            let hash = self.hash((hashing, fail), (dir, file, segment), &mut open, &mut buffer);
            let mut hashes = self.hashes.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(slot) =
                hashes.get_mut(dir).and_then(|d| d.get_mut(file)).and_then(|f| f.get_mut(segment as usize))
            {
                *slot = hash;
            }
        }
    }

    fn hash(
        &self,
        (hashing, fail): (&TreeHasher<'_>, &dyn Fn(Failure)),
        (dir, file, segment): (usize, usize, u64),
        open: &mut HashMap<(usize, usize), OwnedFd>,
        buffer: &mut Vec<u8>,
    ) -> Option<[u8; 32]> {
        let pending = self.large.get(dir)?;
        let (nth, _) = pending.files.get(file)?;
        let entry = Entries(&pending.hashed.listing).nth(*nth)?;
        let path = &pending.hashed.path;
        let fd = match open.entry((dir, file)) {
            Slot::Occupied(fd) => Ok(fd.into_mut()),
            Slot::Vacant(slot) => {
                let fd = hashing.tree.dir(path).and_then(|dir| hashing.tree.open_file(dir.as_fd(), entry.name));
                fd.map(|fd| slot.insert(fd))
            }
        };
        let hashed = fd.and_then(|fd| {
            let hash = hashing.hash_range(fd, segment * SEGMENT, SEGMENT, buffer)?;
            Ok(Some(hash).filter(|_| fstat(&*fd).is_ok_and(|st| is_same(&entry, &st))))
        });
        hashed.unwrap_or_else(|e| {
            if !is_excused(e) {
                fail(Failure::of(hashing.side, "read", &path::join(path, entry.name), e));
            }
            None
        })
    }

    /// By directory and file.
    pub fn into_hashes(self) -> Vec<Vec<Hashes>> {
        self.hashes.into_inner().unwrap_or_else(PoisonError::into_inner)
    }
}
