//! Regular files on the target: written under a temporary name, given their attributes, then renamed.
//!
//! Must never leave a half file under a final name.

use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{Mode, fstat};

use super::target::{Dir, Target, failed};
use crate::copy::failure::{Failure, Side};
use crate::copy::fs::metadata::{FailedStep, Metadata, apply, apply_fresh, creation_mode};
use crate::copy::fs::path;
use crate::copy::wire::request::{FileBatch, SmallFile};

/// Attributes that failed, as a failure of the entry.
pub fn step_failed((doing, errno): FailedStep, path: &[u8]) -> Failure {
    failed(doing, path, errno)
}

/// Writes the small files of a batch; what failed comes back with its position.
pub fn write_batch(
    target: &Target,
    batch: &FileBatch,
    data: &[u8],
    writer: usize,
) -> Result<Vec<(u32, Failure)>, Failure> {
    let mut failures = Vec::new();
    let mut rest = data;
    let mut current: Option<(u32, Dir)> = None;
    for (nth, file) in (0..).zip(&batch.files) {
        let Some((content, behind)) = rest.split_at_checked(file.len as usize) else {
            return Err(Failure::protocol(Side::Source, "a batch of files that is too short"));
        };
        rest = behind;
        let Some(dir_path) = batch.dirs.get(file.dir as usize) else {
            return Err(Failure::protocol(Side::Source, "a batch of files without its directory"));
        };
        let result = directory(target, &mut current, file.dir, dir_path)
            .and_then(|dir| write_small(target, &dir, dir_path, file, content, writer));
        match result {
            Ok(()) => {}
            Err(failure) if failure.fatal => return Err(failure),
            Err(failure) => failures.push((nth, failure)),
        }
    }
    if rest.is_empty() {
        Ok(failures)
    } else {
        Err(Failure::protocol(Side::Source, "a batch of files that is too long"))
    }
}

fn directory(target: &Target, current: &mut Option<(u32, Dir)>, nth: u32, path: &[u8]) -> Result<Dir, Failure> {
    if let Some((open, dir)) = current
        && *open == nth
    {
        return Ok(dir.clone());
    }
    let dir = target.dir(path)?;
    *current = Some((nth, dir.clone()));
    Ok(dir)
}

fn write_small(
    target: &Target,
    dir: &Dir,
    dir_path: &[u8],
    file: &SmallFile,
    content: &[u8],
    writer: usize,
) -> Result<(), Failure> {
    let path = path::join(dir_path, &file.name);
    target.check_name(&file.name, &path)?;
    let temp = target.temp.writer(writer);
    let fd = target.create(dir, &temp, &path, creation_mode_in(target, dir, &file.meta))?;
    let written = write_at(&fd, content, 0, &path)
        .and_then(|()| attributes(target, dir, &fd, &file.meta, &path))
        .and_then(|()| target.publish(dir, &temp, &file.name, &path));
    if written.is_err() {
        target.discard(dir, &temp, &path)?;
    }
    written
}

fn creation_mode_in(target: &Target, dir: &Dir, meta: &Metadata) -> Mode {
    if dir.plain { creation_mode(meta, target.rights) } else { Mode::RUSR | Mode::WUSR }
}

fn attributes(target: &Target, dir: &Dir, fd: &OwnedFd, meta: &Metadata, path: &[u8]) -> Result<(), Failure> {
    let apply = if dir.plain { apply_fresh } else { apply };
    apply(fd.as_fd(), meta, target.rights).map_err(|step| step_failed(step, path))?;
    target.check_time(meta, fstat(fd), path)
}

/// Writes all of `data` at `offset`.
pub fn write_at(fd: &OwnedFd, data: &[u8], offset: u64, path: &[u8]) -> Result<(), Failure> {
    let (mut rest, mut at) = (data, offset);
    while !rest.is_empty() {
        match rustix::io::pwrite(fd, rest, at) {
            Ok(0) => return Err(failed("write", path, rustix::io::Errno::IO)),
            Ok(n) => {
                rest = rest.get(n..).unwrap_or_default();
                at += n as u64;
            }
            Err(rustix::io::Errno::INTR) => {}
            Err(e) => return Err(failed("write", path, e)),
        }
    }
    Ok(())
}
