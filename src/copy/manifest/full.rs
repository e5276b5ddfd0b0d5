//! The manifest: the source's own durable record of what the target has.
//!
//! Must never claim that something arrived before the target's disk has it. A manifest that is missing, damaged or written under
//! other rules counts as no manifest.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::Path;

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

use super::delta::{Changes, Delta};
use super::format::{Header, MAGIC, Writer, record};
use crate::copy::fs::file::replace;

/// A part of a manifest that is read by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Extent {
    /// Where it begins.
    pub at: u64,
    /// How long it is.
    pub len: u64,
    /// What tells it from a damaged one: whoever reads a part has not read the sum of the whole.
    pub sum: u64,
}

impl Extent {
    /// Reads it; `None` where it is not what it was.
    pub fn read(&self, file: &File) -> io::Result<Option<Vec<u8>>> {
        let mut part = vec![0; usize::try_from(self.len).unwrap_or(0)];
        match file.read_exact_at(&mut part, self.at) {
            Ok(()) => Ok(Some(part).filter(|part| xxh3_64(part) == self.sum)),
            Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
            Err(e) => Err(e),
        }
    }
}

/// A manifest that was read back.
#[derive(Debug, Default)]
pub struct Manifest {
    /// What it says about itself.
    pub header: Header,
    bytes: Vec<u8>,
    /// Where each directory's record begins, in the order of paths.
    index: Vec<usize>,
    /// The sum of the first file, to which the second is bound.
    sum: [u8; 32],
    /// What the second file says instead.
    changes: Changes,
}

impl Manifest {
    /// Reads the manifest of a job; an empty one when there is none that can be trusted.
    pub fn load(file: &Path, rules: &[u8; 32]) -> io::Result<Self> {
        let mut bytes = Vec::new();
        match File::open(file) {
            Ok(mut f) => f.read_to_end(&mut bytes)?,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(e) => return Err(e),
        };
        let Some(mut manifest) = Self::parse(bytes) else { return Ok(Self::default()) };
        if let Some(delta) = Delta::load(file)?.filter(|delta| delta.base == manifest.sum) {
            (manifest.header, manifest.changes) = (delta.header, delta.changes);
        }
        Ok(Some(manifest).filter(|m| m.header.rules == *rules).unwrap_or_default())
    }

    fn parse(mut bytes: Vec<u8>) -> Option<Self> {
        let (body, sum) = bytes.split_last_chunk::<32>()?;
        let sum = *sum;
        if *blake3::hash(body).as_bytes() != sum {
            return None;
        }
        let rest = body.strip_prefix(MAGIC)?;
        let (header, rest) = postcard::take_from_bytes::<Header>(rest).ok()?;
        let begin = body.len() - rest.len();
        let end = body.len();
        bytes.truncate(end);
        let mut index = Vec::new();
        let mut at = bytes.get(begin..)?;
        while !at.is_empty() {
            index.push(end - at.len());
            record(&mut at)?;
        }
        Some(Self { header, bytes, index, sum, changes: BTreeMap::new() })
    }

    /// The listing of a directory.
    pub fn listing(&self, path: &[u8]) -> Option<&[u8]> {
        match self.changes.get(path) {
            Some(changed) => changed.as_deref(),
            None => self.base(path),
        }
    }

    /// A directory in the first file.
    fn base(&self, path: &[u8]) -> Option<&[u8]> {
        let found =
            self.index.binary_search_by(|at| self.record(*at).map_or(std::cmp::Ordering::Less, |(p, _)| p.cmp(path)));
        self.index.get(found.ok()?).and_then(|at| self.record(*at)).map(|(_, listing)| listing)
    }

    /// The sum of the first file: zeros where none could be trusted.
    pub fn sum(&self) -> [u8; 32] {
        self.sum
    }

    /// Where in the first file the listing of a directory is; `None` where something else holds now.
    pub fn extent(&self, path: &[u8]) -> Option<Extent> {
        let listing = self.base(path).filter(|_| !self.changes.contains_key(path))?;
        let at = listing.as_ptr().addr().checked_sub(self.bytes.as_ptr().addr())?;
        Some(Extent { at: at as u64, len: listing.len() as u64, sum: xxh3_64(listing) })
    }

