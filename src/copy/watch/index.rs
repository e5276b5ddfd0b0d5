//! Where each inode of the tree is: what turns an event into a place to look at.
//!
//! Owns the view of the manifest as of the last pass. Knowing a place too many costs a look; one too few would lose a change.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::io;
use std::path::Path;

use crate::copy::fs::listing::{Entries, MOUNT, RECHECK};
use crate::copy::fs::path;
use crate::copy::manifest::delta::Delta;
use crate::copy::manifest::format::Generation;
use crate::copy::manifest::full::{Extent, Manifest};

/// Names by the directory that they are in.
pub type Names = HashMap<u64, HashSet<Box<[u8]>>>;

/// The tree as of one state.
#[derive(Debug, Default)]
pub struct Index {
    generation: Option<Generation>,
    /// The manifest file that it was read from.
    base: [u8; 32],
    paths: Vec<Vec<u8>>,
    numbers: HashMap<Vec<u8>, u32>,
    /// Where the listing of a directory is in the file.
    extents: HashMap<u32, Extent>,
    /// Inode and directory of each entry of the file, sorted.
    entries: Vec<(u64, u32)>,
    /// The same of what came later.
    later: HashMap<u64, BTreeSet<u32>>,
    /// Directories by their own inode.
    own: HashMap<u64, BTreeSet<u32>>,
    /// Directories with entries that have to be taken again.
    unsettled: BTreeSet<u32>,
    several_filesystems: bool,
}

/// A directory in which something may have changed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Candidates {
    /// Its listing in the manifest file.
    pub at: Option<Extent>,
    /// Names to look at.
    pub names: BTreeSet<Vec<u8>>,
    /// Inodes to look at, whatever their names.
    pub inodes: BTreeSet<u64>,
}

impl Index {
    /// Takes over the state that a pass left.
    pub fn follow(&mut self, file: &Path, rules: &[u8; 32], generation: Generation, root: u64) -> io::Result<bool> {
        self.generation = None;
        let Some(delta) = Delta::current(file)? else { return Ok(false) };
        if delta.header.generation != Some(generation) || delta.header.rules != *rules {
            return Ok(false);
        }
        if self.base != delta.base {
            let manifest = Manifest::load(file, rules)?;
            // A damaged one is read as one that knows nothing: nothing would ever be found to have changed.
            if manifest.sum() != delta.base {
                return Ok(false);
            }
            *self = Self::read(&manifest, root);
        }
        for (path, listing) in &delta.changes {
            self.change(path, listing.as_deref());
        }
        self.base = delta.base;
        self.generation = Some(generation);
        Ok(true)
    }

    /// Whether it speaks of this state, and the whole tree.
    pub fn is_of(&self, generation: Generation) -> bool {
        self.generation == Some(generation) && !self.several_filesystems
    }

    /// What happens from now on belongs to another state.
    pub fn forget_state(&mut self) {
        self.generation = None;
    }

    fn read(manifest: &Manifest, root: u64) -> Self {
        let mut index = Self::default();
        let mut entries = Vec::new();
        for (dir, listing) in manifest.directories() {
            let number = index.number(dir);
            if let Some(extent) = manifest.extent(dir) {
                index.extents.insert(number, extent);
            }
            index.note(number, dir, listing, &mut |inode, number| entries.push((inode, number)));
        }
        entries.sort_unstable();
        index.entries = entries;
        let top = index.number(b"");
        index.own.entry(root).or_default().insert(top);
        index
    }

    fn change(&mut self, dir: &[u8], listing: Option<&[u8]>) {
        let number = self.number(dir);
        self.extents.remove(&number);
        self.unsettled.remove(&number);
        let mut later = std::mem::take(&mut self.later);
        self.note(number, dir, listing.unwrap_or_default(), &mut |inode, number| {
            later.entry(inode).or_default().insert(number);
        });
        self.later = later;
    }

    fn note(&mut self, number: u32, dir: &[u8], listing: &[u8], place: &mut dyn FnMut(u64, u32)) {
        for entry in Entries(listing) {
            place(entry.ino, number);
            self.several_filesystems |= entry.flags & MOUNT != 0;
            if entry.flags & RECHECK != 0 {
                self.unsettled.insert(number);
            }
            if entry.is_dir() {
                let below = self.number(&path::join(dir, entry.name));
                self.own.entry(entry.ino).or_default().insert(below);
            }
        }
    }

    fn number(&mut self, path: &[u8]) -> u32 {
        if let Some(number) = self.numbers.get(path) {
            return *number;
        }
        let number = u32::try_from(self.paths.len()).unwrap_or(u32::MAX);
        self.paths.push(path.to_vec());
        self.numbers.insert(path.to_vec(), number);
        number
    }

    /// Where to look after these events; what is not in the tree is left out.
    pub fn candidates(&self, names: &Names, inodes: &HashSet<u64>) -> BTreeMap<Vec<u8>, Candidates> {
        let mut candidates: BTreeMap<u32, Candidates> =
            self.unsettled.iter().map(|n| (*n, Candidates::default())).collect();
        for (inode, names) in names {
            for number in self.own.get(inode).into_iter().flatten() {
                candidates.entry(*number).or_default().names.extend(names.iter().map(|name| name.to_vec()));
            }
        }
        for inode in inodes {
            let from = self.entries.partition_point(|(i, _)| i < inode);
            let first = self.entries.iter().skip(from).take_while(|(i, _)| i == inode).map(|(_, n)| n);
            for number in first.chain(self.later.get(inode).into_iter().flatten()) {
                candidates.entry(*number).or_default().inodes.insert(*inode);
            }
        }
        let named = |(number, candidate): (u32, Candidates)| {
            let path = self.paths.get(number as usize)?.clone();
            Some((path, Candidates { at: self.extents.get(&number).copied(), ..candidate }))
        };
        candidates.into_iter().filter_map(named).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::copy::manifest::format::{Header, Writer};

    #[test]
    fn what_was_read_of_a_damaged_manifest_says_nothing_of_a_state() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("manifest");
        let header = Header { rules: [1; 32], generation: Some([2; 16]), ..Header::default() };
        let mut writer = Writer::create(&file, &header).unwrap();
        writer.directory(b"", &[]).unwrap();
        writer.finish().unwrap();
        let mut index = Index::default();
        assert!(index.follow(&file, &[1; 32], [2; 16], 5).unwrap() && index.is_of([2; 16]));
        let mut bytes = std::fs::read(&file).unwrap();
        let at = bytes.len() - 33;
        bytes[at] ^= 0x40;
        std::fs::write(&file, bytes).unwrap();
        let mut index = Index::default();
        assert!(!index.follow(&file, &[1; 32], [2; 16], 5).unwrap() && !index.is_of([2; 16]));
    }
}
