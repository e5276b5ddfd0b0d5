//! Large files that have another name on the source than at the last pass: the target has their content under the old one.
//!
//! An inode that the manifest knows under another path says where to look, no more: it may be another file by now, and a rename hides
//! that content was changed and its time of modification put back. What is sent is what differs by the hashes of its blocks.
//!
//! Must never take a file from a name under which the target is to keep it.

use std::collections::hash_map::Entry as Slot;
use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, PoisonError};

use crate::copy::fs::listing::{BLOCKS, Entries, Entry, LINKED};
use crate::copy::fs::path;
use crate::copy::manifest::blocks::{Blocks, Store};
use crate::copy::send::source::actions::Action;
use crate::copy::send::source::baseline::Baseline;
use crate::copy::send::source::scan::Scan;
use crate::copy::wire::request::Move;

/// Hashes of blocks that are kept in memory, in bytes.
const MOST_HASHES: usize = 64 << 20;

/// A place in the scan: directory and name.
type Place = (u32, Vec<u8>);

/// Files that get other names.
#[derive(Debug, Default)]
pub struct Moves {
    /// By their new place.
    files: HashMap<Place, Moved>,
    /// Their old paths.
    taken: HashSet<Vec<u8>>,
}

/// A file that gets another name.
#[derive(Debug)]
struct Moved {
    from: Vec<u8>,
    dir: Vec<u8>,
    size: u64,
    /// Of what the target has; they are used once.
    blocks: Mutex<Option<Blocks>>,
}

impl Moves {
    /// Finds files of at least `large` bytes whose inodes the target has under names that go, or that other files have now.
    pub fn find(found: &Scan, known: &Baseline, store: &Store, large: u64) -> Self {
        let mut wanted = wanted(found, known, large);
        let mut moves = Self::default();
        if wanted.is_empty() {
            return moves;
        }
        let mut hashes = 0;
        for (dir, old) in leaving(found, known, &wanted) {
            let from = path::join(&dir, old.name);
            let Some(blocks) = store.load(&from, &old) else { continue };
            let Some(place) = wanted.remove(&old.ino).flatten() else { continue };
            let Some(new) = found.dirs.get(place.0 as usize) else { continue };
            hashes += blocks.len();
            if hashes > MOST_HASHES {
                break;
            }
            let moved =
                Moved { from: from.clone(), dir: new.path.clone(), size: old.size, blocks: Mutex::new(Some(blocks)) };
            moves.files.insert(place, moved);
            moves.taken.insert(from);
        }
        moves.keep_ways_clear();
        moves
    }

    /// A file must not be made a directory before it was put aside.
    fn keep_ways_clear(&mut self) {
        let dirs: HashSet<Vec<u8>> = self.files.values().flat_map(|moved| ways(&moved.dir)).collect();
        self.files.retain(|_, moved| !dirs.contains(&moved.from));
        self.taken.retain(|from| !dirs.contains(from));
    }

    /// What the target is asked to put aside.
    pub fn requests(&self) -> Vec<Move> {
        let one = |((_, name), moved): (&Place, &Moved)| Move {
            from: moved.from.clone(),
            dir: moved.dir.clone(),
            name: name.clone(),
        };
        self.files.iter().map(one).collect()
    }

    /// The blocks that the target has put aside for a file; they are given out once.
    pub fn take(&self, dir: u32, name: &[u8]) -> Option<Blocks> {
        let moved = self.files.get(&(dir, name.to_vec()))?;
        moved.blocks.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// How large what is put aside for a file is.
    pub fn size(&self, dir: u32, name: &[u8]) -> Option<u64> {
        self.files.get(&(dir, name.to_vec())).map(|moved| moved.size)
    }

    /// Whether the target has no file under this path any more, though it was not told to remove it.
    pub fn is_taken(&self, path: &[u8]) -> bool {
        self.taken.contains(path)
    }
}

/// A directory and those above it.
fn ways(dir: &[u8]) -> Vec<Vec<u8>> {
    let mut ways = Vec::new();
    let mut at = dir;
    while !at.is_empty() {
        ways.push(at.to_vec());
        at = path::split(at).0;
    }
    ways
}

/// Large files that are to be sent and have no other names, by inode; `None` for an inode that was seen under two.
fn wanted(found: &Scan, known: &Baseline, large: u64) -> HashMap<u64, Option<Place>> {
    let mut wanted = HashMap::new();
    for (nth, _) in (0..).zip(&found.dirs) {
        for (act, old) in found.actions(nth, known) {
            let Action::Send(now) = act else { continue };
            if now.size < large || now.flags & LINKED != 0 || old.is_some_and(|old| old.ino == now.ino) {
                continue;
            }
            match wanted.entry(now.ino) {
                Slot::Vacant(slot) => drop(slot.insert(Some((nth, now.name.to_vec())))),
                // It was renamed while the source was looked at.
                Slot::Occupied(mut slot) => drop(slot.insert(None)),
            }
        }
    }
    wanted
}

/// Files with these inodes that the target has, and will not keep under their names.
fn leaving<'a>(found: &Scan, known: &'a Baseline, wanted: &HashMap<u64, Option<Place>>) -> Vec<(Vec<u8>, Entry<'a>)> {
    let is_wanted = |entry: &Entry<'_>| {
        entry.is_file() && entry.flags & (BLOCKS | LINKED) == BLOCKS && wanted.contains_key(&entry.ino)
    };
    let mut leaving = Vec::new();
    let mut gone = HashMap::new();
    for (dir, listing) in known.directories() {
        let entries: Vec<Entry<'a>> = Entries(listing).filter(is_wanted).collect();
        if entries.is_empty() {
            continue;
        }
        let Some(nth) = found.position(dir) else {
            if is_removed(found, known, dir, &mut gone) {
                leaving.extend(entries.into_iter().map(|entry| (dir.to_vec(), entry)));
            }
            continue;
        };
        let replaced = found.actions(nth, known).filter_map(|(act, old)| {
            let other = match act {
                Action::Nothing | Action::SetMetadata(_) => false,
                Action::Send(now) | Action::CreateNode(now) | Action::CreateDirectory(now) | Action::Link(now, _) => {
                    old.is_some_and(|old| old.ino != now.ino)
                }
                Action::Remove(_) => true,
            };
            old.filter(|_| other).map(|old| old.name)
        });
        let replaced: HashSet<&[u8]> = replaced.collect();
        leaving.extend(entries.into_iter().filter(|e| replaced.contains(e.name)).map(|entry| (dir.to_vec(), entry)));
    }
    leaving
}

/// Whether a directory that was not found is below one that is to be removed; one that only vanished stays.
fn is_removed(found: &Scan, known: &Baseline, dir: &[u8], seen: &mut HashMap<Vec<u8>, bool>) -> bool {
    let mut at = dir;
    while !at.is_empty() {
        let (parent, name) = path::split(at);
        if let Some(nth) = found.position(parent) {
            let look = || {
                let mut acts = found.actions(nth, known);
                acts.any(|(act, _)| matches!(act, Action::Remove(old) if old.name == name))
            };
            return *seen.entry(at.to_vec()).or_insert_with(look);
        }
        at = parent;
    }
    false
}
