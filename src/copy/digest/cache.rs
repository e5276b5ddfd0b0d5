//! The cache of digests: which ones of an earlier comparison still hold, and which of this one may be kept.
//!
//! Must never let a digest hold for a file that was changed since it was read: one is kept only if the file was the same after it was
//! read as before, if its change time is older than this comparison (so that no later change can share it), and if it is on a
//! filesystem on which every change moves that time. It is used only for an entry that is the same in everything.

use std::path::Path;
use std::sync::{Mutex, PoisonError};

use rustix::fs::fstat;

use super::cache_file::{CacheFile, CacheKey, CachedDir, Writer};
use super::hash::HashedDir;
use crate::copy::failure::Side;
use crate::copy::fs::listing::Entries;
use crate::copy::fs::sync_point::{SyncPoint, has_reliable_ctime};
use crate::copy::fs::tree::Tree;
use crate::copy::fs::walk::dev_of;
use crate::copy::owners::IdMap;
use crate::copy::wire::frame::VERSION;
use crate::copy::wire::response::{DigestOrigin, Sum};

/// The digests of one side.
#[derive(Debug)]
pub struct DigestCache {
    before: CacheFile,
    /// `None` when the new cache cannot be written. Then the next comparison only reads more.
    next: Mutex<Option<Writer>>,
    moment: SyncPoint,
    dev: u64,
}

/// What a cache of digests is valid for.
#[derive(Debug, Clone, Copy)]
pub struct CacheScope<'a> {
    /// Where the records of the job are.
    pub dir: &'a Path,
    /// Which side it is: both may be on one host.
    pub side: Side,
    /// The job.
    pub job: &'a str,
    /// The root.
    pub root: &'a [u8],
    /// Whether attributes that only root can set count.
    pub privileged: bool,
    /// What owners in ACLs are called on the other side, if that is another.
    pub owners: Option<&'a IdMap>,
}

impl DigestCache {
    /// Opens the record of the last comparison and begins the one of this, which began at `moment`. `None` where change times cannot
    /// be relied on.
    pub fn begin(subject: &CacheScope<'_>, tree: &Tree, moment: SyncPoint) -> Option<Self> {
        if !has_reliable_ctime(tree.root()) {
            return None;
        }
        let dev = dev_of(&fstat(tree.root()).ok()?);
        let key = key(subject, dev)?;
        let name = match subject.side {
            Side::Source => "digests.source",
            Side::Target => "digests.target",
        };
        let file = subject.dir.join(name);
        let next = std::fs::create_dir_all(subject.dir).and_then(|()| Writer::create(&file, &key));
        Some(Self { before: CacheFile::load(&file, &key), next: Mutex::new(next.ok()), moment, dev })
    }

    /// What is known of a directory on the filesystem `dev`.
    pub fn recall(&self, path: &[u8], dev: u64) -> Option<CachedDir> {
        // Only the root's filesystem was synced when the comparison began.
        if dev == self.dev { self.before.directory(path) } else { None }
    }

    /// Keeps what will hold until something changes.
    pub fn keep(&self, hashed: &HashedDir) {
        let (mut listing, mut sums) = (Vec::new(), Vec::<Sum>::new());
        for (entry, digest) in Entries(&hashed.listing).zip(&hashed.digests) {
            // Looking at an entry without content is as fast as looking it up.
            if entry.is_file() && digest.how != DigestOrigin::Changed && !self.moment.is_racy(entry.ctime) {
                entry.encode(&mut listing);
                sums.push(digest.sum);
            }
        }
        if hashed.dev != self.dev || sums.is_empty() {
            return;
        }
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        if next.as_mut().is_some_and(|next| next.directory(&hashed.path, &listing, &sums).is_err()) {
            *next = None;
        }
    }

    /// The comparison has come to its end: from now on its record counts.
    pub fn finish(self) {
        if let Some(next) = self.next.into_inner().unwrap_or_else(PoisonError::into_inner) {
            // If that fails, the previous cache is still valid.
            let _ = next.finish();
        }
    }
}

