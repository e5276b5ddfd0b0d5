//! What has to be done about each entry, so that the target becomes what the source is.
//!
//! Pure: compares a scan with the baseline.

use std::collections::HashMap;

use rustix::fs::FileType;

use super::baseline::Baseline;
use super::scan::Scan;
use crate::copy::fs::listing::{Entries, Entry, LEFT_OUT, LINKED, Merged, merge};
use crate::copy::fs::path;

/// What is to be done about one entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action<'a> {
    /// Nothing: the target has it.
    Nothing,
    /// Send the content of a regular file.
    Send(Entry<'a>),
    /// Create a symlink or special file.
    CreateNode(Entry<'a>),
    /// Create a directory.
    CreateDirectory(Entry<'a>),
    /// Set the metadata of a directory.
    SetMetadata(Entry<'a>),
    /// Hard-link it to the entry with this directory and position.
    Link(Entry<'a>, (u32, u32)),
    /// Remove it: the source does not have it.
    Remove(Entry<'a>),
}

impl Action<'_> {
    /// What `pair` (source, target) asks for; `first` is where the entry's inode has its first name, if that is another.
    pub fn of<'a>(pair: Merged<'a, 'a>, first: Option<(u32, u32)>) -> Action<'a> {
        let (now, then) = match pair {
            Merged::Right(then) => return Action::Remove(then),
            Merged::Left(now) => (now, None),
            Merged::Both(now, then) => (now, Some(then)),
        };
        if first.is_none() && then.is_some_and(|then| now.is_covered_by(&then)) {
            return Action::Nothing;
        }
        match (now.kind(), first) {
            // It is only a place to mount something on, and the target may have something there.
            (FileType::Directory, _) if now.flags & LEFT_OUT != 0 && then.is_some_and(|then| then.is_dir()) => {
                Action::Nothing
            }
            (FileType::Directory, _) if then.is_some_and(|then| then.is_dir()) => Action::SetMetadata(now),
            (FileType::Directory, _) => Action::CreateDirectory(now),
            (_, Some(first)) => Action::Link(now, first),
            (FileType::RegularFile, None) => Action::Send(now),
            _ => Action::CreateNode(now),
        }
    }
}

impl Scan {
    /// Whether the root's own attributes are to be set.
    pub fn sets_root(&self, known: &Baseline) -> bool {
        match (self.root.get(), known.root()) {
            (Some(now), Some(then)) => !now.is_covered_by(&then),
            _ => true,
        }
    }

    /// What is to be done in a directory, name by name, with the position in the source's listing.
    pub fn actions<'a>(
        &'a self,
        nth_dir: u32,
        known: &'a Baseline,
    ) -> impl Iterator<Item = (Action<'a>, Option<Entry<'a>>)> {
        let dir = self.dirs.get(nth_dir as usize);
        let listing = dir.and_then(|d| d.listing.as_deref());
        let then = dir.filter(|d| d.listing.is_some()).and_then(|d| known.listing(&d.path)).unwrap_or_default();
        let mut nth = 0;
        merge(listing.unwrap_or_default(), then).map(move |pair| {
            let (first, old) = match pair {
                Merged::Right(old) => (None, Some(old)),
                Merged::Left(now) => (self.first(&now, nth_dir, nth), None),
                Merged::Both(now, old) => (self.first(&now, nth_dir, nth), Some(old)),
            };
            nth += u32::from(!matches!(pair, Merged::Right(_)));
            (Action::of(pair, first), old)
        })
    }

    fn first(&self, now: &Entry<'_>, dir: u32, nth: u32) -> Option<(u32, u32)> {
        (now.flags & LINKED != 0).then(|| self.links.get(&(dir, nth)).copied()).flatten()
    }

    /// The paths of the first names of inodes that get further links. Each listing is read once.
    pub fn firsts(&self, known: &Baseline) -> HashMap<(u32, u32), Vec<u8>> {
        let mut wanted: Vec<(u32, u32)> = self.links.values().copied().collect();
        wanted.sort_unstable();
        wanted.dedup();
        let mut paths = HashMap::new();
        for places in wanted.chunk_by(|a, b| a.0 == b.0) {
            let Some(dir) = places.first().and_then(|(dir, _)| self.dirs.get(*dir as usize)) else { continue };
            let listing = dir.listing.as_deref().or_else(|| known.listing(&dir.path)).unwrap_or_default();
            let mut places = places.iter().peekable();
            for (nth, entry) in (0..).zip(Entries(listing)) {
                if let Some(place) = places.next_if(|(_, wanted)| *wanted == nth) {
                    paths.insert(*place, path::join(&dir.path, entry.name));
                }
            }
        }
        paths
    }

    /// Where a directory is among those that were found.
    pub fn position(&self, path: &[u8]) -> Option<u32> {
        let at = self.dirs.binary_search_by(|dir| dir.path.as_slice().cmp(path));
        at.ok().and_then(|at| u32::try_from(at).ok())
    }

    /// Directories that the baseline knows and the scan did not find, in the order of their paths.
    pub fn gone(&self, known: &Baseline) -> Vec<Vec<u8>> {
        let manifest = match known {
            Baseline::Manifest(manifest) => manifest,
            Baseline::Listing(directories, _) => {
                return directories.keys().filter(|path| self.position(path).is_none()).cloned().collect();
            }
            Baseline::Watched(watched) => return watched.gone.clone(),
        };
        let mut found = self.dirs.iter().map(|dir| dir.path.as_slice()).peekable();
        let mut gone = Vec::new();
        for (path, _) in manifest.directories() {
            while found.next_if(|there| *there < path).is_some() {}
            if found.peek() != Some(&path) {
                gone.push(path.to_vec());
            }
        }
        gone
    }
}
