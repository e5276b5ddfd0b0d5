//! Single files: opened without following symlinks, read in full, and replaced so that a crash leaves one state or the other.
//!
//! Must never follow a symlink in the last component, and never block on a fifo.

use std::fs::File;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{Mode, OFlags};
use rustix::io::{Errno, Result};

/// Opens the regular file `name` in `dir` for reading, without following a symlink and without waiting for a fifo's writer.
pub fn open_file(dir: BorrowedFd<'_>, name: &[u8]) -> Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY;
    match rustix::fs::openat(dir, name, flags | OFlags::NOATIME, Mode::empty()) {
        // Only the owner and root may leave the access time alone.
        Err(Errno::PERM) => rustix::fs::openat(dir, name, flags, Mode::empty()),
        other => other,
    }
}

/// Reads until the buffer is full or the file ends.
pub fn read_full(fd: &OwnedFd, buf: &mut [u8], at: u64) -> Result<usize> {
    let mut have = 0;
    while let Some(rest) = buf.get_mut(have..).filter(|rest| !rest.is_empty()) {
        match rustix::io::pread(fd, rest, at + have as u64) {
            Ok(0) => break,
            Ok(n) => have += n,
            Err(Errno::INTR) => {}
            Err(e) => return Err(e),
        }
    }
    Ok(have)
}

/// Replaces `file` by `next` so that a crash leaves one or the other whole.
pub fn replace(next: &Path, file: &Path) -> io::Result<()> {
    std::fs::rename(next, file)?;
    let dir = file.parent().unwrap_or(Path::new("."));
    File::open(dir)?.sync_all()
}
