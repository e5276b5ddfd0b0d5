//! Chunks in a directory, one file each.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::journal::sync_directory;
use crate::journal::blob::CHUNK;
use crate::journal::{BlobError, Chunks};

/// The chunks of one run.
#[derive(Debug, Clone)]
pub struct ChunkDir(PathBuf);

impl ChunkDir {
    /// The chunks of a journal stand beside it.
    pub fn beside(journal: &Path) -> Self {
        Self(journal.with_file_name("blobs"))
    }

    fn write(&self, hash: &str, bytes: &[u8]) -> std::io::Result<()> {
        let (path, next) = (self.0.join(hash), self.0.join(format!("{hash}.next")));
        DirBuilder::new().recursive(true).mode(0o700).create(&self.0)?;
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&next)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        std::fs::rename(&next, &path)?;
        File::open(&self.0)?.sync_all()?;
        sync_directory(&self.0)
    }
}

impl Chunks for ChunkDir {
    fn put(&mut self, hash: &str, bytes: &[u8]) -> Result<(), BlobError> {
        self.write(hash, bytes).map_err(|source| BlobError::Io { hash: hash.to_owned(), source })
    }

    fn get(&self, hash: &str) -> Result<Vec<u8>, BlobError> {
        // A name from a record is no path before it has been looked at.
        let plain = hash.len() == 64 && hash.bytes().all(|b| b.is_ascii_hexdigit());
        let hash = hash.to_owned();
        let path = self.0.join(&hash);
        // Nothing longer than a chunk can be one.
        match std::fs::metadata(&path) {
            Ok(meta) if plain && meta.len() > CHUNK as u64 => return Err(BlobError::Changed { hash }),
            Ok(_) if plain => {}
            Err(source) if plain && source.kind() != ErrorKind::NotFound => return Err(BlobError::Io { hash, source }),
            Ok(_) | Err(_) => return Err(BlobError::Missing { hash }),
        }
        std::fs::read(&path).map_err(|source| BlobError::Io { hash, source })
    }
}
