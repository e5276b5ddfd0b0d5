//! What has to be done about each entry, so that the target becomes what the source is.
//!
//! Pure: compares a scan with the baseline.

use super::scan::Found;
use std::collections::HashMap;

use rustix::fs::FileType;

use super::baseline::Known;
use crate::copy::fs::listing::{Entries, Entry, LINKED, Pair, merge};
use crate::copy::fs::path::{self};

/// What is to be done about one name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Act<'a> {
    /// The target has it.
    Nothing,
    /// A regular file whose content is sent.
    Send(Entry<'a>),
    /// A symlink or special file that is made.
    Make(Entry<'a>),
    /// A directory that is new.
    Enter(Entry<'a>),
    /// A directory whose attributes changed.
    Settle(Entry<'a>),
    /// One more name of the entry at that place.
    Link(Entry<'a>, (u32, u32)),
    /// The source does not have it.
    Remove(Entry<'a>),
}

impl Act<'_> {
    /// What `pair` (source, target) asks for; `first` is where the entry's inode has its first name, if that is another.
    pub fn of<'a>(pair: Pair<'a, 'a>, first: Option<(u32, u32)>) -> Act<'a> {
        let (now, then) = match pair {
            Pair::Right(then) => return Act::Remove(then),
            Pair::Left(now) => (now, None),
            Pair::Both(now, then) => (now, Some(then)),
        };
        if first.is_none() && then.is_some_and(|then| now.is_covered_by(&then)) {
            return Act::Nothing;
        }
        match (now.kind(), first) {
            (FileType::Directory, _) if then.is_some_and(|then| then.is_dir()) => Act::Settle(now),
            (FileType::Directory, _) => Act::Enter(now),
            (_, Some(first)) => Act::Link(now, first),
            (FileType::RegularFile, None) => Act::Send(now),
            _ => Act::Make(now),
        }
    }
}

impl Found {
    /// What is to be done in a directory, name by name, with the position in the source's listing.
    pub fn acts<'a>(&'a self, nth_dir: u32, known: &'a Known) -> impl Iterator<Item = (Act<'a>, Option<Entry<'a>>)> {
        let dir = self.dirs.get(nth_dir as usize);
        let listing = dir.and_then(|d| d.listing.as_deref());
        let then = dir.filter(|d| d.listing.is_some()).and_then(|d| known.listing(&d.path)).unwrap_or_default();
        let mut nth = 0;
        merge(listing.unwrap_or_default(), then).map(move |pair| {
            let (first, old) = match pair {
                Pair::Right(old) => (None, Some(old)),
                Pair::Left(now) => (self.first(&now, nth_dir, nth), None),
                Pair::Both(now, old) => (self.first(&now, nth_dir, nth), Some(old)),
            };
            nth += u32::from(!matches!(pair, Pair::Right(_)));
            (Act::of(pair, first), old)
        })
    }

    fn first(&self, now: &Entry<'_>, dir: u32, nth: u32) -> Option<(u32, u32)> {
        (now.flags & LINKED != 0).then(|| self.links.get(&(dir, nth)).copied()).flatten()
    }

    /// The paths of the first names of inodes that get further ones, each listing read once.
    pub fn firsts(&self, known: &Known) -> HashMap<(u32, u32), Vec<u8>> {
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

    /// Directories that the baseline knows and the source no longer has.
    pub fn gone(&self, known: &Known) -> Vec<Vec<u8>> {
        let manifest = match known {
            Known::Manifest(manifest) => manifest,
            Known::Target(..) => return Vec::new(),
            Known::Watched(watched) => return watched.gone.clone(),
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
