//! The file in which one side keeps digests from one comparison to the next.
//!
//! Owns its format: written to a name of its own, renamed when it is whole, with a BLAKE3 over all of it. Holds no more in memory than
//! where each directory's digests are. A record that is missing, cut, damaged or of something else knows nothing.
//!
//! ```text
//! magic, key; for each directory: lengths of path and listing, number of entries; path, listing, one digest an entry; BLAKE3
//! ```

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crate::copy::fs::listing::{Entries, Entry};
use crate::copy::wire::response::Sum;

const MAGIC: &[u8; 8] = b"migrdig2";
const SUM: usize = 32;

/// What a record is of; under another key it is worth nothing.
pub type CacheKey = [u8; 32];

/// A record that was read back.
#[derive(Debug, Default)]
pub struct CacheFile {
    file: Option<File>,
    /// Directories by what their paths hash to.
    index: Vec<IndexEntry>,
}

/// Where the digests of a directory are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct IndexEntry {
    path: u64,
    at: u64,
    len: u64,
}

/// The digests of a directory.
#[derive(Debug)]
pub struct CachedDir {
    listing: Vec<u8>,
    sums: Vec<u8>,
}

impl CachedDir {
    /// The entries as they were when they were hashed, in the order of their names.
    pub fn entries(&self) -> impl Iterator<Item = (Entry<'_>, Sum)> {
        let sums = self.sums.chunks_exact(SUM).filter_map(|sum| sum.try_into().ok());
        Entries(&self.listing).zip(sums)
    }
}

impl CacheFile {
    /// Reads where everything is, and makes sure that it is whole.
    pub fn load(path: &Path, key: &CacheKey) -> Self {
        Self::read(path, key).unwrap_or_default()
    }

    fn read(path: &Path, key: &CacheKey) -> Option<Self> {
        let file = File::open(path).ok()?;
        let body = file.metadata().ok()?.len().checked_sub(SUM as u64)?;
        let mut reader = Reader { input: BufReader::with_capacity(256 << 10, &file), hash: Default::default(), at: 0 };
        if reader.bytes(MAGIC.len() as u64)? != MAGIC || reader.bytes(key.len() as u64)? != key {
            return None;
        }
        let mut index = Vec::new();
        while reader.at < body {
            let at = reader.at;
            let head = Head::parse(&reader.bytes(Head::LEN)?)?;
            let path = hash_of(&reader.bytes(head.path)?);
            reader.skip(head.listing + head.sums)?;
            index.push(IndexEntry { path, at, len: reader.at - at });
        }
        let sum = *reader.hash.finalize().as_bytes();
        if reader.at != body || reader.bytes(SUM as u64)? != sum {
            return None;
        }
        index.sort_unstable();
        Some(Self { file: Some(file), index })
    }

    /// The digests of a directory.
    pub fn directory(&self, path: &[u8]) -> Option<CachedDir> {
        let hash = hash_of(path);
        let nth = self.index.binary_search_by_key(&hash, |place| place.path).ok()?;
        let place = self.index.get(nth)?;
        let mut bytes = vec![0; usize::try_from(place.len).ok()?];
        self.file.as_ref()?.read_exact_at(&mut bytes, place.at).ok()?;
        let (head, rest) = bytes.split_at_checked(Head::LEN as usize)?;
        let head = Head::parse(head)?;
        let (name, rest) = rest.split_at_checked(usize::try_from(head.path).ok()?)?;
        let (listing, sums) = rest.split_at_checked(usize::try_from(head.listing).ok()?)?;
        // Two paths may hash to the same.
        (name == path).then(|| CachedDir { listing: listing.to_vec(), sums: sums.to_vec() })
    }
}

/// What a directory's part begins with.
struct Head {
    path: u64,
    listing: u64,
    sums: u64,
}

impl Head {
    const LEN: u64 = 12;

    fn parse(bytes: &[u8]) -> Option<Self> {
        let mut numbers = bytes.chunks_exact(4).filter_map(|n| Some(u64::from(u32::from_le_bytes(n.try_into().ok()?))));
        let (path, listing, entries) = (numbers.next()?, numbers.next()?, numbers.next()?);
        Some(Self { path, listing, sums: entries * SUM as u64 })
    }
}

/// Eight bytes are enough to find one of some millions.
fn hash_of(path: &[u8]) -> u64 {
    let hash = *blake3::hash(path).as_bytes();
    hash.first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes))
}

/// Reads from front to back and hashes what goes by.
struct Reader<'a> {
    input: BufReader<&'a File>,
    hash: blake3::Hasher,
    at: u64,
}

impl Reader<'_> {
    /// The next bytes; memory grows only with bytes that are there.
    fn bytes(&mut self, len: u64) -> Option<Vec<u8>> {
        let mut bytes = Vec::new();
        self.input.by_ref().take(len).read_to_end(&mut bytes).ok()?;
        self.hash.update(&bytes);
        self.at += bytes.len() as u64;
        (bytes.len() as u64 == len).then_some(bytes)
    }

    fn skip(&mut self, len: u64) -> Option<()> {
        let skipped = io::copy(&mut self.input.by_ref().take(len), &mut self.hash).ok()?;
        self.at += skipped;
        (skipped == len).then_some(())
    }
}

/// Writes the record of this comparison, directory by directory in any order.
#[derive(Debug)]
pub struct Writer {
    out: BufWriter<File>,
    hash: blake3::Hasher,
    path: PathBuf,
}