    /// All directories in the order of their paths.
    pub fn directories(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        let mut base = self.index.iter().filter_map(|at| self.record(*at)).peekable();
        let mut changes = self.changes.iter().peekable();
        std::iter::from_fn(move || {
            loop {
                let changed_next = match (base.peek(), changes.peek()) {
                    (Some((path, _)), Some((changed, _))) => changed.as_slice() <= *path,
                    (None, Some(_)) => true,
                    _ => false,
                };
                if !changed_next {
                    return base.next();
                }
                let (path, listing) = changes.next()?;
                base.next_if(|(old, _)| old == path);
                if let Some(listing) = listing {
                    return Some((path.as_slice(), listing.as_slice()));
                }
            }
        })
    }

    /// What later passes changed.
    pub fn delta(&self) -> Delta {
        let changes = self.changes.clone();
        Delta { base: self.sum, base_len: self.bytes.len() as u64, header: self.header.clone(), changes }
    }

    /// Writes the manifest at `file` anew, with what `delta` says instead.
    pub fn save_with(mut self, delta: Delta, file: &Path) -> io::Result<()> {
        self.changes = delta.changes;
        let next = file.with_extension("next");
        let mut writer = Writer::create(&next, &delta.header)?;
        for (path, listing) in self.directories() {
            writer.directory(path, listing)?;
        }
        writer.finish()?;
        replace(&next, file)
    }

    /// Whether it knows nothing.
    pub fn is_empty(&self) -> bool {
        self.index.is_empty()
    }

    /// Whether the target has nothing at all.
    pub fn is_bare(&self) -> bool {
        self.directories().all(|(_, listing)| listing.is_empty())
    }

    fn record(&self, at: usize) -> Option<(&[u8], &[u8])> {
        record(&mut self.bytes.get(at..)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(dir: &Path, header: &Header) -> std::path::PathBuf {
        let file = dir.join("manifest");
        let mut writer = Writer::create(&dir.join("next"), header).unwrap();
        writer.directory(b"", b"root listing").unwrap();
        writer.directory(b"a", b"").unwrap();
        writer.directory(b"a/b", &[7; 1000]).unwrap();
        writer.finish().unwrap();
        replace(&dir.join("next"), &file).unwrap();
        file
    }

    #[test]
    fn a_manifest_comes_back_and_its_directories_are_found() {
        let dir = tempfile::tempdir().unwrap();
        let header = Header { rules: [1; 32], generation: Some([2; 16]), ..Header::default() };
        let file = write(dir.path(), &header);
        let m = Manifest::load(&file, &[1; 32]).unwrap();
        assert_eq!(m.header, header);
        assert_eq!(m.listing(b""), Some(&b"root listing"[..]));
        assert_eq!(m.listing(b"a"), Some(&b""[..]));
        assert_eq!(m.listing(b"a/b"), Some(&[7; 1000][..]));
        assert_eq!(m.listing(b"b"), None);
    }

    #[test]
    fn one_changed_bit_or_other_rules_make_it_worthless() {
        let dir = tempfile::tempdir().unwrap();
        let file = write(dir.path(), &Header { rules: [1; 32], ..Header::default() });
        assert!(Manifest::load(&file, &[9; 32]).unwrap().is_empty());
        let whole = std::fs::read(&file).unwrap();
        for at in (0..whole.len()).step_by(13) {
            let mut bad = whole.clone();
            bad[at] ^= 1;
            std::fs::write(&file, &bad).unwrap();
            assert!(Manifest::load(&file, &[1; 32]).unwrap().is_empty(), "bit at {at}");
        }
        assert!(Manifest::load(&dir.path().join("none"), &[1; 32]).unwrap().is_empty());
    }

    #[test]
    fn a_part_that_is_read_by_itself_is_known_from_a_damaged_one() {
        let dir = tempfile::tempdir().unwrap();
        let file = write(dir.path(), &Header { rules: [1; 32], ..Header::default() });
        let manifest = Manifest::load(&file, &[1; 32]).unwrap();
        let extent = manifest.extent(b"a/b").unwrap();
        let read = || extent.read(&File::open(&file).unwrap()).unwrap();
        assert_eq!(read(), Some(vec![7; 1000]));
        let mut bytes = std::fs::read(&file).unwrap();
        bytes[extent.at as usize + 500] ^= 0x40;
        std::fs::write(&file, &bytes).unwrap();
        assert_eq!(read(), None);
        std::fs::write(&file, &bytes[..extent.at as usize + 500]).unwrap();
        assert_eq!(read(), None);
    }
}
