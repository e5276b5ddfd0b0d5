//! A scan of only those directories that a change watch names, and of what is new below them.
//!
//! Must give up, so that the whole tree is scanned, wherever a directory cannot be understood by itself (hard links, mounts).

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::atomic::Ordering;

use rustix::fs::{AtFlags, fstat, statat};
use rustix::io::Errno;

use super::baseline::{Baseline, PartialManifest};
use super::scan::{Scan, ScannedDir, Source, size_of};
use crate::copy::failure::{Failure, Side};
use crate::copy::fs::listing::{Entries, Entry, GONE, LINKED, MOUNT, OwnedEntry, RECHECK};
use crate::copy::fs::path;
use crate::copy::fs::walk::dev_of;
use crate::copy::manifest::delta::Delta;
use crate::copy::manifest::full::Manifest;
use crate::copy::send::ledger::Ledger;
use crate::copy::watch::ChangedDir;

/// Why a part of the manifest, or the whole, is not believed.
const DAMAGED: &str = "the manifest is damaged";

/// What came of it.
pub enum WatchedScan {
    /// What is to be known of the target, and what was found on the source.
    Complete(Box<PartialManifest>, Scan),
    /// Everything has to be looked at, for this reason.
    Unclear(&'static str),
}

/// Looks at the places. `current` is the manifest's own state, `file` where it is.
pub fn find(
    source: &Source,
    file: &Path,
    current: Delta,
    places: Vec<ChangedDir>,
    ledger: &Ledger,
) -> io::Result<WatchedScan> {
    let mut finder = Finder {
        source,
        ledger,
        base: File::open(file)?,
        watched: PartialManifest { delta: current, ..PartialManifest::default() },
        dirs: Vec::new(),
        new: BTreeSet::new(),
        replaced: BTreeSet::new(),
        removed: BTreeSet::new(),
    };
    for place in places {
        if let Err(why) = finder.place(place)? {
            return Ok(WatchedScan::Unclear(why));
        }
    }
    finder.finish(file)
}

struct Finder<'a> {
    source: &'a Source,
    ledger: &'a Ledger,
    base: File,
    watched: PartialManifest,
    dirs: Vec<ScannedDir>,
    /// Directories of which nothing is known, and those that took the place of others.
    new: BTreeSet<Vec<u8>>,
    replaced: BTreeSet<Vec<u8>>,
    removed: BTreeSet<Vec<u8>>,
}

type Clear<T> = Result<T, &'static str>;

