//! Hashes of the blocks of large files, so that only changed blocks travel.
//!
//! Owns their size and the files beside the manifest that keep them. Each is bound to the very state of the file whose bytes
//! were sent: for any other state there are none.

use std::path::{Path, PathBuf};
use std::{fs, io};

use crate::copy::fs::listing::Entry;

/// The smallest block.
pub const SMALLEST: u64 = 64 << 10;
/// Blocks of a file that is new; more while it grows.
const BLOCKS: u64 = 1 << 18;
const MOST: u64 = 1 << 19;
const HASH: usize = 16;

/// The hashes of a file's blocks, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Blocks {
    /// Bytes in a block; the last one may be shorter.
    pub block: u64,
    hashes: Vec<u8>,
}

/// The hash of a block.
pub fn hash(block: &[u8]) -> [u8; HASH] {
    let whole = blake3::hash(block);
    let mut hash = [0; HASH];
    hash.iter_mut().zip(whole.as_bytes()).for_each(|(to, from)| *to = *from);
    hash
}

impl Blocks {
    /// No hashes yet, in blocks that suit a file of `size` bytes.
    pub fn new(size: u64) -> Self {
        Self { block: size.div_ceil(BLOCKS).next_power_of_two().max(SMALLEST), hashes: Vec::new() }
    }

    /// No hashes yet, in blocks as long as these.
    pub fn like(other: &Self) -> Self {
        Self { block: other.block, hashes: Vec::new() }
    }

    /// Hashes that came from elsewhere.
    pub fn from_parts(block: u64, hashes: Vec<u8>) -> Option<Self> {
        let plausible = block >= SMALLEST && block.is_power_of_two() && hashes.len().is_multiple_of(HASH);
        plausible.then_some(Self { block, hashes })
    }

    /// How many bytes the hashes take.
    pub fn len(&self) -> usize {
        self.hashes.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.hashes.is_empty()
    }

    /// The bytes of all hashes.
    pub fn into_hashes(self) -> Vec<u8> {
        self.hashes
    }

    /// Whether they still suit a file that has grown to `size`.
    pub fn suits(&self, size: u64) -> bool {
        size.div_ceil(self.block) <= MOST
    }

    /// The hash of the `n`th block.
    pub fn get(&self, n: u64) -> Option<&[u8]> {
        let at = usize::try_from(n).ok()?.checked_mul(HASH)?;
        self.hashes.get(at..at + HASH)
    }

    /// Adds the hash of the next block.
    pub fn push(&mut self, hash: &[u8; HASH]) {
        self.hashes.extend_from_slice(hash);
    }
}

/// The files beside the manifest.
#[derive(Debug, Clone)]
pub struct Store {
    dir: PathBuf,
}

impl Store {
    /// In the directory of a job.
    pub fn of_job(work: &Path) -> Self {
        Self { dir: work.join("blocks") }
    }

    /// Keeps the hashes of what was sent of the file at `path` when it was `entry`. They may be lost by a crash, never wrong.
    pub fn save(&self, path: &[u8], entry: &Entry<'_>, blocks: &Blocks) -> io::Result<()> {
        fs::create_dir_all(&self.dir)?;
        let mut bytes = state_of(path, entry).to_vec();
        bytes.extend_from_slice(&blocks.block.to_le_bytes());
        bytes.extend_from_slice(&blocks.hashes);
        let sum = blake3::hash(&bytes);
        bytes.extend_from_slice(sum.as_bytes());
        let next = self.dir.join(format!("{}.next", file_name(path)));
        fs::write(&next, bytes)?;
        fs::rename(next, self.dir.join(file_name(path)))
    }

    /// The hashes of what was sent of the file at `path` when it was `entry`.
    pub fn load(&self, path: &[u8], entry: &Entry<'_>) -> Option<Blocks> {
        let mut bytes = fs::read(self.dir.join(file_name(path))).ok()?;
        let (body, sum) = bytes.split_last_chunk::<32>()?;
        let (state, rest) = body.split_first_chunk::<32>()?;
        let (block, _) = rest.split_first_chunk::<8>()?;
        if blake3::hash(body).as_bytes() != sum || *state != state_of(path, entry) {
            return None;
        }
        let block = u64::from_le_bytes(*block);
        bytes.truncate(bytes.len() - 32);
        bytes.drain(..40);
        Blocks::from_parts(block, bytes)
    }

    /// Removes what belongs to none of `paths`.
    pub fn keep_only<'a>(&self, paths: impl Iterator<Item = &'a [u8]>) {
        let keep: std::collections::HashSet<String> = paths.map(file_name).collect();
        for entry in fs::read_dir(&self.dir).into_iter().flatten().flatten() {
            if !entry.file_name().to_str().is_some_and(|name| keep.contains(name)) {
                // What stays does no harm: it is bound to a state that is gone.
                let _ = fs::remove_file(entry.path());
            }
        }
    }
}

fn file_name(path: &[u8]) -> String {
    blake3::hash(path).to_hex().get(..32).unwrap_or_default().to_owned()
}

fn state_of(path: &[u8], entry: &Entry<'_>) -> [u8; 32] {
    let mut bytes = Vec::new();
    Entry { name: path, flags: 0, ..*entry }.encode(&mut bytes);
    *blake3::hash(&bytes).as_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::copy::fs::listing::FileTime;

    fn entry(size: u64) -> Entry<'static> {
        let stamp = FileTime { sec: 1, nsec: 2 };
        Entry {
            name: b"f",
            flags: 0,
            mode: 0o100_644,
            ino: 5,
            size,
            mtime: stamp,
            ctime: stamp,
            uid: 0,
            gid: 0,
            rdev: 0,
        }
    }

    #[test]
    fn hashes_belong_to_one_state_of_one_file() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::of_job(dir.path());
        let mut blocks = Blocks::new(100 << 20);
        blocks.push(&hash(b"a"));
        blocks.push(&hash(b"b"));
        assert_eq!(store.load(b"d/f", &entry(9)), None);
        store.save(b"d/f", &entry(9), &blocks).unwrap();
        assert_eq!(store.load(b"d/f", &entry(9)), Some(blocks.clone()));
        assert_eq!(store.load(b"d/f", &entry(10)), None);
        assert_eq!(store.load(b"d/g", &entry(9)), None);
        let file = fs::read_dir(dir.path().join("blocks")).unwrap().next().unwrap().unwrap().path();
        let mut bytes = fs::read(&file).unwrap();
        bytes[45] ^= 1;
        fs::write(&file, bytes).unwrap();
        assert_eq!(store.load(b"d/f", &entry(9)), None);
        store.keep_only([&b"other"[..]].into_iter());
        assert!(!file.exists());
    }

    #[test]
    fn even_the_largest_file_has_few_hashes() {
        assert_eq!(Blocks::new(1 << 30).block, SMALLEST);
        for size in [1 << 34, (1 << 34) + 1, 1 << 40, (1 << 44) - 5] {
            let blocks = Blocks::new(size);
            assert!(blocks.suits(size) && size.div_ceil(blocks.block) <= BLOCKS, "{size}");
        }
    }
}
