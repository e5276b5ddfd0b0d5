//! Reading regular files on the source: small ones together, large ones in parts.
//!
//! Must never send a file under a record that is younger than the first byte read of it.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::fs::{SeekFrom, fstat};
use rustix::io::Errno;

use super::ledger::{Item, Ledger, Sent};
use super::link::Link;
use super::outcome::Outcomes;
use super::source::{Found, Source};
use crate::copy::failure::{Failure, Side};
use crate::copy::listing::{Entry, OwnedEntry};
use crate::copy::message::{Batch, Close, Meta, Open, Order, Small};
use crate::copy::meta::meta_of_open;
use crate::copy::path;
use crate::copy::tree::open_file;
use crate::copy::wire::CHUNK;

/// Files up to this length go into batches.
pub const SMALL: u64 = 256 << 10;
/// Files in one batch at most.
pub const BATCH_FILES: usize = 512;

/// A file to read.
#[derive(Debug, Clone)]
pub struct ToRead {
    /// Index of its directory.
    pub dir: u32,
    /// As the scan saw it.
    pub entry: OwnedEntry,
}

/// Work for a reader.
#[derive(Debug)]
pub enum Read {
    /// Files whose lengths together fit into one frame.
    Small(Vec<ToRead>),
    /// One that does not.
    Large(ToRead),
}

/// Reads files and sends them; shared by all readers.
pub struct Reader<'a> {
    /// The source.
    pub source: &'a Source,
    /// The scan.
    pub found: &'a Found,
    /// Where to record what went another way.
    pub outcomes: &'a Outcomes,
    /// Requests under way.
    pub ledger: &'a Ledger,
    /// The stream.
    pub link: &'a Link,
    /// The number of the next file that goes in parts.
    pub next_file: &'a AtomicU32,
}

/// A file that was opened, as it was then.
struct Opened {
    fd: OwnedFd,
    meta: Meta,
    stat: rustix::fs::Stat,
}

