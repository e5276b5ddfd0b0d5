//! What became of entries that were not sent as the scan saw them.
//!
//! Must never record an entry as sent whose content may be another than the record says.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::copy::fs::listing::{DIRTY, Entry, OwnedEntry};
use crate::copy::send::ledger::Item;
use crate::copy::send::source::scan::Source;

/// What the target has of an entry, where that is not what the scan saw.
#[derive(Debug, Clone)]
pub enum EntryResult {
    /// This was sent.
    Sent(OwnedEntry),
    /// Nothing was sent: the target has what it had.
    Unsent,
}

/// Entries of which the target has something else than the scan saw.
#[derive(Debug, Default)]
pub struct EntryResults(Mutex<HashMap<u32, HashMap<Vec<u8>, EntryResult>>>, AtomicBool);

impl EntryResults {
    /// Records that `entry` was read and sent. `settled`: it did not change meanwhile. Nothing is recorded where the scan saw the same.
    pub fn sent(&self, source: &Source, dir: u32, scanned: &Entry<'_>, entry: &Entry<'_>, settled: bool) {
        let settled = settled && !source.moment.is_racy(entry.ctime);
        let flags = if settled { entry.flags } else { entry.flags | DIRTY };
        let entry = Entry { flags, ..*entry };
        if entry != *scanned {
            self.record(dir, scanned.name, EntryResult::Sent(OwnedEntry::new(&entry)));
        }
    }

    /// The target has the directory, but not its attributes.
    pub fn unfinished(&self, dir: u32, entry: &Entry<'_>) {
        let entry = Entry { flags: entry.flags | DIRTY, ..*entry };
        self.record(dir, entry.name, EntryResult::Sent(OwnedEntry::new(&entry)));
    }

    /// Nothing of the entry reached the target.
    pub fn unsent(&self, dir: u32, name: &[u8]) {
        self.record(dir, name, EntryResult::Unsent);
    }

    /// Whether nothing of the entry reached the target.
    pub fn is_unsent(&self, dir: u32, name: &[u8]) -> bool {
        matches!(self.lock().get(&dir).and_then(|of_dir| of_dir.get(name)), Some(EntryResult::Unsent))
    }

    /// An entry was left for another pass, although it may not change again before that.
    pub fn postpone(&self) {
        self.1.store(true, Ordering::Relaxed);
    }

    /// Whether only a full scan finds what is left to do.
    pub fn has_postponed(&self) -> bool {
        self.1.load(Ordering::Relaxed)
    }

    /// The target failed on these entries.
    pub fn failed(&self, items: &[Item]) {
        if !items.is_empty() {
            self.postpone();
        }
        items.iter().for_each(|item| self.unsent(item.dir, &item.name));
    }

    /// What became of the entries of a directory.
    pub fn of_dir(&self, dir: u32) -> HashMap<Vec<u8>, EntryResult> {
        self.lock().get(&dir).cloned().unwrap_or_default()
    }

    fn record(&self, dir: u32, name: &[u8], outcome: EntryResult) {
        self.lock().entry(dir).or_default().insert(name.to_vec(), outcome);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u32, HashMap<Vec<u8>, EntryResult>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
