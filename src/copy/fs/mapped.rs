//! Files that somebody has mapped so that a store changes them without a system call.
//!
//! A store into a page that is dirty already moves no time of the file. Once the file is synced, the next store does. So a file that is
//! mapped is synced before it is read. What is mapped after that moves times with its first store.
//!
//! Must never call the list of them complete when a process could not be looked into.

use std::collections::HashSet;
use std::os::fd::{AsFd, AsRawFd};
use std::path::Path;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::thread::JoinHandle;
use std::{fs, io};

use rustix::fs::{fdatasync, fstat, makedev, syncfs};
use rustix::io::{Errno, Result};

use super::listing::dev_of;
use super::mounts::layers;
use crate::host::FIRST_PIDS;

/// To look into the processes of others.
const CAP_SYS_PTRACE: u64 = 1 << 19;
/// How often it is looked again because a process ended meanwhile, whose mappings another may have inherited: one that was not there
/// yet, so that only those are looked at that nobody has looked at before. On a busy host some process always ends.
const TRIES: usize = 20;

/// Devices and inodes of files.
type Files = HashSet<(u64, u64)>;

/// What has to be synced before it is read.
#[derive(Debug, Default)]
pub struct Mapped {
    /// Under way from the start of a look on, so that nothing waits for it before something is read.
    list: Mutex<Option<JoinHandle<Option<Files>>>>,
    known: OnceLock<Result<Files>>,
}

impl Mapped {
    /// Begins to list what is mapped. `is_telling`: changes are told by times on the filesystem of `root`.
    pub fn begin(root: impl AsFd, is_telling: bool) -> Self {
        let place = fs::read_link(format!("/proc/self/fd/{}", root.as_fd().as_raw_fd()));
        let list = place.ok().filter(|_| is_telling).and_then(|root| {
            let list = move || files(&root);
            std::thread::Builder::new().name("mapped".to_owned()).spawn(list).ok()
        });
        Self { list: Mutex::new(list), known: OnceLock::new() }
    }

    /// Makes sure that every later store into an open file moves its time of change. Where nobody knows what is mapped, the whole filesystem
    /// of `root` is synced, once.
    pub fn settle(&self, root: impl AsFd, file: impl AsFd) -> Result<()> {
        let known = self.known.get_or_init(|| {
            let list = self.list.lock().unwrap_or_else(PoisonError::into_inner).take();
            match list.and_then(|list| list.join().ok().flatten()) {
                Some(files) => Ok(files),
                None => syncfs(root).map(|()| Files::new()),
            }
        });
        let files = known.as_ref().map_err(|e| *e)?;
        if files.is_empty() {
            return Ok(());
        }
        let st = fstat(&file)?;
        #[allow(clippy::unnecessary_cast, reason = "its width differs between architectures")]
        let id = (dev_of(&st), st.st_ino as u64);
        if files.contains(&id) { fdatasync(file) } else { Ok(()) }
    }
}

/// All files that are mapped shared; `None` where not all processes can be looked into, or where they name other files than those of the tree.
fn files(root: &Path) -> Option<Files> {
    if fs::read_link("/proc/self/ns/pid").ok()?.as_os_str() != FIRST_PIDS
        || !sees_all(&fs::read("/proc/self/status").ok()?)
    {
        return None;
    }
    let root = root.as_os_str().as_encoded_bytes();
    // What is mapped through an overlay has the number that it has there.
    let mounts = fs::read("/proc/self/mountinfo").ok()?;
    let related = |a: &[u8], b: &[u8]| a.strip_prefix(b).is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/"));
    if layers(&mounts).any(|layer| related(&layer, root) || related(root, &layer)) {
        return None;
    }
    let (mut files, mut seen) = (Files::new(), HashSet::new());
    for _ in 0..TRIES {
        if look(&mut files, &mut seen).ok()? {
            return Some(files);
        }
    }
    None
}

