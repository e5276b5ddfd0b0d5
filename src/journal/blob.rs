//! What is too large for a record: compressed, in chunks that are named by their SHA-256, and named by the record.
//!
//! A chunk is on disk before the record that names it, so the chain of the records covers it. Must never give out bytes that are not the
//! ones that were named.

use std::collections::BTreeMap;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::format::hash;
use super::pack;
use crate::event::Blob;

/// No chunk is larger; stores that take requests of 1.5 MiB take one.
pub const CHUNK: usize = 1 << 20;
/// No blob is larger before it is compressed.
const MAX: u64 = 4 << 30;
/// Compression that is quick for the largest plan.
const LEVEL: i32 = 3;

/// Why something that a record names cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum BlobError {
    /// A chunk is not there.
    #[error("chunk {hash} of what its record names is missing")]
    Missing {
        /// Its name.
        hash: String,
    },
    /// A chunk is another than the record names.
    #[error("chunk {hash} of what its record names is not what was written: it was cut, damaged or altered")]
    Changed {
        /// Its name.
        hash: String,
    },
    /// A chunk cannot be read or written.
    #[error("chunk {hash}: {source}")]
    Io {
        /// Its name.
        hash: String,
        /// What the system says.
        source: std::io::Error,
    },
    /// The store that keeps it does not do what it should.
    #[error("chunk {hash}: {why}")]
    Store {
        /// Its name.
        hash: String,
        /// Why.
        why: String,
        /// What to do next.
        hint: String,
    },
    /// The chunks are right, and what they hold is not.
    #[error("what its record names cannot be read: {0}")]
    Unreadable(String),
}

/// A place for chunks.
pub trait Chunks {
    /// Keeps a chunk; durable when it returns. One that is there already stays.
    fn put(&mut self, hash: &str, bytes: &[u8]) -> Result<(), BlobError>;

    /// The chunk of that name, as it is there.
    fn get(&self, hash: &str) -> Result<Vec<u8>, BlobError>;
}

/// Keeps bytes; returns what a record says of them.
pub fn keep_bytes(chunks: &mut dyn Chunks, bytes: &[u8]) -> Result<Blob, BlobError> {
    let compressed = zstd::bulk::compress(bytes, LEVEL).map_err(unreadable)?;
    let mut names = Vec::new();
    for chunk in compressed.chunks(CHUNK) {
        let name = hash(chunk);
        chunks.put(&name, chunk)?;
        names.push(name);
    }
    Ok(Blob { bytes: bytes.len() as u64, chunks: names })
}

/// The bytes that a record names.
pub fn fetch_bytes(chunks: &dyn Chunks, blob: &Blob) -> Result<Vec<u8>, BlobError> {
    let mut compressed = Vec::new();
    for name in &blob.chunks {
        let chunk = chunks.get(name)?;
        if hash(&chunk) != *name {
            return Err(BlobError::Changed { hash: name.clone() });
        }
        compressed.extend_from_slice(&chunk);
    }
    if blob.bytes > MAX {
        return Err(BlobError::Unreadable(format!("{} bytes are too many", blob.bytes)));
    }
    let size = usize::try_from(blob.bytes).map_err(unreadable)?;
    let bytes = zstd::bulk::decompress(&compressed, size).map_err(unreadable)?;
    match bytes.len() == size {
        true => Ok(bytes),
        false => Err(BlobError::Unreadable(format!("{} bytes instead of {size}", bytes.len()))),
    }
}

/// Keeps a value, as [`keep_bytes`] does.
pub fn keep<T: Serialize>(chunks: &mut dyn Chunks, value: &T) -> Result<Blob, BlobError> {
    keep_bytes(chunks, &pack::to_bytes(value).map_err(unreadable)?)
}

/// The value that a record names.
pub fn fetch<T: DeserializeOwned>(chunks: &dyn Chunks, blob: &Blob) -> Result<T, BlobError> {
    pack::from_bytes(&fetch_bytes(chunks, blob)?).map_err(unreadable)
}

fn unreadable(error: impl std::fmt::Display) -> BlobError {
    BlobError::Unreadable(error.to_string())
}

/// Chunks in memory.
impl Chunks for BTreeMap<String, Vec<u8>> {
    fn put(&mut self, hash: &str, bytes: &[u8]) -> Result<(), BlobError> {
        self.insert(hash.to_owned(), bytes.to_vec());
        Ok(())
    }

    fn get(&self, hash: &str) -> Result<Vec<u8>, BlobError> {
        BTreeMap::get(self, hash).cloned().ok_or_else(|| BlobError::Missing { hash: hash.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::file::ChunkDir;

    /// Bytes that compress badly, so that there are several chunks.
    fn noise(length: usize) -> Vec<u8> {
        let mut state = 1_u64;
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 56) as u8
        };
        (0..length).map(|_| next()).collect()
    }

    #[test]
    fn what_is_kept_comes_back_from_memory_and_from_disk() {
        let dir = tempfile::tempdir().unwrap();
        let mut on_disk = ChunkDir::beside(&dir.path().join("journal"));
        let mut in_memory = BTreeMap::new();
        let places: [&mut dyn Chunks; 2] = [&mut on_disk, &mut in_memory];
        for chunks in places {
            for bytes in [Vec::new(), b"short".to_vec(), noise(5 << 19)] {
                let blob = keep_bytes(chunks, &bytes).unwrap();
                assert_eq!(blob.chunks.len(), bytes.len() / CHUNK + 1, "{} bytes", bytes.len());
                assert_eq!(fetch_bytes(chunks, &blob).unwrap(), bytes);
            }
        }
    }

    #[test]
    fn a_chunk_that_is_missing_cut_or_altered_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let mut chunks = ChunkDir::beside(&dir.path().join("journal"));
        let blob = keep_bytes(&mut chunks, &noise(3 << 20)).unwrap();
        let path = dir.path().join("blobs").join(&blob.chunks[1]);
        let whole = std::fs::read(&path).unwrap();
        let mut altered = whole.clone();
        altered[7] ^= 1;
        for bad in [altered, whole[..whole.len() - 1].to_vec(), Vec::new(), [&whole[..], &[0]].concat()] {
            std::fs::write(&path, bad).unwrap();
            assert!(matches!(fetch_bytes(&chunks, &blob), Err(BlobError::Changed { hash }) if hash == blob.chunks[1]));
        }
        std::fs::remove_file(&path).unwrap();
        assert!(matches!(fetch_bytes(&chunks, &blob), Err(BlobError::Missing { hash }) if hash == blob.chunks[1]));
    }

    #[test]
    fn a_record_that_lies_about_its_blob_reaches_no_other_file() {
        let dir = tempfile::tempdir().unwrap();
        let mut chunks = ChunkDir::beside(&dir.path().join("journal"));
        std::fs::write(dir.path().join("journal"), "x").unwrap();
        let lies = Blob { bytes: 1, chunks: vec!["../journal".into()] };
        assert!(matches!(fetch_bytes(&chunks, &lies), Err(BlobError::Missing { .. })));
        let kept = keep_bytes(&mut chunks, b"0123456789").unwrap();
        for bytes in [0, 9, 11, u64::MAX] {
            let lies = Blob { bytes, chunks: kept.chunks.clone() };
            assert!(matches!(fetch_bytes(&chunks, &lies), Err(BlobError::Unreadable(_))), "{bytes}");
        }
    }
}
