//! Large files on the target: they arrive in parts, whole or as changes to what is there.
//!
//! Must never change a file under its final name: what is patched has a temporary one until it is complete.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Mutex, PoisonError};

use rustix::fs::{AtFlags, FallocateFlags, FileType, Mode, OFlags, fstat, openat, renameat, statat};
use rustix::io::Errno;

use super::files::{step_failed, write_at};
use super::nodes::each;
use super::target::{Dir, Target, failed};
use crate::copy::failure::{Failure, Side};
use crate::copy::fs::file::{open_file, read_full};
use crate::copy::fs::metadata::{Metadata, apply};
use crate::copy::fs::path;
use crate::copy::manifest::blocks::{Blocks, SMALLEST, hash};
use crate::copy::wire::request::{Base, CloseFile, Move, OpenFile};

/// Hashes of one file at most.
const MOST_HASHES: usize = 8 << 20;

/// A file whose parts are arriving.
pub struct PartialFile {
    place: Option<TempFile>,
    state: Mutex<Arrived>,
}

/// What has arrived of a file. Its end may come before some of its parts, which take other streams.
#[derive(Default)]
struct Arrived {
    parts: u32,
    close: Option<CloseFile>,
    failure: Option<Failure>,
}

/// Where it is written.
struct TempFile {
    dir: Dir,
    temp: Vec<u8>,
    name: Vec<u8>,
    path: Vec<u8>,
    fd: OwnedFd,
}

/// How a file that arrived in parts ended: what to confirm, and what failed.
pub type Ended = (u32, Option<Failure>);

impl PartialFile {
    /// Starts a file.
    pub fn open(target: &Target, open: &OpenFile) -> Result<Self, Failure> {
        let path = path::join(&open.dir, &open.name);
        target.check_name(&open.name, &path)?;
        let dir = target.dir(&open.dir)?;
        let temp = target.temp.partial(&open.name);
        let fd = match open.base {
            Base::Named => basis(target, &dir, &temp, &open.name, &path)?,
            Base::SetAside => open_own(&dir, &temp).ok_or_else(|| failed("open", &path, Errno::NOENT))?,
            Base::Nothing => target.create(&dir, &temp, &path, Mode::RUSR | Mode::WUSR)?,
        };
        Ok(Self::new(Some(TempFile { dir, temp, name: open.name.clone(), path, fd }), None))
    }

    /// A file that could not be started. Its parts are dropped, and the response to its end says why.
    pub fn refused(failure: Failure) -> Self {
        Self::new(None, Some(failure))
    }

    fn new(place: Option<TempFile>, failure: Option<Failure>) -> Self {
        Self { place, state: Mutex::new(Arrived { failure, ..Arrived::default() }) }
    }

    /// Writes a part; the last one that was missing completes the file.
    pub fn write(&self, target: &Target, data: &[u8], offset: u64) -> Option<Ended> {
        if offset.checked_add(data.len() as u64).is_none_or(|end| end > i64::MAX as u64) {
            self.fail(Failure::protocol(Side::Source, "a part beyond the end of all files"));
        } else if let Some(place) = &self.place
            && let Err(failure) = write_at(&place.fd, data, offset, &place.path)
        {
            self.fail(failure);
        }
        self.arrived(target, 1, None)
    }

    /// Makes a stretch zeros, without room on disk where the filesystem can do that.
    pub fn zero(&self, target: &Target, offset: u64, len: u64) -> Option<Ended> {
        if offset.checked_add(len).is_none_or(|end| end > i64::MAX as u64) || len > MOST_ZEROS {
            self.fail(Failure::protocol(Side::Source, "a hole beyond the end of all files"));
        } else if let Some(place) = &self.place
            && let Err(failure) = place.zero(offset, len)
        {
            self.fail(failure);
        }
        self.arrived(target, 1, None)
    }

    /// The end has come.
    pub fn close(&self, target: &Target, close: CloseFile) -> Option<Ended> {
        self.arrived(target, 0, Some(close))
    }

    /// What ends the pass: nothing that comes after it could be written.
    pub fn fatal(&self) -> Option<Failure> {
        lock(&self.state).failure.clone().filter(|failure| failure.fatal)
    }

    fn fail(&self, failure: Failure) {
        lock(&self.state).failure.get_or_insert(failure);
    }