/// Whether a process with this status sees those of others: `/proc` may hide them from everybody else (`hidepid`).
fn sees_all(status: &[u8]) -> bool {
    let effective = status.split(|b| *b == b'\n').find_map(|line| line.strip_prefix(b"CapEff:"));
    let rights = effective.and_then(|hex| u64::from_str_radix(std::str::from_utf8(hex).ok()?.trim(), 16).ok());
    rights.is_some_and(|rights| rights & CAP_SYS_PTRACE != 0)
}

/// Adds what is mapped by processes that were not seen yet; whether none of them ended meanwhile.
fn look(files: &mut Files, seen: &mut HashSet<u32>) -> io::Result<bool> {
    let mut complete = true;
    for entry in fs::read_dir("/proc")? {
        let entry = entry?;
        let pid: Option<u32> = entry.file_name().to_str().and_then(|name| name.parse().ok());
        let Some(pid) = pid.filter(|pid| !seen.contains(pid)) else { continue };
        match mappings(&entry.path()) {
            Ok(maps) => {
                files.extend(maps.split(|b| *b == b'\n').filter_map(shared));
                seen.insert(pid);
            }
            Err(e) if e.kind() == io::ErrorKind::NotFound || Errno::from_io_error(&e) == Some(Errno::SRCH) => {
                complete = false;
            }
            // The first process may be shielded, even from root; it starts others that write, and does not do so itself.
            Err(e) if e.kind() == io::ErrorKind::PermissionDenied && pid == 1 => {}
            Err(e) => return Err(e),
        }
    }
    Ok(complete)
}

/// The mappings of a process. Where its first thread has ended, another knows them.
fn mappings(process: &Path) -> io::Result<Vec<u8>> {
    let maps = fs::read(process.join("maps"))?;
    if !maps.is_empty() {
        return Ok(maps);
    }
    for thread in fs::read_dir(process.join("task"))? {
        let maps = fs::read(thread?.path().join("maps")).unwrap_or_default();
        if !maps.is_empty() {
            return Ok(maps);
        }
    }
    // A thread of the kernel, or nothing but a status.
    Ok(maps)
}

/// `7f…-7f… rw-s 00000000 fe:00 1234 /path` → the device and 1234. Readable ones count, too: they may have been writable a moment ago.
pub fn shared(line: &[u8]) -> Option<(u64, u64)> {
    let mut words = line.split(|b| *b == b' ');
    let rights = words.nth(1)?;
    let (major, minor) = std::str::from_utf8(words.nth(1)?).ok()?.split_once(':')?;
    let on = makedev(u32::from_str_radix(major, 16).ok()?, u32::from_str_radix(minor, 16).ok()?);
    let inode = std::str::from_utf8(words.next()?).ok()?.parse().ok()?;
    (rights.get(3) == Some(&b's') && inode != 0).then_some((on, inode))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_who_may_look_into_others_sees_all() {
        assert!(sees_all(b"Name:\tx\nCapEff:\t000001ffffffffff\n"));
        assert!(sees_all(b"CapEff:\t0000000000080000"));
        for status in [&b"CapEff:\t0000000000000000\n"[..], b"CapEff:\tfffffffffff7ffff", b"CapEff:\todd", b""] {
            assert!(!sees_all(status));
        }
    }

    #[test]
    fn shared_mappings_are_told_from_private_ones() {
        let dev = makedev(0xfe, 1);
        assert_eq!(shared(b"7f00-7f01 rw-s 00000000 fe:01 1234                       /srv/a b"), Some((dev, 1234)));
        assert_eq!(shared(b"7f00-7f01 r--s 00000000 fe:01 1234 /srv/a"), Some((dev, 1234)));
        assert_eq!(shared(b"7f00-7f01 rw-p 00000000 fe:01 1234 /srv/a"), None);
        assert_eq!(shared(b"7f00-7f01 rw-s 00000000 00:05 0 /dev/zero"), None);
        assert_eq!(shared(b""), None);
    }
}
