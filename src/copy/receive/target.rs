//! The target's tree: directories opened or made by descriptor, and what stands in the way of a new entry.
//!
//! Owns every path that is turned into a descriptor on the target. Must never name anything outside the root, whatever the
//! source says, and never remove a directory unless the job may delete.

use std::collections::HashMap;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::fs::{AtFlags, Mode, OFlags, Stat, fstat, mkdirat, openat, renameat, unlinkat};
use rustix::io::Errno;

use super::durable::Written;
use crate::copy::failure::{Failure, Side, show};
use crate::copy::fs::filter::Filter;
use crate::copy::fs::listing::Entry;
use crate::copy::fs::metadata::{Metadata, Privileges, has_default_acl};
use crate::copy::fs::path::{self, TempNames};
use crate::copy::fs::tree::{Tree, open_dir};

/// How many directories are kept open for the next entry.
const CACHED: usize = 128;

/// An open directory on the target.
#[derive(Debug, Clone)]
pub struct Dir {
    /// Its descriptor.
    pub fd: Arc<OwnedFd>,
    /// Whether new entries inherit neither group nor ACL from it.
    pub plain: bool,
}

/// The tree that one job writes.
pub struct Target {
    /// The root.
    pub tree: Tree,
    /// Names of what is not complete yet.
    pub temp: TempNames,
    /// Who this process is.
    pub rights: Privileges,
    /// What is left alone.
    pub filter: Filter,
    may_delete: bool,
    trusted: AtomicBool,
    inexact_times: bool,
    /// What the disk has to have at the end.
    pub written: Written,
    open: Mutex<HashMap<Vec<u8>, Dir>>,
    /// Directories that were closed even to their owner, with the mode to give back.
    opened_up: Mutex<Vec<(Vec<u8>, Mode)>>,
    /// What runs that were cut left of large files: directory and temporary name.
    leftovers: Mutex<Vec<(Vec<u8>, Vec<u8>)>>,
}

impl Target {
    /// A target below an open root.
    pub fn new(tree: Tree, temp: TempNames, rights: Privileges, filter: Filter, may_delete: bool) -> Self {
        Self {
            tree,
            temp,
            rights,
            filter,
            may_delete,
            trusted: AtomicBool::new(false),
            inexact_times: false,
            written: Written::default(),
            open: Mutex::default(),
            opened_up: Mutex::default(),
            leftovers: Mutex::default(),
        }
    }

    /// Whether nobody but this job wrote there since its last pass.
    pub fn trusted(self, trusted: bool) -> Self {
        Self { trusted: AtomicBool::new(trusted), ..self }
    }

    /// Somebody else has written there.
    pub fn distrust(&self) {
        self.trusted.store(false, Ordering::Relaxed);
    }

    /// Whether times that the filesystem cannot keep may be kept as it does.
    pub fn with_inexact_times(self, inexact_times: bool) -> Self {
        Self { inexact_times, ..self }
    }

    /// Refuses an entry whose time, as it was read back after it was set, is another.
    pub fn check_time(&self, set: &Metadata, now: rustix::io::Result<Stat>, path: &[u8]) -> Result<(), Failure> {
        let now = now.map_err(|e| failed("look at", path, e))?;
        let became = Entry::of_stat(b"", &now).mtime;
        if self.inexact_times || became == set.mtime {
            return Ok(());
        }
        let what =
            format!("the target's filesystem cannot keep the time of {}: {} became {became}", show(path), set.mtime);
        let hint = "choose a filesystem that can (xfs with bigtime=1, ext4 with inodes of 256 bytes), or say `allow_inexact_times: true` in \
                    the plan (`migrate copy --allow-inexact-times`)";
        Err(Failure::fatal(Side::Target, what).hint(hint))
    }

    /// Whether nobody but this job wrote there since its last pass.
    pub fn is_trusted(&self) -> bool {
        self.trusted.load(Ordering::Relaxed)
    }

