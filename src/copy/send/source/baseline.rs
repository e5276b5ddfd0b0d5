//! The baseline: what the target is known to have. It comes from the manifest while that is trusted, else from the target's listing.
//!
//! Must never take something on the target for what was sent unless the manifest says so and the target's own view agrees.

use std::collections::BTreeMap;

use crate::copy::fs::listing::{Entry, OwnedEntry};
use crate::copy::manifest::delta::Delta;
use crate::copy::manifest::full::Manifest;

/// The listings of all directories on the target, in the source's terms.
pub enum Baseline {
    /// Nobody else wrote there since.
    Manifest(Manifest),
    /// Built from what the target reports: listings, and the directories in which runs that were cut left something.
    Listing(BTreeMap<Vec<u8>, Vec<u8>>, Leftovers),
    /// Nobody else wrote there since, and a watch told where to look on the source.
    Watched(PartialManifest),
}

/// The part of the manifest that a watched pass needs.
#[derive(Debug, Default)]
pub struct PartialManifest {
    /// The listings of the directories that it looks at.
    pub listings: BTreeMap<Vec<u8>, Vec<u8>>,
    /// What changed since the manifest was written whole.
    pub delta: Delta,
    /// Directories that are no more.
    pub gone: Vec<Vec<u8>>,
}

/// Temporary names by directory, with the room that each takes.
pub type Leftovers = BTreeMap<Vec<u8>, BTreeMap<Vec<u8>, u64>>;

impl Baseline {
    /// The listing of a directory.
    pub fn listing(&self, path: &[u8]) -> Option<&[u8]> {
        match self {
            Self::Manifest(manifest) => manifest.listing(path),
            Self::Listing(directories, _) => directories.get(path).map(Vec::as_slice),
            Self::Watched(watched) => watched.listings.get(path).map(Vec::as_slice),
        }
    }

    /// The root's own entry; `None` where nobody knows which attributes the target's root has.
    pub fn root(&self) -> Option<Entry<'_>> {
        let header = match self {
            Self::Manifest(manifest) => &manifest.header,
            Self::Listing(..) => return None,
            Self::Watched(watched) => &watched.delta.header,
        };
        header.root.as_ref().and_then(OwnedEntry::get)
    }

    /// All directories of which it has listings, in the order of their paths.
    pub fn directories(&self) -> Box<dyn Iterator<Item = (&[u8], &[u8])> + '_> {
        match self {
            Self::Manifest(manifest) => Box::new(manifest.directories()),
            Self::Listing(directories, _) => Box::new(directories.iter().map(|(p, l)| (p.as_slice(), l.as_slice()))),
            Self::Watched(watched) => Box::new(watched.listings.iter().map(|(p, l)| (p.as_slice(), l.as_slice()))),
        }
    }

    /// The room that a part of a file takes which a run that was cut has left, if there is one.
    pub fn partial(&self, dir: &[u8], temp: &[u8]) -> Option<u64> {
        match self {
            Self::Listing(_, left) => left.get(dir)?.get(temp).copied(),
            Self::Manifest(_) | Self::Watched(_) => None,
        }
    }

    /// Directories in which something was left.
    pub fn littered(&self) -> impl Iterator<Item = &Vec<u8>> {
        let left = match self {
            Self::Manifest(_) | Self::Watched(_) => None,
            Self::Listing(_, left) => Some(left.keys()),
        };
        left.into_iter().flatten()
    }

    /// Whether there is nothing on the target.
    pub fn is_empty(&self) -> bool {
        match self {
            Self::Manifest(manifest) => manifest.is_bare(),
            Self::Listing(directories, _) => directories.values().all(Vec::is_empty),
            Self::Watched(watched) => watched.delta.header.size.0 == 0,
        }
    }
}