    /// Counts what has arrived, and completes the file once that is all.
    fn arrived(&self, target: &Target, parts: u32, close: Option<CloseFile>) -> Option<Ended> {
        let (close, failure) = {
            let mut state = lock(&self.state);
            state.parts = state.parts.saturating_add(parts);
            state.close = state.close.take().or(close);
            let have = state.parts;
            let close = state.close.take_if(|close| close.parts <= have)?;
            (close, state.failure.take())
        };
        let Some(place) = &self.place else { return Some((close.seq, failure)) };
        let result = match (failure, &close.meta) {
            (Some(failure), _) => Err(failure),
            (None, Some(meta)) => place.complete(target, close.size, meta),
            (None, None) => target.discard(&place.dir, &place.temp, &place.path),
        };
        if result.as_ref().is_err_and(|failure| !failure.fatal) {
            // What cannot be removed now is found by the next run. After what ends the pass (a full disk), it goes on with what is there.
            let _ = target.discard(&place.dir, &place.temp, &place.path);
        }
        Some((close.seq, result.err()))
    }
}

impl TempFile {
    fn zero(&self, offset: u64, len: u64) -> Result<(), Failure> {
        let punch = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        match rustix::fs::fallocate(&self.fd, punch, offset, len) {
            Ok(()) => Ok(()),
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => {
                let zeros = vec![0; usize::try_from(len).unwrap_or(0)];
                write_at(&self.fd, &zeros, offset, &self.path)
            }
            Err(e) => Err(failed("make a hole in", &self.path, e)),
        }
    }

    fn complete(&self, target: &Target, size: u64, meta: &Metadata) -> Result<(), Failure> {
        rustix::fs::ftruncate(&self.fd, size).map_err(|e| failed("set the length of", &self.path, e))?;
        apply(self.fd.as_fd(), meta, target.rights).map_err(|step| step_failed(step, &self.path))?;
        target.check_time(meta, fstat(&self.fd), &self.path)?;
        target.publish(&self.dir, &self.temp, &self.name, &self.path)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Zeros in one request at most.
const MOST_ZEROS: u64 = 1 << 30;

/// The content that changes apply to, under the temporary name: what a run that was cut left, or the file itself.
fn basis(target: &Target, dir: &Dir, temp: &[u8], name: &[u8], path: &[u8]) -> Result<OwnedFd, Failure> {
    if target.is_trusted() {
        // The changes are those since the last pass: what is older must not be taken for the file.
        target.discard(dir, temp, path)?;
    } else if let Some(fd) = open_own(dir, temp) {
        return Ok(fd);
    }
    take_over(target, (dir, name), (dir, temp), path)?;
    open_own(dir, temp).ok_or_else(|| failed("open", path, Errno::INVAL))
}

/// Gives a file a temporary name, or a copy of it where others have it, too.
fn take_over(target: &Target, from: (&Dir, &[u8]), to: (&Dir, &[u8]), path: &[u8]) -> Result<(), Failure> {
    let st = statat(&from.0.fd, from.1, AtFlags::SYMLINK_NOFOLLOW).map_err(|e| failed("look at", path, e))?;
    if FileType::from_raw_mode(st.st_mode) != FileType::RegularFile {
        return Err(failed("patch", path, Errno::INVAL));
    }
    if target.is_trusted() && st.st_nlink == 1 {
        // This job made it, and nobody else has it: no copy is needed, only another name until it is complete.
        target.written.add(path::split(path).0);
        return renameat(&from.0.fd, from.1, &to.0.fd, to.1).map_err(|e| failed("set aside", path, e));
    }
    let content = open_file(from.0.fd.as_fd(), from.1).map_err(|e| failed("open", path, e))?;
    let copy = target.create(to.0, to.1, path, Mode::RUSR | Mode::WUSR)?;
    duplicate(&content, &copy, path)
}

/// Puts files aside that will have other names; what failed comes back with its position.
pub fn set_aside_all(target: &Target, moves: &[Move]) -> Result<Vec<(u32, Failure)>, Failure> {
    // The old names go, which takes what removing takes.
    if !target.is_trusted() || !target.may_delete() {
        return Err(Failure::protocol(Side::Source, "a file is to be put aside that is not to be touched"));
    }
    each(moves, |moved| {
        let (from, old) = target.parent(&moved.from)?;
        let path = path::join(&moved.dir, &moved.name);
        target.check_name(&moved.name, &path)?;
        if target.filter.excludes(&moved.from, false) {
            return Err(Failure::protocol(Side::Source, "a file is to be put aside that is excluded"));
        }
        let to = target.dir(&moved.dir)?;
        let temp = target.temp.partial(&moved.name);
        target.discard(&to, &temp, &path)?;
        // Where nothing comes of it, it goes at the end of the pass.
        target.keep_leftover(&moved.dir, &temp);
        take_over(target, (&from, old), (&to, &temp), &moved.from)
    })
}

/// A temporary file of this job, if it is nothing else.
fn open_own(dir: &Dir, temp: &[u8]) -> Option<OwnedFd> {
    let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let open = || openat(&dir.fd, temp, flags, Mode::empty());
    let fd = open().or_else(|e| {
        // A patched file keeps its mode until it is complete.
        let mine = e == Errno::ACCESS && grant(dir, temp);
        if mine { open() } else { Err(e) }
    });
    let fd = fd.ok()?;
    let st = fstat(&fd).ok()?;
    (FileType::from_raw_mode(st.st_mode) == FileType::RegularFile && st.st_nlink == 1).then_some(fd)
}

/// Lets the owner write to a file of his.
fn grant(dir: &Dir, temp: &[u8]) -> bool {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let pinned = openat(&dir.fd, temp, flags, Mode::empty());
    pinned.is_ok_and(|fd| {
        let path = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&fd));
        rustix::fs::chmod(path, Mode::RUSR | Mode::WUSR).is_ok()
    })
}