impl Writer {
    /// Begins a record that will be at `path`.
    pub fn create(path: &Path, key: &CacheKey) -> io::Result<Self> {
        let next = path.with_extension("next");
        // What a comparison that was cut left. One that still runs must not write into the same file.
        let _ = std::fs::remove_file(&next);
        let out = BufWriter::with_capacity(256 << 10, File::create_new(next)?);
        let mut writer = Self { out, hash: blake3::Hasher::new(), path: path.to_owned() };
        writer.put(MAGIC)?;
        writer.put(key)?;
        Ok(writer)
    }

    /// Adds a directory.
    pub fn directory(&mut self, path: &[u8], listing: &[u8], sums: &[Sum]) -> io::Result<()> {
        let lengths = [path.len(), listing.len(), sums.len()].map(u32::try_from);
        // 4 GiB are some 80 million entries of one directory.
        let [Ok(of_path), Ok(of_listing), Ok(entries)] = lengths else { return Ok(()) };
        for number in [of_path, of_listing, entries] {
            self.put(&number.to_le_bytes())?;
        }
        self.put(path)?;
        self.put(listing)?;
        sums.iter().try_for_each(|sum| self.put(sum))
    }

    /// Puts it in place of the one before. Need not survive a power cut: then it is damaged, and knows nothing.
    pub fn finish(mut self) -> io::Result<()> {
        let sum = self.hash.finalize();
        self.out.write_all(sum.as_bytes())?;
        self.out.into_inner().map_err(io::IntoInnerError::into_error)?;
        std::fs::rename(self.path.with_extension("next"), &self.path)
    }

    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.hash.update(bytes);
        self.out.write_all(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::copy::fs::listing::FileTime;
    use proptest::prelude::*;

    const KEY: CacheKey = [7; 32];

    fn listing(names: &[&str]) -> Vec<u8> {
        let stamp = FileTime { sec: 1, nsec: 2 };
        let mut out = Vec::new();
        for name in names {
            let name = name.as_bytes();
            Entry {
                name,
                flags: 0,
                mode: 0o100_644,
                ino: 1,
                size: 3,
                mtime: stamp,
                ctime: stamp,
                uid: 0,
                gid: 0,
                rdev: 0,
            }
            .encode(&mut out);
        }
        out
    }

    fn written(dir: &Path) -> PathBuf {
        let path = dir.join("digests.source");
        let mut writer = Writer::create(&path, &KEY).unwrap();
        writer.directory(b"b/c", &listing(&["x", "y"]), &[[1; 32], [2; 32]]).unwrap();
        writer.directory(b"", &listing(&["b"]), &[[3; 32]]).unwrap();
        writer.finish().unwrap();
        path
    }

    fn names(record: &CacheFile, path: &[u8]) -> Vec<(Vec<u8>, Sum)> {
        let found = record.directory(path);
        found.iter().flat_map(CachedDir::entries).map(|(entry, sum)| (entry.name.to_vec(), sum)).collect()
    }

    #[test]
    fn a_record_comes_back_and_its_directories_are_found_in_any_order() {
        let dir = tempfile::tempdir().unwrap();
        let path = written(dir.path());
        let record = CacheFile::load(&path, &KEY);
        assert_eq!(names(&record, b""), [(b"b".to_vec(), [3; 32])]);
        assert_eq!(names(&record, b"b/c"), [(b"x".to_vec(), [1; 32]), (b"y".to_vec(), [2; 32])]);
        assert!(record.directory(b"b").is_none());
        assert!(CacheFile::load(&path, &[8; 32]).directory(b"").is_none(), "of something else");
        assert!(CacheFile::load(&dir.path().join("none"), &KEY).directory(b"").is_none());
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "no temporary name is left");
    }

    #[test]
    fn one_changed_bit_a_cut_or_a_tail_make_it_worthless() {
        let dir = tempfile::tempdir().unwrap();
        let path = written(dir.path());
        let whole = std::fs::read(&path).unwrap();
        let knows = |bytes: &[u8]| {
            std::fs::write(&path, bytes).unwrap();
            let record = CacheFile::load(&path, &KEY);
            record.directory(b"").is_some() || record.directory(b"b/c").is_some()
        };
        assert!(knows(&whole));
        for at in 0..whole.len() {
            let mut bad = whole.clone();
            bad[at] ^= 0x80;
            assert!(!knows(&bad), "bit at {at}");
            assert!(!knows(&whole[..at]), "cut at {at}");
        }
        assert!(!knows(&[whole.as_slice(), b"!"].concat()));
        assert!(!knows(&[whole.as_slice(), whole.as_slice()].concat()));
    }

    #[test]
    fn two_that_write_at_once_never_leave_a_mixture() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("digests.target");
        let begin = |byte| {
            let mut writer = Writer::create(&path, &KEY).unwrap();
            writer.directory(b"d", &listing(&["x"]), &[[byte; 32]]).unwrap();
            writer
        };
        let (cut, current) = (begin(1), begin(2));
        // The first puts what the second has so far in place: that is not whole.
        let _ = cut.finish();
        assert!(names(&CacheFile::load(&path, &KEY), b"d").is_empty());
        let _ = current.finish();
        let left = names(&CacheFile::load(&path, &KEY), b"d");
        assert!(left.is_empty() || left == [(b"x".to_vec(), [2; 32])], "{left:?}");
    }

    proptest! {
        /// Even where the sum is right.
        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("digests.source");
            let mut whole = [&MAGIC[..], &KEY, &bytes].concat();
            whole.extend_from_slice(blake3::hash(&whole).as_bytes());
            std::fs::write(&path, &whole).unwrap();
            let record = CacheFile::load(&path, &KEY);
            for place in &record.index {
                prop_assert!(place.len <= whole.len() as u64);
            }
            let _ = (names(&record, b""), names(&record, bytes.get(12..13).unwrap_or_default()));
        }
    }
}
