//! Reads regular files on the source and sends small ones in batches. Large ones are in [`super::large`].
//!
//! Must never send a file under a record that is younger than the first byte read of it.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::fs::fstat;
use rustix::io::Errno;

use super::context::Transfer;
use crate::copy::failure::{Failure, Side};
use crate::copy::fs::listing::{Entry, OwnedEntry};
use crate::copy::fs::metadata::{Metadata, meta_of_open};
use crate::copy::fs::path;
use crate::copy::send::ledger::{Item, Sent};
use crate::copy::wire::frame::CHUNK;
use crate::copy::wire::request::{FileBatch, Request, SmallFile};

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
    /// What the target has under that name; asked for large files only.
    pub old: Option<OwnedEntry>,
}

/// Work for a reader.
#[derive(Debug)]
pub enum Read {
    /// Files whose lengths together fit into one frame.
    Small(Vec<ToRead>),
    /// A file that does not fit into one frame.
    Large(ToRead),
}

/// Groups files into work for the reading threads.
pub struct FileBatcher<'a> {
    work: &'a dyn Fn(Read) -> Result<(), Failure>,
    batch: Vec<ToRead>,
    bytes: u64,
}

impl<'a> FileBatcher<'a> {
    /// Hands what it groups to `work`.
    pub fn new(work: &'a dyn Fn(Read) -> Result<(), Failure>) -> Self {
        Self { work, batch: Vec::new(), bytes: 0 }
    }

    /// Adds a file; `old` is what the target has under its name.
    pub fn add(&mut self, dir: u32, entry: &Entry<'_>, old: Option<Entry<'_>>) -> Result<(), Failure> {
        let mut file = ToRead { dir, entry: OwnedEntry::new(entry), old: None };
        if entry.size > SMALL {
            file.old = old.as_ref().map(OwnedEntry::new);
            return (self.work)(Read::Large(file));
        }
        if self.bytes + entry.size > CHUNK as u64 || self.batch.len() >= BATCH_FILES {
            self.flush()?;
        }
        self.bytes += entry.size;
        self.batch.push(file);
        Ok(())
    }

    /// Sends what is left.
    pub fn flush(&mut self) -> Result<(), Failure> {
        self.bytes = 0;
        match std::mem::take(&mut self.batch) {
            batch if batch.is_empty() => Ok(()),
            batch => (self.work)(Read::Small(batch)),
        }
    }
}

/// Reads files and sends them; shared by all reading threads.
pub struct Reader<'a> {
    /// What is transferred, and what it is compared with.
    pub transfer: &'a Transfer<'a>,
    /// The number of the next file that goes in parts.
    pub next_file: &'a AtomicU32,
}

/// A file that was opened, as it was then.
pub struct Opened {
    /// Its descriptor.
    pub fd: OwnedFd,
    /// Its attributes.
    pub meta: Metadata,
    /// What `stat` said before anything was read.
    pub stat: rustix::fs::Stat,
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
        let mut batch = FileBatch { seq: 0, dirs: Vec::new(), files: Vec::new() };
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
            batch.files.push(SmallFile { dir, name: scanned.name.to_vec(), len, meta: opened.meta });
            self.transfer.outcomes.sent(self.transfer.source, file.dir, &scanned, &now, settled);
            sent.items.push(Item { dir: file.dir, name: scanned.name.to_vec() });
        }
        if batch.files.is_empty() {
            return Ok(());
        }
        sent.files = batch.files.len() as u64;
        sent.bytes = data.len() as u64;
        batch.seq = self.transfer.ledger.register(sent);
        self.transfer.link.request(&Request::Files(batch), data)
    }

    /// Reads a small file; whether it stayed the same meanwhile, or `None` when it cannot be read.
    fn content(&self, dir: u32, now: &Entry<'_>, opened: &Opened, data: &mut Vec<u8>) -> Option<bool> {
        let begin = data.len();
        let want = usize::try_from(now.size).unwrap_or(0);
        // One byte more shows at once when the file has grown.
        data.resize(begin + want + 1, 0);
        let mut have = 0;
        while have <= want {
            self.transfer.source.tree.before_call();
            match rustix::io::read(&opened.fd, data.get_mut(begin + have..).unwrap_or_default()) {
                Ok(0) => break,
                Ok(n) => {
                    have += n;
                    // There was room for more: this was its end.
                    if have == want {
                        break;
                    }
                }
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

    /// Opens a file; `None` when it is gone, is no file any more, or may not be read.
    pub(super) fn open(&self, dir: u32, scanned: &Entry<'_>) -> Result<Option<Opened>, Failure> {
        if let Some(failure) = self.transfer.ledger.broken() {
            return Err(failure);
        }
        let opened = self.transfer.source.tree.dir(self.dir_path(dir)).and_then(|fd| {
            let tree = &self.transfer.source.tree;
            tree.before_call();
            let fd = tree.open_file(fd.as_fd(), scanned.name)?;
            tree.before_call();
            let stat = fstat(&fd)?;
            let now = Entry::of_stat(scanned.name, &stat);
            if !now.is_file() {
                return Err(Errno::NOENT);
            }
            tree.before_call();
            let meta = meta_of_open(&fd, &now)?;
            Ok(Opened { fd, meta, stat })
        });
        match opened {
            Ok(opened) => Ok(Some(opened)),
            // It vanished or was replaced: the next pass sees it as it is then.
            Err(Errno::NOENT | Errno::LOOP | Errno::NOTDIR | Errno::NXIO) => {
                self.transfer.outcomes.unsent(dir, scanned.name);
                self.note(false);
                Ok(None)
            }
            Err(e) => {
                self.unreadable(dir, scanned.name, "open", e);
                Ok(None)
            }
        }
    }

    pub(super) fn unreadable(&self, dir: u32, name: &[u8], doing: &str, errno: Errno) {
        self.transfer.outcomes.unsent(dir, name);
        self.transfer.ledger.fail(Failure::of(Side::Source, doing, &path::join(self.dir_path(dir), name), errno));
    }

    pub(super) fn is_same(&self, opened: &Opened, then: &Entry<'_>) -> bool {
        self.transfer.source.tree.before_call();
        fstat(&opened.fd).is_ok_and(|st| Entry { flags: then.flags, ..Entry::of_stat(then.name, &st) } == *then)
    }

    pub(super) fn note(&self, settled: bool) {
        self.transfer.ledger.unsettled.fetch_add(u64::from(!settled), Ordering::Relaxed);
    }

    pub(super) fn dir_path(&self, dir: u32) -> &[u8] {
        self.transfer.found.dirs.get(dir as usize).map_or(&[], |d| &d.path)
    }
}
