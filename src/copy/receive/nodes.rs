//! Entries without content on the target: directories, links and special files.

use std::os::fd::AsFd;

use rustix::fs::{AtFlags, FileType, Mode, fstat, linkat, mknodat, statat, symlinkat};
use rustix::io::Errno;

use super::files::step_failed;
use super::target::{Dir, Target, failed};
use crate::copy::failure::{Failure, Side};
use crate::copy::fs::metadata::{Metadata, apply, apply_named};
use crate::copy::fs::path::RelativePath;
use crate::copy::wire::request::{NewNode, Node};

/// Makes entries; what failed comes back with its position.
pub fn make_all(target: &Target, items: &[NewNode]) -> Result<Vec<(u32, Failure)>, Failure> {
    each(items, |item| make(target, item))
}

/// Gives directories their final attributes; what failed comes back with its position.
pub fn settle_all(target: &Target, dirs: &[(RelativePath, Metadata)]) -> Result<Vec<(u32, Failure)>, Failure> {
    each(dirs, |(path, meta)| {
        let dir = target.dir(path)?;
        target.written.add(path);
        apply(dir.fd.as_fd(), meta, target.rights).map_err(|step| step_failed(step, path))?;
        target.check_time(meta, fstat(&dir.fd), path)
    })
}

/// Runs `act` on each; the first fatal failure ends it.
pub fn each<T>(items: &[T], act: impl Fn(&T) -> Result<(), Failure>) -> Result<Vec<(u32, Failure)>, Failure> {
    let mut failures = Vec::new();
    for (nth, item) in (0..).zip(items) {
        match act(item) {
            Ok(()) => {}
            Err(failure) if failure.fatal => return Err(failure),
            Err(failure) => failures.push((nth, failure)),
        }
    }
    Ok(failures)
}

fn make(target: &Target, item: &NewNode) -> Result<(), Failure> {
    let (parent, name) = target.parent(&item.path)?;
    let temp = target.temp.writer(0);
    let made = match &item.what {
        Node::Directory => return target.dir(&item.path).map(drop),
        Node::Link(existing) => link(target, &parent, &temp, existing, &item.path),
        Node::Symlink(to, meta) => {
            target.discard(&parent, &temp, &item.path)?;
            symlinkat(&to[..], &parent.fd, &temp[..]).map_err(|e| failed("make the symlink", &item.path, e))?;
            attributes(target, &parent, &temp, meta, &item.path)
        }
        Node::Special(rdev, meta) => {
            target.discard(&parent, &temp, &item.path)?;
            special(&parent, &temp, *rdev, meta, &item.path)?;
            attributes(target, &parent, &temp, meta, &item.path)
        }
    };
    let placed = made.and_then(|()| target.publish(&parent, &temp, name, &item.path));
    // Renaming one name of an inode onto another of the same does nothing, so the temporary one may still be there.
    if placed.is_err() || matches!(item.what, Node::Link(_)) {
        target.discard(&parent, &temp, &item.path)?;
    }
    placed
}

/// A second name for a file that is below the root. Never follows a symlink to what it links.
fn link(target: &Target, parent: &Dir, temp: &[u8], existing: &[u8], path: &[u8]) -> Result<(), Failure> {
    let (from, name) = target.parent(existing)?;
    target.discard(parent, temp, path)?;
    // What was a file there when the source was listed may have gone before it was read: then its other names wait.
    let late = |e: Errno| Failure { retryable: e == Errno::NOENT || e == Errno::ISDIR, ..failed("link", path, e) };
    let st = statat(&from.fd, name, AtFlags::SYMLINK_NOFOLLOW).map_err(late)?;
    if FileType::from_raw_mode(st.st_mode) == FileType::Directory {
        return Err(late(Errno::ISDIR));
    }
    linkat(&from.fd, name, &parent.fd, temp, AtFlags::empty()).map_err(|e| failed("link", path, e))
}

fn special(parent: &Dir, temp: &[u8], rdev: u64, meta: &Metadata, path: &[u8]) -> Result<(), Failure> {
    let kind = FileType::from_raw_mode(meta.mode);
    let (what, dev) = match kind {
        FileType::Fifo => ("make the fifo", 0),
        FileType::Socket => ("make the socket", 0),
        FileType::CharacterDevice | FileType::BlockDevice => ("make the device", rdev),
        _ => return Err(Failure::protocol(Side::Source, "a special file of unknown kind")),
    };
    match mknodat(&parent.fd, temp, kind, Mode::RUSR | Mode::WUSR, dev) {
        Err(Errno::PERM) => {
            Err(failed(what, path, Errno::PERM).hint("only root can make device nodes: log in as root or exclude it"))
        }
        other => other.map_err(|e| failed(what, path, e)),
    }
}

fn attributes(target: &Target, parent: &Dir, temp: &[u8], meta: &Metadata, path: &[u8]) -> Result<(), Failure> {
    apply_named(parent.fd.as_fd(), temp, meta, target.rights).map_err(|step| step_failed(step, path))?;
    target.check_time(meta, statat(&parent.fd, temp, AtFlags::SYMLINK_NOFOLLOW), path)
}