impl Finder<'_> {
    fn place(&mut self, place: ChangedDir) -> io::Result<Clear<()>> {
        // Parents come first: what is below something new or gone is not looked at by itself.
        if [&self.new, &self.replaced, &self.removed].iter().any(|tops| path::is_below(&place.path, tops)) {
            return Ok(Ok(()));
        }
        let known = match self.known(&place)? {
            Ok(Some(known)) => known,
            Ok(None) => return Ok(Ok(())),
            Err(why) => return Ok(Err(why)),
        };
        match self.look(&place, &known) {
            Ok(Ok(listing)) => {
                self.dirs.push(ScannedDir::new(place.path.clone(), listing, &known));
                self.watched.listings.insert(place.path, known);
            }
            Ok(Err(why)) => return Ok(Err(why)),
            // It moved: the events of that are for the next pass, unless its parent was looked at already.
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => {}
            Err(e) => self.ledger.fail(Failure::of(Side::Source, "read the directory", &place.path, e)),
        }
        Ok(Ok(()))
    }

    /// The listing that the manifest has; `None` for a directory that it does not know, which its parent's listing tells.
    fn known(&self, place: &ChangedDir) -> io::Result<Clear<Option<Vec<u8>>>> {
        if let Some(changed) = self.watched.delta.changes.get(&place.path) {
            return Ok(Ok(changed.clone()));
        }
        let Some(extent) = place.at else { return Ok(Ok(None)) };
        Ok(extent.read(&self.base)?.map(Some).ok_or(DAMAGED))
    }

    /// The listing as it is now.
    fn look(&mut self, place: &ChangedDir, known: &[u8]) -> rustix::io::Result<Clear<Vec<u8>>> {
        let fd = self.source.tree.dir(&place.path)?;
        let dev = dev_of(&fstat(&fd)?);
        let inodes: HashSet<u64> = place.inodes.iter().copied().collect();
        let names: BTreeSet<&[u8]> = place.names.iter().map(Vec::as_slice).filter(|name| path::is_name(name)).collect();
        let mut candidates: BTreeMap<&[u8], Option<Entry<'_>>> = names.iter().map(|name| (*name, None)).collect();
        let mut listing = BTreeMap::new();
        for entry in Entries(known) {
            let again = entry.flags & RECHECK != 0 || inodes.contains(&entry.ino);
            if again || candidates.contains_key(entry.name) {
                candidates.insert(entry.name, Some(entry));
            } else {
                listing.insert(entry.name, entry);
            }
        }
        self.ledger.scanned.fetch_add(candidates.len() as u64, Ordering::Relaxed);
        for (name, old) in candidates {
            self.source.tree.before_call();
            let now = match statat(&fd, name, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(st) => {
                    Some(st).filter(|st| !self.source.skips(&place.path, name, Entry::of_stat(name, st).is_dir()))
                }
                Err(Errno::NOENT) => None,
                Err(e) => {
                    self.ledger.fail(Failure::of(Side::Source, "look at", &path::join(&place.path, name), e));
                    continue;
                }
            };
            if now.as_ref().is_some_and(|st| Entry::of_stat(name, st).is_dir() && dev_of(st) != dev) {
                return Ok(Err("another filesystem is mounted in it"));
            }
            let now = now.map(|st| Entry::of_stat(name, &st));
            let named = names.contains(name);
            if let Err(why) = self.compare(&place.path, old, now, named) {
                return Ok(Err(why));
            }
            if let Some(now) = now {
                listing.insert(name, now);
            }
        }
        let mut out = Vec::with_capacity(known.len());
        listing.values().for_each(|entry| entry.encode(&mut out));
        Ok(Ok(out))
    }

    /// What a change of one entry asks for beyond its directory.
    fn compare(&mut self, dir: &[u8], old: Option<Entry<'_>>, now: Option<Entry<'_>>, named: bool) -> Clear<()> {
        let same = matches!((old, now), (Some(old), Some(now)) if now.is_covered_by(&old));
        let linked = [old, now].iter().flatten().any(|entry| entry.flags & LINKED != 0);
        if linked && !same {
            return Err("hard links changed");
        }
        let (was, is) = (old.filter(Entry::is_dir), now.filter(Entry::is_dir));
        let tops = match (was, is) {
            // Also the same one may have been away, and another here, when the last pass looked.
            (Some(was), Some(is)) if was.ino != is.ino || named => &mut self.replaced,
            (None, Some(_)) => &mut self.new,
            (Some(was), None) if was.flags & GONE == 0 => &mut self.removed,
            _ => return Ok(()),
        };
        if let Some(entry) = is.or(was) {
            tops.insert(path::join(dir, entry.name));
        }
        Ok(())
    }

    /// Reads what is new as a whole, and forgets what is gone.
    fn finish(mut self, file: &Path) -> io::Result<WatchedScan> {
        let mut before = self.watched.listings.values().fold((0, 0), |sum, listing| add(sum, size_of(listing)));
        if !self.removed.is_empty() || !self.replaced.is_empty() {
            let manifest = Manifest::load(file, &self.watched.delta.header.rules)?;
            if manifest.sum() != self.watched.delta.base {
                return Ok(WatchedScan::Unclear(DAMAGED));
            }
            for (path, listing) in manifest.directories() {
                let replaced = path::is_below(path, &self.replaced);
                if replaced || path::is_below(path, &self.removed) {
                    before = add(before, size_of(listing));
                    self.watched.gone.push(path.to_vec());
                    self.watched.listings.insert(path.to_vec(), listing.to_vec());
                }
            }
        }
        let from: Vec<Vec<u8>> = self.new.iter().chain(&self.replaced).cloned().collect();
        let known = Baseline::Watched(self.watched);
        let below = if from.is_empty() { Vec::new() } else { self.source.dirs_below(from, &known, self.ledger) };
        let Baseline::Watched(mut watched) = known else { return Ok(WatchedScan::Unclear("it is not clear")) };
        let mounted = |listing: &[u8]| Entries(listing).any(|entry| entry.flags & MOUNT != 0);
        if below.iter().any(|dir| dir.is_linked() || dir.listing.as_deref().is_some_and(mounted)) {
            return Ok(WatchedScan::Unclear("hard links or mounts are new"));
        }
        let mut dirs = self.dirs;
        dirs.extend(below);
        dirs.sort_unstable_by(|a, b| a.path.cmp(&b.path));
        watched.gone.retain(|path| dirs.binary_search_by(|dir| dir.path.cmp(path)).is_err());
        let after = dirs.iter().fold((0, 0), |sum, dir| add(sum, dir.size));
        let total = add(watched.delta.header.size, after);
        let size = (total.0.saturating_sub(before.0), total.1.saturating_sub(before.1));
        let st = fstat(self.source.tree.root())?;
        let found = Scan {
            dirs,
            links: Default::default(),
            left_out: Default::default(),
            root: OwnedEntry::new(&Entry::of_stat(b"", &st)),
            size,
        };
        Ok(WatchedScan::Complete(Box::new(watched), found))
    }
}

fn add(a: (u64, u64), b: (u64, u64)) -> (u64, u64) {
    (a.0 + b.0, a.1 + b.1)
}
