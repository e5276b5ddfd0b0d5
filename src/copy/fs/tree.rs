//! A directory tree reached only by descriptors: nothing outside its root can be named.
//!
//! Owns how directories are opened. Must never resolve a symlink, `..` or a path longer than the kernel takes in one call.

use std::collections::HashMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags};
use rustix::io::{Errno, Result};

use super::file::open_file;
use super::mapped::Mapped;

/// Files below this are sent whole.
const LARGE: u64 = 8 << 20;
/// How many directories are kept open for the next file.
const CACHED: usize = 128;
/// Path bytes that one call takes.
const PER_CALL: usize = 3500;

/// How work on a tree is carried out: on how many threads, and what runs before each system call.
#[derive(Clone)]
pub struct Execution {
    /// How many threads share the work. With one, the order of system calls follows from the tree alone.
    pub threads: usize,
    /// Of files from this size on, the hashes of the blocks are kept.
    pub large: u64,
    /// Runs before every system call on the tree. For tests, which change the tree between any two of them.
    pub before_call: Option<Arc<dyn Fn() + Send + Sync>>,
}

impl Default for Execution {
    fn default() -> Self {
        let threads = std::thread::available_parallelism().map_or(2, |n| n.get().clamp(2, 8));
        Self { threads, large: LARGE, before_call: None }
    }
}

/// An open root.
pub struct Tree {
    root: Arc<OwnedFd>,
    cache: Mutex<HashMap<Vec<u8>, Arc<OwnedFd>>>,
    execution: Execution,
    one_filesystem: bool,
    mapped: Mutex<Option<Arc<Mapped>>>,
}

impl Tree {
    /// Opens the root, which the operator named: a symlink there is followed.
    pub fn open(root: &Path) -> Result<Self> {
        let fd = rustix::fs::openat(CWD, root, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        Ok(Self {
            root: Arc::new(fd),
            cache: Mutex::default(),
            execution: Execution::default(),
            one_filesystem: false,
            mapped: Mutex::default(),
        })
    }

    /// The same, with work on it carried out in another way.
    pub fn executed(self, execution: Execution) -> Self {
        Self { execution, ..self }
    }

    /// The same, without what is on other filesystems than the root if `one_filesystem`.
    pub fn bounded(self, one_filesystem: bool) -> Self {
        Self { one_filesystem, ..self }
    }

    /// Whether only what is on the root's filesystem belongs to it.
    pub fn is_one_filesystem(&self) -> bool {
        self.one_filesystem
    }

    /// How many threads share the work.
    pub fn threads(&self) -> usize {
        self.execution.threads
    }

    /// Of files from this size on, the hashes of the blocks are kept.
    pub fn large(&self) -> u64 {
        self.execution.large
    }

    /// A system call on the tree comes next.
    pub fn before_call(&self) {
        if let Some(run) = &self.execution.before_call {
            run();
        }
    }

    /// The root itself.
    pub fn root(&self) -> &Arc<OwnedFd> {
        &self.root
    }

    /// Opens a directory below the root; `path` has been checked.
    pub fn dir(&self, path: &[u8]) -> Result<Arc<OwnedFd>> {
        if path.is_empty() {
            return Ok(Arc::clone(&self.root));
        }
        if let Some(fd) = self.lock().get(path) {
            return Ok(Arc::clone(fd));
        }
        self.before_call();
        let fd = Arc::new(open_dir(self.root.as_fd(), path)?);
        let mut cache = self.lock();
        if cache.len() >= CACHED {
            cache.clear();
        }
        cache.insert(path.to_vec(), Arc::clone(&fd));
        Ok(fd)
    }

    /// From here on files are settled so before they are read.
    pub fn settle_with(&self, mapped: Mapped) {
        *self.mapped.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(mapped));
    }

    /// Opens the regular file `name` in `dir` to be read: every store after this moves its time of change.
    pub fn open_file(&self, dir: BorrowedFd<'_>, name: &[u8]) -> Result<OwnedFd> {
        let fd = open_file(dir, name)?;
        let mapped = self.mapped.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(mapped) = mapped {
            mapped.settle(&self.root, &fd)?;
        }
        Ok(fd)
    }

    /// Forgets what is open: a directory was removed or replaced.
    pub fn forget(&self) {
        self.lock().clear();
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Vec<u8>, Arc<OwnedFd>>> {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Opens the directory `path` below `base` for reading.
pub fn open_dir(base: BorrowedFd<'_>, path: &[u8]) -> Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
    if path.len() <= PER_CALL {
        return open_beneath(base, path, flags);
    }
    // Longer than the kernel takes: one stretch after the other.
    let at = path.iter().take(PER_CALL).rposition(|b| *b == b'/').ok_or(Errno::NAMETOOLONG)?;
    let (head, tail) = (path.get(..at).unwrap_or_default(), path.get(at + 1..).unwrap_or_default());
    let next = open_beneath(base, head, flags)?;
    open_dir(next.as_fd(), tail)
}

/// Opens `path` without leaving `base` and without following any symlink.
fn open_beneath(base: BorrowedFd<'_>, path: &[u8], flags: OFlags) -> Result<OwnedFd> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    loop {
        match rustix::fs::openat2(base, path, flags, Mode::empty(), resolve) {
            // A rename elsewhere disturbed the lookup.
            Err(Errno::AGAIN) => {}
            Err(Errno::NOSYS) => return open_stepwise(base, path, flags),
            other => return other,
        }
    }
}

/// The same for kernels before 5.6: one component at a time, each of which must be a directory and no symlink.
fn open_stepwise(base: BorrowedFd<'_>, path: &[u8], flags: OFlags) -> Result<OwnedFd> {
    let mut at = rustix::io::fcntl_dupfd_cloexec(base, 0)?;
    for name in path.split(|b| *b == b'/') {
        if !crate::copy::fs::path::is_name(name) {
            return Err(Errno::INVAL);
        }
        at = rustix::fs::openat(&at, name, flags, Mode::empty())?;
    }
    Ok(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_symlink_on_the_way_is_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("root/real/sub")).unwrap();
        std::os::unix::fs::symlink("..", dir.path().join("root/up")).unwrap();
        std::os::unix::fs::symlink("real", dir.path().join("root/alias")).unwrap();
        let tree = Tree::open(&dir.path().join("root")).unwrap();
        assert!(tree.dir(b"real/sub").is_ok());
        for (name, path) in [("alias/sub", &b"alias/sub"[..]), ("alias", b"alias"), ("up", b"up"), ("..", b"..")] {
            assert!(tree.dir(path).is_err(), "{name}");
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW;
            assert!(open_stepwise(tree.root().as_fd(), path, flags).is_err(), "{name}, stepwise");
        }
    }

    #[test]
    fn directories_deeper_than_path_max_can_be_opened() {
        let dir = tempfile::tempdir().unwrap();
        let tree = Tree::open(dir.path()).unwrap();
        let name = vec![b'd'; 200];
        let mut path = Vec::new();
        let mut at = Arc::clone(tree.root());
        for _ in 0..50 {
            rustix::fs::mkdirat(&at, &name[..], Mode::RWXU).unwrap();
            at = Arc::new(open_dir(at.as_fd(), &name).unwrap());
            path = super::super::path::join(&path, &name);
        }
        assert!(path.len() > 10_000);
        assert!(tree.dir(&path).is_ok());
        drop(at);
        // `remove_dir_all` of the standard library works by descriptors and can clean this up.
    }
}
