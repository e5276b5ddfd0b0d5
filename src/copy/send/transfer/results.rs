//! What became of entries that were not sent as the scan saw them, and the manifest that follows from it.
//!
//! Must never record an entry as sent whose content may be another than the record says.

use std::collections::HashMap;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::copy::fs::file::replace;
use crate::copy::fs::listing::{BLOCKS, DIRTY, Entries, Entry, GONE, OwnedEntry};
use crate::copy::fs::path;
use crate::copy::manifest::blocks::Store;
use crate::copy::manifest::delta::Delta;
use crate::copy::manifest::format::{Header, Writer};
use crate::copy::manifest::full::Manifest;
use crate::copy::send::ledger::Item;
use crate::copy::send::source::actions::Action;
use crate::copy::send::source::baseline::Baseline;
use crate::copy::send::source::scan::{Scan, Source};

/// What the target has of an entry, where that is not what the scan saw.
#[derive(Debug, Clone)]
enum EntryResult {
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

    fn record(&self, dir: u32, name: &[u8], outcome: EntryResult) {
        self.lock().entry(dir).or_default().insert(name.to_vec(), outcome);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u32, HashMap<Vec<u8>, EntryResult>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the next manifest is made of.
pub struct NextManifest<'a> {
    /// The source.
    pub source: &'a Source,
    /// The scan.
    pub found: &'a Scan,
    /// What the target had before.
    pub known: &'a Baseline,
    /// Entries of which the target has something else than the scan saw.
    pub outcomes: &'a EntryResults,
    /// Whether what the source does not have was removed.
    pub deleted: bool,
}

impl NextManifest<'_> {
    /// Writes the manifest of what the target has now. Where little changed, only the changes are written.
    pub fn save(&self, file: &Path, header: Header, store: &Store) -> io::Result<()> {
        let delta = match self.known {
            Baseline::Manifest(manifest) => manifest.delta(),
            Baseline::Watched(watched) => watched.delta.clone(),
            Baseline::Listing(..) => return self.save_whole(file, &header, store),
        };
        let delta = self.changed(Delta { header, ..delta });
        match self.known {
            _ if delta.is_small() => delta.save(file),
            Baseline::Manifest(_) => self.save_whole(file, &delta.header, store),
            _ => {
                let manifest = Manifest::load(file, &delta.header.rules)?;
                manifest.save_with(delta, file)
            }
        }
    }

    /// The changes since the manifest was written whole.
    fn changed(&self, mut delta: Delta) -> Delta {
        for (nth, dir) in (0..).zip(&self.found.dirs).filter(|(_, dir)| dir.listing.is_some()) {
            let mut listing = Vec::new();
            self.listing(nth, &mut listing);
            if self.known.listing(&dir.path) != Some(&listing) {
                delta.changes.insert(dir.path.clone(), Some(listing));
            }
        }
        for path in self.found.gone(self.known) {
            delta.changes.insert(path, None);
        }
        delta
    }

    fn save_whole(&self, file: &Path, header: &Header, store: &Store) -> io::Result<()> {
        let next = file.with_extension("next");
        let mut writer = Writer::create(&next, header)?;
        let mut listing = Vec::new();
        let mut in_blocks = Vec::new();
        for (nth, dir) in (0..).zip(&self.found.dirs) {
            match (&dir.listing, self.known.listing(&dir.path)) {
                (None, Some(known)) => {
                    note_blocks(&dir.path, known, &mut in_blocks);
                    writer.directory(&dir.path, known)?;
                }
                _ => {
                    listing.clear();
                    self.listing(nth, &mut listing);
                    note_blocks(&dir.path, &listing, &mut in_blocks);
                    writer.directory(&dir.path, &listing)?;
                }
            }
        }
        writer.finish()?;
        store.keep_only(in_blocks.iter().map(Vec::as_slice));
        replace(&next, file)
    }

    fn listing(&self, nth: u32, out: &mut Vec<u8>) {
        let outcomes = self.outcomes.lock();
        let outcomes = outcomes.get(&nth);
        for (act, old) in self.found.actions(nth, self.known) {
            let unsent = old.map(|old| Entry { flags: old.flags | DIRTY, ..old });
            let entry = match act {
                Action::Nothing => old,
                Action::Remove(_) if self.deleted => None,
                Action::Remove(_) => old.map(|old| Entry { flags: old.flags | GONE, ..old }),
                Action::Send(e)
                | Action::CreateNode(e)
                | Action::CreateDirectory(e)
                | Action::SetMetadata(e)
                | Action::Link(e, _) => match outcomes.and_then(|o| o.get(e.name)) {
                    Some(EntryResult::Sent(entry)) => entry.get().or(unsent),
                    Some(EntryResult::Unsent) => unsent,
                    None if self.source.moment.is_racy(e.ctime) => Some(Entry { flags: e.flags | DIRTY, ..e }),
                    None => Some(e),
                },
            };
            if let Some(entry) = entry {
                entry.encode(out);
            }
        }
    }
}

/// Adds the paths of files whose blocks are kept.
fn note_blocks(dir: &[u8], listing: &[u8], paths: &mut Vec<Vec<u8>>) {
    let kept = Entries(listing).filter(|entry| entry.flags & BLOCKS != 0);
    paths.extend(kept.map(|entry| path::join(dir, entry.name)));
}