    /// Remembers a part of a file until the pass has had its chance to go on with it.
    pub fn keep_leftover(&self, dir: &[u8], name: &[u8]) {
        lock(&self.leftovers).push((dir.to_vec(), name.to_vec()));
    }

    /// Removes the parts of files that nobody went on with.
    pub fn remove_leftovers(&self) {
        for (dir, name) in std::mem::take(&mut *lock(&self.leftovers)) {
            if let Ok(fd) = self.tree.dir(&dir) {
                self.remove_leftover(&fd, &name);
            }
        }
    }

    /// Opens a directory, making it and its parents where they are missing and replacing what stands in the way.
    pub fn dir(&self, path: &[u8]) -> Result<Dir, Failure> {
        if let Some(dir) = lock(&self.open).get(path) {
            return Ok(dir.clone());
        }
        if !path::is_relative(path) || path.split(|b| *b == b'/').any(|name| self.temp.matches(name)) {
            return Err(refused(path));
        }
        let fd = match open_dir(self.tree.root().as_fd(), path) {
            _ if path.is_empty() => Arc::clone(self.tree.root()),
            Ok(fd) => Arc::new(fd),
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::ACCESS | Errno::NAMETOOLONG) => self.make(path)?,
            Err(e) => return Err(failed("open the directory", path, e)),
        };
        let st = fstat(&fd).map_err(|e| failed("look at", path, e))?;
        let dir = Dir { plain: st.st_mode & 0o2000 == 0 && !has_default_acl(fd.as_fd()), fd };
        let mut open = lock(&self.open);
        if open.len() >= CACHED {
            open.clear();
        }
        open.insert(path.to_vec(), dir.clone());
        Ok(dir)
    }

    /// The directory of an entry, and its checked name.
    pub fn parent<'a>(&self, path: &'a [u8]) -> Result<(Dir, &'a [u8]), Failure> {
        let (dir, name) = path::split(path);
        if !path::is_relative(path) {
            return Err(refused(path));
        }
        self.check_name(name, path)?;
        Ok((self.dir(dir)?, name))
    }

    /// Refuses a name that is not one, or that this job uses for itself.
    pub fn check_name(&self, name: &[u8], path: &[u8]) -> Result<(), Failure> {
        if !path::is_name(name) || self.temp.matches(name) { Err(refused(path)) } else { Ok(()) }
    }

    /// Walks down from the root and makes what is missing.
    fn make(&self, path: &[u8]) -> Result<Arc<OwnedFd>, Failure> {
        let mut at = Arc::clone(self.tree.root());
        let mut end = 0;
        for name in path.split(|b| *b == b'/') {
            end += name.len() + usize::from(end > 0);
            let here = path.get(..end).unwrap_or(path);
            at = Arc::new(self.enter(at.as_fd(), name, here)?);
        }
        Ok(at)
    }

    fn enter(&self, parent: BorrowedFd<'_>, name: &[u8], path: &[u8]) -> Result<OwnedFd, Failure> {
        for _ in 0..3 {
            match open_dir(parent, name) {
                Ok(fd) => return Ok(fd),
                Err(Errno::NOENT) => match mkdirat(parent, name, Mode::RWXU) {
                    Ok(()) | Err(Errno::EXIST) => self.written.entry(path),
                    Err(Errno::ACCESS) => self.open_up(parent, b".", path::split(path).0)?,
                    Err(e) => return Err(failed("make the directory", path, e)),
                },
                Err(Errno::NOTDIR | Errno::LOOP) => match unlinkat(parent, name, AtFlags::empty()) {
                    Ok(()) | Err(Errno::NOENT) => {}
                    Err(e) => return Err(failed("make way for the directory", path, e)),
                },
                Err(Errno::ACCESS) => self.open_up(parent, name, path)?,
                Err(e) => return Err(failed("open the directory", path, e)),
            }
        }
        Err(failed("open the directory", path, Errno::ACCESS))
    }

    /// Lets the owner into a directory that is closed even to him, until [`Self::close_again`].
    fn open_up(&self, parent: BorrowedFd<'_>, name: &[u8], path: &[u8]) -> Result<(), Failure> {
        let denied = |e| failed("open the directory", path, e);
        if self.rights.privileged {
            return Err(denied(Errno::ACCESS));
        }
        let mode = grant_owner(parent, name, self.rights.uid).map_err(denied)?;
        lock(&self.opened_up).push((path.to_vec(), mode));
        Ok(())
    }

    /// Gives directories that were opened up their mode back.
    pub fn close_again(&self) -> Result<(), Failure> {
        let opened = std::mem::take(&mut *lock(&self.opened_up));
        for (path, mode) in opened.iter().rev() {
            let dir = self.dir(path)?;
            rustix::fs::fchmod(&dir.fd, *mode).map_err(|e| failed("set the permissions of", path, e))?;
            self.written.add(path);
        }
        Ok(())
    }

    /// Creates a temporary file for writing; what an earlier run left under its name goes.
    pub fn create(&self, dir: &Dir, temp: &[u8], path: &[u8], mode: Mode) -> Result<OwnedFd, Failure> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        for _ in 0..3 {
            match openat(&dir.fd, temp, flags, mode) {
                Err(Errno::EXIST) => self.discard(dir, temp, path)?,
                Err(Errno::ACCESS) => self.open_up(dir.fd.as_fd(), b".", path::split(path).0)?,
                other => return other.map_err(|e| failed("create", path, e)),
            }
        }
        Err(failed("create", path, Errno::EXIST))
    }

    /// Removes a temporary entry.
    pub fn discard(&self, dir: &Dir, temp: &[u8], path: &[u8]) -> Result<(), Failure> {
        match unlinkat(&dir.fd, temp, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(e) => Err(failed("remove the temporary file of", path, e)),
        }
    }

    /// Gives a complete temporary entry its final name, in place of whatever has it.
    pub fn publish(&self, dir: &Dir, temp: &[u8], name: &[u8], path: &[u8]) -> Result<(), Failure> {
        self.written.entry(path);
        match renameat(&dir.fd, temp, &dir.fd, name) {
            Ok(()) => Ok(()),
            Err(Errno::ISDIR | Errno::NOTEMPTY | Errno::EXIST) => {
                self.remove(dir.fd.as_fd(), name, path)?;
                renameat(&dir.fd, temp, &dir.fd, name).map_err(|e| failed("put in place", path, e))
            }
            Err(e) => Err(failed("put in place", path, e)),
        }
    }

    /// Whether this job may remove what the source does not have.
    pub fn may_delete(&self) -> bool {
        self.may_delete
    }

    /// Forgets open directories: one of them may be gone.
    pub fn forget(&self) {
        lock(&self.open).clear();
    }
}

/// Gives the owner of a directory every right on it; returns the mode it had.
pub fn grant_owner(parent: BorrowedFd<'_>, name: &[u8], uid: u32) -> rustix::io::Result<Mode> {
    // The descriptor pins what is looked at, so that no symlink can take its place.
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let pinned = openat(parent, name, flags, Mode::empty())?;
    let st = fstat(&pinned)?;
    if st.st_uid != uid {
        return Err(Errno::ACCESS);
    }
    let mode = Mode::from_raw_mode(st.st_mode & 0o7777);
    rustix::fs::chmod(format!("/proc/self/fd/{}", pinned.as_raw_fd()), mode | Mode::RWXU)?;
    Ok(mode)
}

/// An error of this side.
pub fn failed(doing: &str, path: &[u8], errno: Errno) -> Failure {
    Failure::of(Side::Target, doing, path, errno)
}

/// The answer to a path that no honest source sends.
pub fn refused(path: &[u8]) -> Failure {
    Failure::fatal(Side::Target, format!("the source sent a path that cannot be below the root: {}", show(path)))
        .hint("the source host is broken or hostile: look at it before you run again")
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
