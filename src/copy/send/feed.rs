//! Groups files into work for the readers: small ones into batches of one frame, large ones alone.

use std::sync::mpsc::SyncSender;

use super::files::{BATCH_FILES, Read, SMALL, ToRead};
use crate::copy::failure::{Failure, Side};
use crate::copy::listing::{Entry, OwnedEntry};
use crate::copy::wire::CHUNK;

/// Feeds the readers.
pub struct Feed<'a> {
    work: &'a SyncSender<Read>,
    batch: Vec<ToRead>,
    bytes: u64,
}

impl<'a> Feed<'a> {
    /// A feed of `work`.
    pub fn new(work: &'a SyncSender<Read>) -> Self {
        Self { work, batch: Vec::new(), bytes: 0 }
    }

    /// Adds a file; `old` is what the target has under its name.
    pub fn add(&mut self, dir: u32, entry: &Entry<'_>, old: Option<Entry<'_>>) -> Result<(), Failure> {
        let mut file = ToRead { dir, entry: OwnedEntry::new(entry), old: None };
        if entry.size > SMALL {
            file.old = old.as_ref().map(OwnedEntry::new);
            return self.push(Read::Large(file));
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
            batch => self.push(Read::Small(batch)),
        }
    }

    fn push(&self, read: Read) -> Result<(), Failure> {
        self.work.send(read).map_err(|_| Failure::lost(Side::Source, "the readers stopped"))
    }
}
