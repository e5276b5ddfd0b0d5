//! What changed since the manifest was written whole.
//!
//! Owns the second file. It counts only beside the very first file that it was written for, so that a crash between the two
//! never mixes them.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::format;
use super::format::{Header, Writer, record};
use crate::copy::fs::file::replace;

const MAGIC: &[u8; 8] = b"migrdel3";
/// The changes may be this part of the whole before all is written anew.
const PART: u64 = 4;

/// The listings of directories that changed, in the order of paths; `None` where there is no directory any more.
pub type Changes = BTreeMap<Vec<u8>, Option<Vec<u8>>>;

/// Changes to a manifest.
#[derive(Debug, Clone, Default)]
pub struct Delta {
    /// The sum of the manifest that they belong to.
    pub base: [u8; 32],
    /// Its length; 0 where it was not looked at.
    pub base_len: u64,
    /// What holds with them.
    pub header: Header,
    /// The changes.
    pub changes: Changes,
}

/// What the second file says about itself.
#[derive(Serialize, Deserialize)]
struct Head {
    base: [u8; 32],
    base_len: u64,
    header: Header,
}

impl Delta {
    /// Reads the changes to the manifest at `file`; `None` when there are none that can be trusted.
    pub fn load(file: &Path) -> io::Result<Option<Self>> {
        match fs::read(delta_path(file)) {
            Ok(bytes) => Ok(Self::parse(&bytes)),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(e),
        }
    }

    fn parse(bytes: &[u8]) -> Option<Self> {
        let (body, sum) = bytes.split_last_chunk::<32>()?;
        if blake3::hash(body).as_bytes() != sum {
            return None;
        }
        let rest = body.strip_prefix(MAGIC)?;
        let (Head { base, base_len, header }, mut rest) = postcard::take_from_bytes(rest).ok()?;
        let mut changes = BTreeMap::new();
        while !rest.is_empty() {
            let (path, change) = record(&mut rest)?;
            let (there, listing) = change.split_first()?;
            changes.insert(path.to_vec(), (*there == 1).then(|| listing.to_vec()));
        }
        Some(Self { base, base_len, header, changes })
    }

    /// What holds now beside the manifest at `file`, without reading all of that: somebody who did must vouch for its sum.
    pub fn current(file: &Path) -> io::Result<Option<Self>> {
        let base = match File::open(file) {
            Ok(base) => base,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(e),
        };
        let len = base.metadata()?.len();
        let (mut head, mut sum) = ([0; 256], [0; 32]);
        let have = base.read_at(&mut head, 0)?;
        let Some(base_len) = len.checked_sub(sum.len() as u64) else { return Ok(None) };
        base.read_exact_at(&mut sum, base_len)?;
        let header = head.get(..have).and_then(|head| head.strip_prefix(format::MAGIC));
        let Some((header, _)) = header.and_then(|h| postcard::take_from_bytes::<Header>(h).ok()) else {
            return Ok(None);
        };
        match Self::load(file)?.filter(|delta| delta.base == sum) {
            Some(delta) => Ok(Some(delta)),
            None => Ok(Some(Self { base: sum, base_len, header, changes: BTreeMap::new() })),
        }
    }

    /// Whether writing them is cheaper than writing all anew.
    pub fn is_small(&self) -> bool {
        let bytes: usize = self.changes.iter().map(|(path, l)| path.len() + l.as_ref().map_or(0, Vec::len)).sum();
        bytes as u64 <= self.base_len / PART
    }

    /// Writes them beside the manifest at `file`; when this returns, the disk has them.
    pub fn save(&self, file: &Path) -> io::Result<()> {
        let next = file.with_extension("delta-next");
        let head = Head { base: self.base, base_len: self.base_len, header: self.header.clone() };
        let mut writer = Writer::begin(&next, MAGIC, &head)?;
        let mut change = Vec::new();
        for (path, listing) in &self.changes {
            change.clear();
            change.push(u8::from(listing.is_some()));
            change.extend_from_slice(listing.as_deref().unwrap_or_default());
            writer.directory(path, &change)?;
        }
        writer.finish()?;
        replace(&next, &delta_path(file))
    }
}

fn delta_path(file: &Path) -> PathBuf {
    file.with_extension("delta")
}