/// Copies a file within the target: shares its blocks where the filesystem can, else lets the kernel copy.
fn duplicate(from: &OwnedFd, to: &OwnedFd, path: &[u8]) -> Result<(), Failure> {
    if rustix::fs::ioctl_ficlone(to, from).is_ok() {
        return Ok(());
    }
    let mut at = 0;
    loop {
        let (mut out, mut back) = (at, at);
        match rustix::fs::copy_file_range(from, Some(&mut back), to, Some(&mut out), 1 << 26) {
            Ok(0) => return Ok(()),
            Ok(n) => at += n as u64,
            Err(Errno::INTR) => {}
            Err(Errno::XDEV | Errno::NOSYS | Errno::OPNOTSUPP | Errno::INVAL) if at == 0 => {
                return copy(from, to, path);
            }
            Err(e) => return Err(failed("copy", path, e)),
        }
    }
}

fn copy(from: &OwnedFd, to: &OwnedFd, path: &[u8]) -> Result<(), Failure> {
    let mut buffer = vec![0; 1 << 20];
    let mut at = 0;
    loop {
        match rustix::io::pread(from, &mut buffer[..], at) {
            Ok(0) => return Ok(()),
            Ok(n) => {
                write_at(to, buffer.get(..n).unwrap_or_default(), at, path)?;
                at += n as u64;
            }
            Err(Errno::INTR) => {}
            Err(e) => return Err(failed("read", path, e)),
        }
    }
}

/// The hashes of the blocks that changes would apply to; none when there is nothing, or nothing that can be used.
pub fn hashes(target: &Target, dir: &[u8], name: &[u8], block: u64) -> Result<Vec<u8>, Failure> {
    let path = path::join(dir, name);
    target.check_name(name, &path)?;
    if block < SMALLEST || !block.is_power_of_two() || block > 1 << 30 || !path::is_relative(dir) {
        return Err(Failure::protocol(Side::Source, "blocks of an impossible size"));
    }
    let Ok(parent) = target.tree.dir(dir) else { return Ok(Vec::new()) };
    let temp = target.temp.partial(name);
    let partial = (!target.is_trusted()).then(|| open_file(parent.as_fd(), &temp).ok()).flatten();
    let Some(fd) = partial.or_else(|| open_file(parent.as_fd(), name).ok()) else { return Ok(Vec::new()) };
    if fstat(&fd).map_or(true, |st| FileType::from_raw_mode(st.st_mode) != FileType::RegularFile) {
        return Ok(Vec::new());
    }
    let mut blocks = Blocks::from_parts(block, Vec::new()).ok_or_else(|| failed("hash", &path, Errno::INVAL))?;
    let mut buffer = vec![0; usize::try_from(block).unwrap_or(1 << 16)];
    for nth in 0..MOST_HASHES / 16 {
        match read_full(&fd, &mut buffer, nth as u64 * block) {
            Ok(0) => break,
            Ok(n) => blocks.push(&hash(buffer.get(..n).unwrap_or_default())),
            Err(e) => return Err(failed("read", &path, e)),
        }
    }
    Ok(blocks.into_hashes())
}
