//! What is open for writing right now, or mapped so that it can be written.
//!
//! Owns what events do not tell: stores through mappings, kernel asynchronous writes, images behind loop devices. Must never
//! miss a process that it cannot look into without saying so.

use std::collections::BTreeSet;
use std::path::Path;
use std::{fs, io};

use rustix::fs::{AtFlags, CWD, FileType, statat};
use rustix::io::Errno;

use super::{LAYER, MOUNTS, NO_PROCESSES};
use crate::copy::fs::mapped;
use crate::copy::fs::mounts::{layers, unescape};
use crate::copy::fs::walk::dev_of;
use crate::host::FIRST_PIDS;

/// Inodes of the filesystem `dev` that somebody can write to, or why that is not known. `root` is the tree.
pub fn writers(root: &Path, dev: u64) -> Result<Vec<u64>, String> {
    if fs::read_link("/proc/self/ns/pid").ok().is_none_or(|ns| ns.as_os_str() != FIRST_PIDS) {
        return Err(NO_PROCESSES.to_owned());
    }
    let unknown = |e: io::Error| format!("the open files cannot be listed: {e}");
    plain(root)?;
    let mut found = BTreeSet::new();
    let me = std::process::id().to_string();
    for entry in fs::read_dir("/proc").map_err(unknown)? {
        let entry = entry.map_err(unknown)?;
        let name = entry.file_name();
        let Some(pid) = name.to_str().filter(|pid| *pid != me && pid.bytes().all(|b| b.is_ascii_digit())) else {
            continue;
        };
        let process = Path::new("/proc").join(pid);
        let seen = open_files(&process, dev, &mut found).and_then(|()| mapped_files(&process, dev, &mut found));
        match seen {
            // A process that ended has closed everything, which raises events.
            Err(e) if e.kind() == io::ErrorKind::NotFound || Errno::from_io_error(&e) == Some(Errno::SRCH) => {}
            // The first process may be shielded, even from root; it starts others that write, and does not do so itself.
            Err(e) if e.kind() == io::ErrorKind::PermissionDenied && pid == "1" => {}
            seen => seen.map_err(unknown)?,
        }
    }
    images(dev, &mut found);
    Ok(found.into_iter().collect())
}

fn open_files(process: &Path, dev: u64, found: &mut BTreeSet<u64>) -> io::Result<()> {
    for entry in fs::read_dir(process.join("fd"))? {
        let link = entry?.path();
        // The mode of the link says how the file was opened.
        let written = match statat(CWD, &link, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(st) if st.st_mode & 0o200 != 0 => statat(CWD, &link, AtFlags::empty()),
            other => other,
        };
        match written {
            Ok(st) if dev_of(&st) == dev && FileType::from_raw_mode(st.st_mode) == FileType::RegularFile => {
                found.insert(st.st_ino);
            }
            // It was closed since.
            Ok(_) | Err(Errno::NOENT) => {}
            Err(e) => return Err(e.into()),
        }
    }
    Ok(())
}

/// Shared mappings, readable ones too: they may have been writable a moment ago.
fn mapped_files(process: &Path, dev: u64, found: &mut BTreeSet<u64>) -> io::Result<()> {
    let maps = fs::read(process.join("maps"))?;
    let shared = maps.split(|b| *b == b'\n').filter_map(mapped::shared);
    found.extend(shared.filter(|(on, _)| *on == dev).map(|(_, inode)| inode));
    Ok(())
}

/// The kernel itself writes to the images of loop devices.
fn images(dev: u64, found: &mut BTreeSet<u64>) {
    for entry in fs::read_dir("/sys/block").into_iter().flatten().flatten() {
        let Ok(mut image) = fs::read(entry.path().join("loop/backing_file")) else { continue };
        while image.last() == Some(&b'\n') {
            image.pop();
        }
        if let Ok(st) = statat(CWD, &image[..], AtFlags::empty())
            && dev_of(&st) == dev
        {
            found.insert(st.st_ino);
        }
    }
}

/// Refuses trees with other filesystems in them, and layers of overlays: what is written there raises no events here.
fn plain(root: &Path) -> Result<(), String> {
    let mounts = fs::read("/proc/self/mountinfo").map_err(|e| format!("the mounts cannot be listed: {e}"))?;
    let root = fs::canonicalize(root).map_err(|e| e.to_string())?;
    let root = root.as_os_str().as_encoded_bytes();
    let below = |path: &[u8]| path.strip_prefix(root).is_some_and(|rest| rest.starts_with(b"/"));
    for line in mounts.split(|b| *b == b'\n') {
        let place = line.split(|b| *b == b' ').nth(4).map(unescape).unwrap_or_default();
        if below(&place) {
            return Err(MOUNTS.to_owned());
        }
    }
    match layers(&mounts).any(|layer| layer == root || below(&layer)) {
        true => Err(LAYER.to_owned()),
        false => Ok(()),
    }
}