fn key(subject: &CacheScope<'_>, dev: u64) -> Option<CacheKey> {
    let about = (VERSION, subject.job, subject.root, subject.privileged, subject.owners, dev);
    postcard::to_stdvec(&about).ok().map(|bytes| *blake3::hash(&bytes).as_bytes())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{FileExt, MetadataExt};
    use std::sync::Mutex;
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;
    use crate::copy::digest::hash::TreeHasher;
    use crate::copy::digest::tree::hash_tree;
    use crate::copy::fs::filter::Filter;
    use crate::copy::fs::path::TempNames;

    struct Lab(tempfile::TempDir);

    impl Lab {
        fn new() -> Self {
            let lab = Self(tempfile::tempdir().unwrap());
            fs::create_dir_all(lab.root().join("dir")).unwrap();
            fs::write(lab.root().join("a"), "aaaa").unwrap();
            fs::write(lab.root().join("dir/b"), "bbbb").unwrap();
            fs::write(lab.root().join("large"), vec![1; (8 << 20) + 5]).unwrap();
            // None of them is fresh any more.
            std::thread::sleep(Duration::from_millis(30));
            lab
        }

        fn root(&self) -> std::path::PathBuf {
            self.0.path().join("root")
        }

        fn record(&self) -> std::path::PathBuf {
            self.0.path().join("digests.source")
        }

        /// The names of files and how their digests came to be, and the digests.
        fn hash(&self, privileged: bool) -> Vec<(String, DigestOrigin, Sum)> {
            self.hash_at(privileged, SyncPoint::begin)
        }

        fn hash_at(&self, privileged: bool, moment: impl Fn(&Tree) -> SyncPoint) -> Vec<(String, DigestOrigin, Sum)> {
            let tree = Tree::open(&self.root()).unwrap();
            let subject = CacheScope {
                dir: self.0.path(),
                side: Side::Source,
                job: "j",
                root: b"/root",
                privileged,
                owners: None,
            };
            let memory = DigestCache::begin(&subject, &tree, moment(&tree)).unwrap();
            let (filter, temp) = (Filter::new(&[]).unwrap(), TempNames::of_job("j"));
            let hashing = TreeHasher {
                tree: &tree,
                side: Side::Source,
                filter: &filter,
                temp: &temp,
                privileged,
                owners: None,
                leave: &|| true,
            };
            let found = Mutex::new(Vec::new());
            let failures = hash_tree(&hashing, Some(&memory), &|hashed| {
                for (entry, digest) in Entries(&hashed.listing).zip(&hashed.digests).filter(|(e, _)| e.is_file()) {
                    let name = String::from_utf8(entry.name.to_vec()).unwrap();
                    found.lock().unwrap().push((name, digest.how, digest.sum));
                }
            });
            assert!(failures.is_empty());
            memory.finish();
            let mut found = found.into_inner().unwrap();
            found.sort();
            found
        }

        fn read(&self) -> Vec<String> {
            let hashed = self.hash(false);
            hashed.into_iter().filter(|(_, how, _)| *how == DigestOrigin::Read).map(|(name, ..)| name).collect()
        }
    }

    #[test]
    fn what_has_not_changed_is_read_once() {
        let lab = Lab::new();
        let first = lab.hash(false);
        assert!(first.iter().all(|(_, how, _)| *how == DigestOrigin::Read), "{first:?}");
        let second = lab.hash(false);
        assert!(second.iter().all(|(_, how, _)| *how == DigestOrigin::Cached), "{second:?}");
        assert!(first.iter().zip(&second).all(|(a, b)| a.2 == b.2));
        assert_eq!(lab.read(), Vec::<String>::new(), "what was known is passed on");
    }

    #[test]
    fn a_change_behind_the_back_is_read_though_size_and_time_are_as_before() {
        let lab = Lab::new();
        lab.hash(false);
        for name in ["a", "large"] {
            let path = lab.root().join(name);
            let before = fs::metadata(&path).unwrap();
            let file = fs::File::options().write(true).open(&path).unwrap();
            file.write_all_at(b"!", 0).unwrap();
            file.set_modified(UNIX_EPOCH + Duration::new(before.mtime() as u64, before.mtime_nsec() as u32)).unwrap();
            let after = fs::metadata(&path).unwrap();
            assert_eq!((before.mtime_nsec(), before.len()), (after.mtime_nsec(), after.len()));
        }
        std::thread::sleep(Duration::from_millis(30));
        assert_eq!(lab.read(), ["a", "large"]);
        assert_eq!(lab.read(), Vec::<String>::new());
    }

    #[test]
    fn another_inode_mode_attribute_or_name_is_another_entry() {
        let lab = Lab::new();
        lab.hash(false);
        fs::rename(lab.root().join("a"), lab.root().join("c")).unwrap();
        rustix::fs::setxattr(lab.root().join("dir/b"), "user.x", b"1", rustix::fs::XattrFlags::empty()).unwrap();
        fs::copy(lab.root().join("large"), lab.root().join("other")).unwrap();
        fs::rename(lab.root().join("other"), lab.root().join("large")).unwrap();
        assert_eq!(lab.read(), ["b", "c", "large"]);
    }

    #[test]
    fn what_changed_as_lately_as_the_comparison_began_is_read_again() {
        let lab = Lab::new();
        let moment = |tree: &Tree| {
            let moment = SyncPoint::begin(tree);
            fs::write(lab.root().join("a"), "AAAA").unwrap();
            moment
        };
        lab.hash_at(false, moment);
        // Nothing happens to it any more: only that it was fresh when it was read speaks against it.
        assert_eq!(lab.read(), ["a"]);
        std::thread::sleep(Duration::from_millis(30));
        lab.hash(false);
        assert_eq!(lab.read(), Vec::<String>::new());
    }

    #[test]
    fn a_damaged_record_or_one_of_other_rules_is_none() {
        let lab = Lab::new();
        lab.hash(false);
        let mut bytes = fs::read(lab.record()).unwrap();
        bytes[60] ^= 1;
        fs::write(lab.record(), bytes).unwrap();
        assert_eq!(lab.read().len(), 3);
        assert!(lab.hash(true).iter().all(|(_, how, _)| *how == DigestOrigin::Read), "other attributes count");
        let (tree, moment) = (Tree::open(&lab.root()).unwrap(), |tree: &Tree| SyncPoint::begin(tree));
        let subject = CacheScope {
            dir: lab.0.path(),
            side: Side::Source,
            job: "j",
            root: b"/root",
            privileged: true,
            owners: None,
        };
        let memory = DigestCache::begin(&subject, &tree, moment(&tree)).unwrap();
        assert!(memory.recall(b"dir", memory.dev).is_some());
        assert!(memory.recall(b"dir", memory.dev + 1).is_none(), "another filesystem, mounted below");
        assert_ne!(key(&subject, memory.dev), key(&subject, memory.dev + 1), "another filesystem in its place");
        assert_ne!(key(&subject, 1), key(&CacheScope { root: b"/other", ..subject }, 1));
    }

    #[test]
    fn where_change_times_do_not_tell_all_nothing_is_remembered() {
        let memory = Path::new("/dev/shm");
        let Ok(dir) = tempfile::tempdir_in(memory) else {
            return println!("skipped: there is no {}", memory.display());
        };
        let tree = Tree::open(dir.path()).unwrap();
        let subject =
            CacheScope { dir: dir.path(), side: Side::Source, job: "j", root: b"/", privileged: false, owners: None };
        assert!(DigestCache::begin(&subject, &tree, SyncPoint::begin(&tree)).is_none());
    }
}
