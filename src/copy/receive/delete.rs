//! Removal on the target: what the source does not have any more, and leftovers of runs that were cut.
//!
//! Must never follow a symlink, never remove what the job excludes, and never do anything when the job may not delete.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, Dir as ReadDir, FileType, statat, unlinkat};
use rustix::io::Errno;

use super::target::{Target, failed, grant_owner, refused};
use crate::copy::failure::{Failure, Side, show};
use crate::copy::fs::path;
use crate::copy::fs::tree::open_dir;

/// A directory that is being emptied.
struct Level {
    fd: OwnedFd,
    name: Vec<u8>,
    path: Vec<u8>,
    left: Vec<Vec<u8>>,
}

impl Target {
    /// Removes `path` with everything below it that is not excluded; returns how many entries went.
    pub fn delete(&self, path: &[u8]) -> Result<u64, Failure> {
        let (dir, name) = path::split(path);
        self.check_name(name, path)?;
        if !path::is_relative(path) {
            return Err(refused(path));
        }
        let parent = match self.tree.dir(dir) {
            Ok(fd) => fd,
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(0),
            Err(e) => return Err(failed("open the directory", dir, e)),
        };
        self.remove(parent.as_fd(), name, path)
    }

    /// Removes one entry of an open directory, whatever it is.
    pub fn remove(&self, parent: BorrowedFd<'_>, name: &[u8], path: &[u8]) -> Result<u64, Failure> {
        if !self.may_delete() {
            let what = format!("cannot replace {}: that takes deleting, which is off", show(path));
            return Err(Failure { fatal: false, ..Failure::fatal(Side::Target, what) });
        }
        let st = match statat(parent, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(st) => st,
            Err(Errno::NOENT) => return Ok(0),
            Err(e) => return Err(failed("look at", path, e)),
        };
        self.written.entry(path);
        if FileType::from_raw_mode(st.st_mode) != FileType::Directory {
            return unlink(parent, name, path, AtFlags::empty());
        }
        self.forget();
        self.tree.forget();
        self.remove_tree(parent, name, path)
    }

    /// Depth first and without recursion: a hostile tree may be deeper than a stack.
    fn remove_tree(&self, parent: BorrowedFd<'_>, name: &[u8], path: &[u8]) -> Result<u64, Failure> {
        let mut removed = 0;
        let mut levels = vec![self.level(parent, name, path.to_vec())?];
        while let Some(level) = levels.last_mut() {
            let Some(child) = level.left.pop() else {
                let Some(done) = levels.pop() else { break };
                let up = levels.last().map_or(parent, |l| l.fd.as_fd());
                drop(done.fd);
                removed += rmdir(up, &done.name, &done.path)?;
                continue;
            };
            let child_path = path::join(&level.path, &child);
            let st = match statat(&level.fd, &child[..], AtFlags::SYMLINK_NOFOLLOW) {
                Ok(st) => st,
                Err(Errno::NOENT) => continue,
                Err(e) => return Err(failed("look at", &child_path, e)),
            };
            let is_dir = FileType::from_raw_mode(st.st_mode) == FileType::Directory;
            if self.filter.excludes(&child_path, is_dir) {
                continue;
            }
            if is_dir {
                let next = self.level(level.fd.as_fd(), &child, child_path)?;
                levels.push(next);
            } else {
                removed += unlink(level.fd.as_fd(), &child, &child_path, AtFlags::empty())?;
            }
        }
        Ok(removed)
    }

    fn level(&self, parent: BorrowedFd<'_>, name: &[u8], path: Vec<u8>) -> Result<Level, Failure> {
        let fd = match open_dir(parent, name) {
            Err(Errno::ACCESS) if !self.rights.privileged => {
                // On its way out, so nobody needs its mode again.
                grant_owner(parent, name, self.rights.uid).and_then(|_| open_dir(parent, name))
            }
            other => other,
        };
        let fd = fd.map_err(|e| failed("open the directory", &path, e))?;
        // Where something excluded keeps it from going.
        self.written.add(&path);
        if !self.rights.privileged {
            let _ = rustix::fs::fchmod(&fd, rustix::fs::Mode::RWXU);
        }
        let left = names(fd.as_fd()).map_err(|e| failed("read the directory", &path, e))?;
        Ok(Level { fd, name: name.to_vec(), path, left })
    }

    /// Removes what a run of this job that was cut left in a directory.
    pub fn remove_leftover(&self, dir: &OwnedFd, name: &[u8]) {
        // Best effort: what cannot be removed is found again by the next run.
        let _ = unlinkat(dir, name, AtFlags::empty());
    }
}

fn names(dir: BorrowedFd<'_>) -> rustix::io::Result<Vec<Vec<u8>>> {
    let mut names = Vec::new();
    for entry in ReadDir::read_from(dir)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if !matches!(name, b"." | b"..") {
            names.push(name.to_vec());
        }
    }
    Ok(names)
}

fn rmdir(parent: BorrowedFd<'_>, name: &[u8], path: &[u8]) -> Result<u64, Failure> {
    match unlinkat(parent, name, AtFlags::REMOVEDIR) {
        // What is excluded stays, and so does the way to it.
        Err(Errno::NOTEMPTY | Errno::EXIST) => Ok(0),
        Err(Errno::NOENT) => Ok(0),
        Ok(()) => Ok(1),
        Err(e) => Err(failed("remove the directory", path, e)),
    }
}

fn unlink(parent: BorrowedFd<'_>, name: &[u8], path: &[u8], flags: AtFlags) -> Result<u64, Failure> {
    match unlinkat(parent, name, flags) {
        Ok(()) => Ok(1),
        Err(Errno::NOENT) => Ok(0),
        Err(e) => Err(failed("remove", path, e)),
    }
}
