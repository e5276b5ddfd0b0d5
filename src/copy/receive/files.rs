//! Regular files on the target: written under a temporary name, given their attributes, then renamed.
//!
//! Must never leave a half file under a final name.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use rustix::fs::Mode;

use super::target::{Dir, Target, failed};
use crate::copy::failure::{Failure, Side};
use crate::copy::message::{Batch, Close, Meta, Open, Small};
use crate::copy::meta::{Step, apply, apply_fresh, creation_mode};
use crate::copy::path;

/// Attributes that failed, as a failure of the entry.
pub fn step_failed((doing, errno): Step, path: &[u8]) -> Failure {
    failed(doing, path, errno)
}

/// Writes the small files of a batch; what failed comes back with its position.
pub fn write_batch(target: &Target, batch: &Batch, data: &[u8], writer: usize) -> Result<Vec<(u32, Failure)>, Failure> {
    let mut failures = Vec::new();
    let mut rest = data;
    let mut current: Option<(u32, Dir)> = None;
    for (nth, file) in (0..).zip(&batch.files) {
        let Some((content, behind)) = rest.split_at_checked(file.len as usize) else {
            return Err(Failure::protocol(Side::Source, "a batch shorter than it says"));
        };
        rest = behind;
        let Some(dir_path) = batch.dirs.get(file.dir as usize) else {
            return Err(Failure::protocol(Side::Source, "a batch that names no directory"));
        };
        let result = directory(target, &mut current, file.dir, dir_path)
            .and_then(|dir| write_small(target, &dir, dir_path, file, content, writer));
        match result {
            Ok(()) => {}
            Err(failure) if failure.fatal => return Err(failure),
            Err(failure) => failures.push((nth, failure)),
        }
    }
    if rest.is_empty() { Ok(failures) } else { Err(Failure::protocol(Side::Source, "a batch longer than it says")) }
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
    file: &Small,
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

fn creation_mode_in(target: &Target, dir: &Dir, meta: &Meta) -> Mode {
    if dir.plain { creation_mode(meta, target.rights) } else { Mode::RUSR | Mode::WUSR }
}

fn attributes(target: &Target, dir: &Dir, fd: &OwnedFd, meta: &Meta, path: &[u8]) -> Result<(), Failure> {
    let apply = if dir.plain { apply_fresh } else { apply };
    apply(fd.as_fd(), meta, target.rights).map_err(|step| step_failed(step, path))
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

/// A file whose parts are arriving.
pub struct Partial {
    place: Option<Place>,
    /// Parts that are not written yet, and one for the end that has not come.
    pending: AtomicUsize,
    failure: Mutex<Option<Failure>>,
    close: Mutex<Option<Close>>,
}

/// Where it is written.
struct Place {
    dir: Dir,
    temp: Vec<u8>,
    name: Vec<u8>,
    path: Vec<u8>,
    fd: OwnedFd,
}

/// How a file that arrived in parts ended: what to confirm, and what failed.
pub type Ended = (u32, Option<Failure>);

impl Partial {
    /// Starts a file.
    pub fn open(target: &Target, open: &Open) -> Result<Self, Failure> {
        let path = path::join(&open.dir, &open.name);
        target.check_name(&open.name, &path)?;
        let dir = target.dir(&open.dir)?;
        let temp = target.temp.partial(&open.name);
        let fd = target.create(&dir, &temp, &path, Mode::RUSR | Mode::WUSR)?;
        Ok(Self::new(Some(Place { dir, temp, name: open.name.clone(), path, fd }), None))
    }

    /// Stands for a file that could not be started: its parts are dropped, and its end reports why.
    pub fn refused(failure: Failure) -> Self {
        Self::new(None, Some(failure))
    }

    fn new(place: Option<Place>, failure: Option<Failure>) -> Self {
        Self { place, pending: AtomicUsize::new(1), failure: Mutex::new(failure), close: Mutex::default() }
    }

    /// Announces a part.
    pub fn expect_part(&self) {
        self.pending.fetch_add(1, Ordering::AcqRel);
    }

    /// Writes a part; the last one to be written after the end has come completes the file.
    pub fn write(&self, target: &Target, data: &[u8], offset: u64) -> Option<Ended> {
        if offset.checked_add(data.len() as u64).is_none_or(|end| end > i64::MAX as u64) {
            self.fail(Failure::protocol(Side::Source, "a part beyond the end of all files"));
        } else if let Some(place) = &self.place
            && let Err(failure) = write_at(&place.fd, data, offset, &place.path)
        {
            self.fail(failure);
        }
        self.one_less(target)
    }

    /// The end has come.
    pub fn close(&self, target: &Target, close: Close) -> Option<Ended> {
        *lock(&self.close) = Some(close);
        self.one_less(target)
    }

    fn fail(&self, failure: Failure) {
        lock(&self.failure).get_or_insert(failure);
    }

    fn one_less(&self, target: &Target) -> Option<Ended> {
        if self.pending.fetch_sub(1, Ordering::AcqRel) > 1 {
            return None;
        }
        let close = lock(&self.close).take()?;
        let failure = lock(&self.failure).take();
        let Some(place) = &self.place else { return Some((close.seq, failure)) };
        let result = match (failure, &close.meta) {
            (Some(failure), _) => Err(failure),
            (None, Some(meta)) => place.complete(target, close.size, meta),
            (None, None) => target.discard(&place.dir, &place.temp, &place.path),
        };
        if result.is_err() {
            // What cannot be removed now is found by the next run.
            let _ = target.discard(&place.dir, &place.temp, &place.path);
        }
        Some((close.seq, result.err()))
    }
}

impl Place {
    fn complete(&self, target: &Target, size: u64, meta: &Meta) -> Result<(), Failure> {
        rustix::fs::ftruncate(&self.fd, size).map_err(|e| failed("set the length of", &self.path, e))?;
        apply(self.fd.as_fd(), meta, target.rights).map_err(|step| step_failed(step, &self.path))?;
        target.publish(&self.dir, &self.temp, &self.name, &self.path)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