impl Reader<'_> {
    /// Does one piece of work. An error ends the pass.
    pub fn run(&self, read: Read) -> Result<(), Failure> {
        match read {
            Read::Small(files) => self.small(&files),
            Read::Large(file) => self.large(&file),
        }
    }

    fn small(&self, files: &[ToRead]) -> Result<(), Failure> {
        let mut batch = Batch { seq: 0, dirs: Vec::new(), files: Vec::new() };
        let mut data = Vec::with_capacity(CHUNK);
        let mut sent = Sent::default();
        let mut last_dir = None;
        for file in files {
            let Some(scanned) = file.entry.get() else { continue };
            let Some(opened) = self.open(file.dir, &scanned)? else { continue };
            let now = Entry::of_stat(scanned.name, &opened.stat);
            if now.size > SMALL {
                // It grew since the scan.
                self.large(file)?;
                continue;
            }
            if last_dir.replace(file.dir) != Some(file.dir) {
                batch.dirs.push(self.dir_path(file.dir).to_vec());
            }
            let before = data.len();
            let Some(settled) = self.content(file.dir, &now, &opened, &mut data) else {
                data.truncate(before);
                continue;
            };
            let len = u32::try_from(data.len() - before).unwrap_or(0);
            let dir = u32::try_from(batch.dirs.len().saturating_sub(1)).unwrap_or(0);
            batch.files.push(Small { dir, name: scanned.name.to_vec(), len, meta: opened.meta });
            self.outcomes.sent(self.source, file.dir, &scanned, &now, settled);
            sent.items.push(Item { dir: file.dir, name: scanned.name.to_vec() });
        }
        if batch.files.is_empty() {
            return Ok(());
        }
        sent.files = batch.files.len() as u64;
        sent.bytes = data.len() as u64;
        batch.seq = self.ledger.register(sent);
        self.link.order(&Order::Small(batch), data)
    }

    /// Reads a small file; whether it stayed the same meanwhile, or `None` when it cannot be read.
    fn content(&self, dir: u32, now: &Entry<'_>, opened: &Opened, data: &mut Vec<u8>) -> Option<bool> {
        let begin = data.len();
        let want = usize::try_from(now.size).unwrap_or(0);
        // One byte more shows at once that it grew.
        data.resize(begin + want + 1, 0);
        let mut have = 0;
        while have <= want {
            match rustix::io::read(&opened.fd, data.get_mut(begin + have..).unwrap_or_default()) {
                Ok(0) => break,
                Ok(n) => have += n,
                Err(Errno::INTR) => {}
                Err(e) => {
                    self.unreadable(dir, now.name, "read", e);
                    return None;
                }
            }
        }
        data.truncate(begin + have.min(want));
        let settled = have == want && self.is_same(opened, now);
        self.note(settled);
        Some(settled)
    }

    fn large(&self, file: &ToRead) -> Result<(), Failure> {
        let Some(scanned) = file.entry.get() else { return Ok(()) };
        let Some(opened) = self.open(file.dir, &scanned)? else { return Ok(()) };
        let now = Entry::of_stat(scanned.name, &opened.stat);
        let id = self.next_file.fetch_add(1, Ordering::Relaxed);
        let dir = self.dir_path(file.dir).to_vec();
        self.link.order(&Order::Open(Open { file: id, dir, name: now.name.to_vec() }), Vec::new())?;
        let read = self.parts(id, &now, &opened)?;
        let (size, bytes) = *read.as_ref().unwrap_or(&(0, 0));
        let meta = match read {
            Ok(_) => {
                let settled = size == now.size && self.is_same(&opened, &now);
                self.note(settled);
                self.outcomes.sent(self.source, file.dir, &scanned, &now, settled);
                Some(opened.meta)
            }
            Err(e) => {
                self.unreadable(file.dir, now.name, "read", e);
                None
            }
        };
        let items = vec![Item { dir: file.dir, name: now.name.to_vec() }];
        let seq = self.ledger.register(Sent { items, files: u64::from(meta.is_some()), bytes });
        self.link.order(&Order::Close(Close { seq, file: id, size, meta }), Vec::new())
    }

    /// Sends what is no hole; the length that was reached, and the bytes sent.
    #[allow(clippy::type_complexity, reason = "an error of the stream is another matter than one of the file")]
    fn parts(&self, file: u32, now: &Entry<'_>, opened: &Opened) -> Result<Result<(u64, u64), Errno>, Failure> {
        let sparse = u64::try_from(opened.stat.st_blocks).unwrap_or(0) * 512 < now.size;
        let (mut at, mut bytes) = (0, 0);
        while at < now.size {
            let (from, to) = match extent(&opened.fd, at, now.size, sparse) {
                Ok(Some(extent)) => extent,
                Ok(None) => return Ok(Ok((now.size, bytes))),
                Err(e) => return Ok(Err(e)),
            };
            at = from;
            while at < to {
                let want = usize::try_from(to - at).unwrap_or(CHUNK).min(CHUNK);
                let mut data = vec![0; want];
                let read = match rustix::io::pread(&opened.fd, &mut data[..], at) {
                    Ok(0) => return Ok(Ok((at, bytes))),
                    Ok(n) => n,
                    Err(Errno::INTR) => continue,
                    Err(e) => return Ok(Err(e)),
                };
                data.truncate(read);
                self.link.order(&Order::Part { file, offset: at }, data)?;
                at += read as u64;
                bytes += read as u64;
            }
        }
        Ok(Ok((at, bytes)))
    }

    /// Opens a file; `None` when it is gone, is no file any more, or may not be read.
    fn open(&self, dir: u32, scanned: &Entry<'_>) -> Result<Option<Opened>, Failure> {
        if let Some(failure) = self.ledger.broken() {
            return Err(failure);
        }
        let opened = self.source.tree.dir(self.dir_path(dir)).and_then(|fd| {
            let fd = open_file(fd.as_fd(), scanned.name)?;
            let stat = fstat(&fd)?;
            let now = Entry::of_stat(scanned.name, &stat);
            if !now.is_file() {
                return Err(Errno::NOENT);
            }
            let meta = meta_of_open(&fd, &now)?;
            Ok(Opened { fd, meta, stat })
        });
        match opened {
            Ok(opened) => Ok(Some(opened)),
            // It vanished or became something else: the next pass sees what.
            Err(Errno::NOENT | Errno::LOOP | Errno::NOTDIR | Errno::NXIO) => {
                self.outcomes.unsent(dir, scanned.name);
                self.note(false);
                Ok(None)
            }
            Err(e) => {
                self.unreadable(dir, scanned.name, "open", e);
                Ok(None)
            }
        }
    }

    fn unreadable(&self, dir: u32, name: &[u8], doing: &str, errno: Errno) {
        self.outcomes.unsent(dir, name);
        self.ledger.fail(Failure::of(Side::Source, doing, &path::join(self.dir_path(dir), name), errno));
    }

    fn is_same(&self, opened: &Opened, then: &Entry<'_>) -> bool {
        fstat(&opened.fd).is_ok_and(|st| Entry { flags: then.flags, ..Entry::of_stat(then.name, &st) } == *then)
    }

    fn note(&self, settled: bool) {
        self.ledger.unsettled.fetch_add(u64::from(!settled), Ordering::Relaxed);
    }

    fn dir_path(&self, dir: u32) -> &[u8] {
        self.found.dirs.get(dir as usize).map_or(&[], |d| &d.path)
    }
}

/// The next stretch of data at or after `at`; `None` when only a hole is left.
fn extent(fd: &OwnedFd, at: u64, size: u64, sparse: bool) -> rustix::io::Result<Option<(u64, u64)>> {
    if !sparse {
        return Ok(Some((at, size)));
    }
    let from = match rustix::fs::seek(fd, SeekFrom::Data(at)) {
        Ok(from) if from < size => from,
        Ok(_) | Err(Errno::NXIO) => return Ok(None),
        Err(Errno::INVAL) => return Ok(Some((at, size))),
        Err(e) => return Err(e),
    };
    let to = rustix::fs::seek(fd, SeekFrom::Hole(from)).unwrap_or(size).min(size);
    Ok(Some((from, to.max(from))))
}
