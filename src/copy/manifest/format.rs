//! The file format of manifests and of the changes to them.
//!
//! Owns the layout: magic, header, one record a directory, BLAKE3 over all of it. A file is written to a temporary name, synced and
//! renamed.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::copy::fs::listing::{OwnedEntry, put, take};

pub(super) const MAGIC: &[u8; 8] = b"migrman4";

/// Identifies a state of the target: the source and the target both keep it, and it changes with every pass.
pub type Generation = [u8; 16];

/// What a manifest says about itself.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// Digest of what the job carries by which rules; another digest makes the manifest worthless.
    pub rules: [u8; 32],
    /// The state of the target that it describes; `None` when a pass left the target in a state that nobody knows exactly.
    pub generation: Option<Generation>,
    /// Entries on the source and the bytes of its regular files.
    pub size: (u64, u64),
    /// The filesystem that the source's root was on.
    pub volume: Option<FilesystemId>,
    /// The root's own entry, which no listing has.
    pub root: Option<OwnedEntry>,
}

/// A filesystem, as far as it can be recognised.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct FilesystemId {
    /// Its device number, which a reboot may change.
    pub dev: u64,
    /// What the filesystem calls itself, 0 for nothing; with some it follows from the device number.
    pub id: u64,
}

impl FilesystemId {
    /// Whether this can be that one.
    pub fn may_be(&self, other: &Self) -> bool {
        self.dev == other.dev || self.id != 0 && self.id == other.id
    }
}

/// Takes one record off the front: a path and what stands for it.
pub(super) fn record<'a>(bytes: &mut &'a [u8]) -> Option<(&'a [u8], &'a [u8])> {
    let mut part = || {
        let len = usize::try_from(take(bytes)?).ok()?;
        let (part, rest) = bytes.split_at_checked(len)?;
        *bytes = rest;
        Some(part)
    };
    Some((part()?, part()?))
}

/// Writes a manifest, directory by directory.
pub struct Writer {
    out: BufWriter<File>,
    hash: blake3::Hasher,
    scratch: Vec<u8>,
}

impl Writer {
    /// Starts a manifest at `file`.
    pub fn create(file: &Path, header: &Header) -> io::Result<Self> {
        Self::begin(file, MAGIC, header)
    }

    pub(super) fn begin<H: Serialize>(file: &Path, magic: &[u8; 8], header: &H) -> io::Result<Self> {
        let out = BufWriter::with_capacity(256 << 10, File::create(file)?);
        let mut writer = Self { out, hash: blake3::Hasher::new(), scratch: Vec::new() };
        writer.put(magic)?;
        let header = postcard::to_stdvec(header).map_err(io::Error::other)?;
        writer.put(&header)?;
        Ok(writer)
    }

    /// Adds a directory; paths must rise.
    pub fn directory(&mut self, path: &[u8], listing: &[u8]) -> io::Result<()> {
        let mut head = std::mem::take(&mut self.scratch);
        head.clear();
        put(&mut head, path.len() as u64);
        head.extend_from_slice(path);
        put(&mut head, listing.len() as u64);
        self.put(&head)?;
        self.scratch = head;
        self.put(listing)
    }

    /// Completes it: when this returns, the disk has it.
    pub fn finish(mut self) -> io::Result<()> {
        let sum = self.hash.finalize();
        self.out.write_all(sum.as_bytes())?;
        self.out.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()
    }

    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.hash.update(bytes);
        self.out.write_all(bytes)
    }
}
