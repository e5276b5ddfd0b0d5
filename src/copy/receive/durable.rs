//! What a session has written, and how the disk comes to have it.
//!
//! To sync a whole filesystem is the cheapest way for many files, but it waits for what others have written there, too. Where that is much, or
//! little was written here, each file and each directory is synced by itself.
//!
//! Must never leave out anything that was written, and never swallow what a disk says.

use std::collections::HashSet;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::fs::{FileType, Mode, OFlags, fstat, fsync, openat, syncfs};
use rustix::io::Errno;

use crate::copy::fs::path;
use crate::copy::fs::sync_point::has_reliable_ctime;
use crate::copy::fs::tree::Tree;

/// Paths that are remembered; with more the filesystem is synced.
const MOST: usize = 200_000;
/// Paths that are synced by themselves in any case.
const FEW: usize = 64;
/// Syncs at the same time: a journal takes all that wait for it at once.
const AT_ONCE: usize = 32;
/// Bytes of others that a sync of the filesystem may wait for.
const OTHERS: u64 = 64 << 20;

/// The paths that were written; `None` when they are too many.
#[derive(Debug)]
pub struct Written(Mutex<Option<HashSet<Vec<u8>>>>);

impl Default for Written {
    fn default() -> Self {
        Self(Mutex::new(Some(HashSet::new())))
    }
}

impl Written {
    /// The entry at `path` was made, changed or removed, and so was its directory.
    pub fn entry(&self, path: &[u8]) {
        self.add(path);
        self.add(path::split(path).0);
    }

    /// Only the entry itself.
    pub fn add(&self, path: &[u8]) {
        let mut written = self.lock();
        let Some(paths) = written.as_mut() else { return };
        if !paths.contains(path) {
            paths.insert(path.to_vec());
        }
        if paths.len() > MOST {
            *written = None;
        }
    }

    /// When this returns, the disk has all of it. `unsynced`: bytes of content that it may not have yet.
    pub fn sync(&self, tree: &Tree, unsynced: u64) -> rustix::io::Result<()> {
        // Elsewhere it is not known that a directory's sync takes with it what was done before.
        let paths = self.lock().take().filter(|_| has_reliable_ctime(tree.root()));
        match paths {
            Some(paths) if paths.len() <= FEW || waits_for_others(unsynced) => {
                let paths: Vec<Vec<u8>> = paths.into_iter().collect();
                match sync_each(tree, &paths) {
                    // What its owner may not open cannot be synced by itself.
                    Err(Errno::ACCESS | Errno::PERM) => syncfs(tree.root()),
                    other => other,
                }
            }
            _ => syncfs(tree.root()),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<HashSet<Vec<u8>>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether a sync of the filesystem would wait for much that others have written, as far as is known; `ours` bytes are not theirs.
pub fn waits_for_others(ours: u64) -> bool {
    let memory = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    dirty(&memory).saturating_sub(ours) > OTHERS
}

/// Bytes that disks do not have yet.
fn dirty(memory: &str) -> u64 {
    let kib = |line: &str| line.split_whitespace().nth(1).and_then(|n| n.parse::<u64>().ok());
    let lines = memory.lines().filter(|line| line.starts_with("Dirty:") || line.starts_with("Writeback:"));
    lines.filter_map(kib).fold(0, u64::saturating_add).saturating_mul(1024)
}

fn sync_each(tree: &Tree, paths: &[Vec<u8>]) -> rustix::io::Result<()> {
    let next = AtomicUsize::new(0);
    let work = || {
        while let Some(path) = paths.get(next.fetch_add(1, Ordering::Relaxed)) {
            sync_one(tree, path)?;
        }
        Ok(())
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..AT_ONCE.min(paths.len())).map(|_| scope.spawn(work)).collect();
        threads.into_iter().try_for_each(|thread| thread.join().unwrap_or(Err(Errno::IO)))
    })
}

fn sync_one(tree: &Tree, path: &[u8]) -> rustix::io::Result<()> {
    if path.is_empty() {
        return fsync(tree.root());
    }
    let (dir, name) = path::split(path);
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY;
    let kind = |fd: &std::os::fd::OwnedFd| fstat(fd).map(|st| FileType::from_raw_mode(st.st_mode));
    match tree.dir(dir).and_then(|dir| openat(dir.as_fd(), name, flags, Mode::empty())) {
        Ok(fd) if matches!(kind(&fd)?, FileType::RegularFile | FileType::Directory) => fsync(fd),
        // What has no content is in its directory. What is gone is missing there.
        Ok(_) | Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::NXIO | Errno::NODEV) => Ok(()),
        Err(e) => Err(e),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_that_is_still_there_is_synced_whatever_it_is() {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir(root.path().join("dir")).unwrap();
        std::fs::write(root.path().join("dir/file"), "x").unwrap();
        std::os::unix::fs::symlink("nowhere", root.path().join("link")).unwrap();
        let tree = Tree::open(root.path()).unwrap();
        for busy in [false, true] {
            let written = Written::default();
            for path in [&b"dir/file"[..], b"link", b"gone", b"gone/too", b"dir"] {
                written.entry(path);
            }
            assert_eq!(written.lock().as_ref().unwrap().len(), 6, "with the root");
            if busy {
                (0..=MOST).for_each(|n| written.add(n.to_string().as_bytes()));
                assert!(written.lock().is_none());
            }
            written.sync(&tree, 0).unwrap();
        }
    }

    #[test]
    fn what_disks_do_not_have_yet_is_read_from_the_kernels_words() {
        let memory =
            "MemTotal: 16000000 kB\nDirty:              1024 kB\nWriteback:             8 kB\nWritebackTmp:  9 kB\n";
        assert_eq!(dirty(memory), 1032 * 1024);
        assert_eq!(dirty(""), 0);
        assert!(!waits_for_others(u64::MAX));
    }
}
