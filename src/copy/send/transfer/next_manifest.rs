//! The manifest that follows from a pass.
//!
//! Must never leave out anything that the target may have: what the manifest does not know is never removed there.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::path::Path;

use super::moved::Moves;
use super::results::{EntryResult, EntryResults};
use crate::copy::fs::file::replace;
use crate::copy::fs::listing::{BLOCKS, DIRTY, Entries, Entry, GONE, OwnedEntry};
use crate::copy::fs::path;
use crate::copy::manifest::blocks::Store;
use crate::copy::manifest::delta::Delta;
use crate::copy::manifest::format::{Header, Writer};
use crate::copy::manifest::full::Manifest;
use crate::copy::send::source::actions::Action;
use crate::copy::send::source::baseline::Baseline;
use crate::copy::send::source::scan::{Scan, Source};

/// What the next manifest is made of.
pub struct NextManifest<'a> {
    /// The source.
    pub source: &'a Source,
    /// The scan.
    pub found: &'a Scan,
    /// What the target had before.
    pub known: &'a Baseline,
    /// Large files that the target had under other names.
    pub moves: &'a Moves,
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
                if manifest.sum() != delta.base {
                    return Err(io::Error::new(io::ErrorKind::InvalidData, "the manifest is damaged"));
                }
                manifest.save_with(delta, file)
            }
        }
    }

    /// The root's own entry as the target has it now. Where its attributes could not be set, the whole state is unknown.
    pub fn root(&self) -> Option<OwnedEntry> {
        let now = self.found.root.get()?;
        let racy = if self.source.moment.is_racy(now.ctime) { DIRTY } else { 0 };
        Some(OwnedEntry::new(&Entry { flags: now.flags | racy, ..now }))
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
        for (path, remains) in self.unseen() {
            let listing = remains.map(|remains| remains.listing);
            if listing.is_none() || self.known.listing(&path) != listing.as_deref() {
                delta.changes.insert(path, listing);
            }
        }
        delta
    }

    fn save_whole(&self, file: &Path, header: &Header, store: &Store) -> io::Result<()> {
        let next = file.with_extension("next");
        let mut writer = Writer::create(&next, header)?;
        let mut in_blocks = Vec::new();
        let mut unseen =
            self.unseen().into_iter().filter_map(|(path, remains)| Some((path, remains?.listing))).peekable();
        let mut put = |path: &[u8], listing: &[u8]| {
            note_blocks(path, listing, &mut in_blocks);
            writer.directory(path, listing)
        };
        let mut listing = Vec::new();
        for (nth, dir) in (0..).zip(&self.found.dirs) {
            while let Some((path, listing)) = unseen.next_if(|(path, _)| *path < dir.path) {
                put(&path, &listing)?;
            }
            match (&dir.listing, self.known.listing(&dir.path)) {
                (None, Some(known)) => put(&dir.path, known)?,
                _ => {
                    listing.clear();
                    self.listing(nth, &mut listing);
                    put(&dir.path, &listing)?;
                }
            }
        }
        for (path, listing) in unseen {
            put(&path, &listing)?;
        }
        writer.finish()?;
        store.keep_only(in_blocks.iter().map(Vec::as_slice));
        replace(&next, file)
    }

    /// What the target still has of the directories that the scan did not find; `None` where that is nothing. One may have been there
    /// when its parent was read, and gone before it was read itself: then nothing in it was removed.
    fn unseen(&self) -> BTreeMap<Vec<u8>, Option<Remains>> {
        let mut unseen: BTreeMap<Vec<u8>, Option<Remains>> = BTreeMap::new();
        let mut subdirectories: HashMap<&[u8], HashMap<Vec<u8>, u8>> = HashMap::new();
        let gone = self.found.gone(self.known);
        for path in &gone {
            let (parent, name) = path::split(path);
            let flags = match (unseen.get(parent), self.found.position(parent)) {
                (Some(None), _) => None,
                (Some(Some(remains)), _) => Some(remains.flags),
                (None, Some(nth)) => {
                    let of_parent = subdirectories.entry(parent).or_insert_with(|| self.subdirectories(nth));
                    of_parent.get(name).copied()
                }
                // Nobody looked there.
                (None, None) => Some(0),
            };
            let remains = flags.map(|flags| Remains::new(self.known.listing(path).unwrap_or_default(), flags));
            let left_out = self.found.is_left_out(path);
            if !left_out && remains.as_ref().is_some_and(|remains| remains.flags & GONE == 0) {
                // Whether it comes back or not: only a look at everything finds what is to be done.
                self.outcomes.postpone();
            }
            unseen.insert(path.clone(), remains);
        }
        unseen
    }

    /// The directories that the target has in one now, with their flags.
    fn subdirectories(&self, nth: u32) -> HashMap<Vec<u8>, u8> {
        let mut listing = Vec::new();
        match self.found.dirs.get(nth as usize) {
            Some(dir) if dir.listing.is_none() => listing.extend(self.known.listing(&dir.path).unwrap_or_default()),
            _ => self.listing(nth, &mut listing),
        }
        Entries(&listing).filter(Entry::is_dir).map(|entry| (entry.name.to_vec(), entry.flags)).collect()
    }

    fn listing(&self, nth: u32, out: &mut Vec<u8>) {
        let outcomes = self.outcomes.of_dir(nth);
        let dir = self.found.dirs.get(nth as usize).map_or(&[][..], |dir| &dir.path);
        for (act, old) in self.found.actions(nth, self.known) {
            let old = old.filter(|old| !self.moves.is_taken(&path::join(dir, old.name)));
            let unsent = old.map(|old| Entry { flags: old.flags | DIRTY, ..old });
            let entry = match act {
                Action::Nothing => old,
                Action::Remove(_) if self.deleted => None,
                Action::Remove(_) => old.map(|old| Entry { flags: old.flags | GONE, ..old }),
                Action::Send(e)
                | Action::CreateNode(e)
                | Action::CreateDirectory(e)
                | Action::SetMetadata(e)
                | Action::Link(e, _) => match outcomes.get(e.name) {
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

/// A directory on the target that the scan did not find on the source.
struct Remains {
    listing: Vec<u8>,
    /// [`GONE`] where it was not to be removed.
    flags: u8,
}

impl Remains {
    fn new(known: &[u8], flags: u8) -> Self {
        let mut listing = Vec::with_capacity(known.len());
        for entry in Entries(known) {
            Entry { flags: entry.flags | flags & GONE, ..entry }.encode(&mut listing);
        }
        Self { listing, flags }
    }
}

/// Adds the paths of files whose blocks are kept.
fn note_blocks(dir: &[u8], listing: &[u8], paths: &mut Vec<Vec<u8>>) {
    let kept = Entries(listing).filter(|entry| entry.flags & BLOCKS != 0);
    paths.extend(kept.map(|entry| path::join(dir, entry.name)));
}
