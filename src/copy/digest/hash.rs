//! How the content and the extended attributes of an entry become 32 bytes.
//!
//! Must never return a hash of a file that changed while it was read. Only reads the tree.

use std::os::fd::OwnedFd;

use rustix::fs::{SeekFrom, Stat, fstat};
use rustix::io::Errno;

use crate::copy::failure::Side;
use crate::copy::fs::file::read_full;
use crate::copy::fs::filter::Filter;
use crate::copy::fs::listing::Entry;
use crate::copy::fs::path::TempNames;
use crate::copy::fs::tree::Tree;
use crate::copy::owners::IdMap;
use crate::copy::wire::response::{Digest, Sum};

/// Bytes that one thread hashes of a file before another may take the next.
pub const SEGMENT: u64 = 8 << 20;
const READ: usize = 1 << 20;

/// What is hashed, and how.
pub struct TreeHasher<'a> {
    /// The tree.
    pub tree: &'a Tree,
    /// Which side it is, for errors.
    pub side: Side,
    /// What is left out.
    pub filter: &'a Filter,
    /// Names that are left out, too.
    pub temp: &'a TempNames,
    /// Whether attributes that only root can set count.
    pub privileged: bool,
    /// Called before each read, and may block. Returns false when the result is not wanted any more.
    pub leave: &'a (dyn Fn() -> bool + Sync),
    /// What owners are called on the other side, if that is another.
    pub owners: Option<&'a IdMap>,
}

impl TreeHasher<'_> {
    /// BLAKE3 of a part of an open file, read piece by piece. Of pieces that are all zeros only the place counts, whether they are holes
    /// on this side or not: holes are not read.
    pub fn hash_range(&self, fd: &OwnedFd, from: u64, len: u64, buffer: &mut Vec<u8>) -> rustix::io::Result<[u8; 32]> {
        buffer.resize(READ, 0);
        let mut holes = Holes::of(fd)?;
        let (mut hash, mut zeros) = (blake3::Hasher::new(), Vec::new());
        let mut at = from;
        while at < from + len {
            if !(self.leave)() {
                return Err(Errno::CANCELED);
            }
            let want = usize::try_from(from + len - at).unwrap_or(READ).min(READ);
            if let Some(hole) = holes.at(fd, at, want as u64)? {
                zeros.push(1);
                at += hole;
                continue;
            }
            let read = read_full(fd, buffer.get_mut(..want).unwrap_or_default(), at)?;
            let piece = buffer.get(..read).unwrap_or_default();
            if piece.is_empty() {
                break;
            }
            let is_zero = is_zero(piece);
            zeros.push(u8::from(is_zero));
            if !is_zero {
                hash.update(piece);
            }
            at += read as u64;
        }
        hash.update(&zeros);
        Ok(*hash.finalize().as_bytes())
    }
}

/// Where a file has no data.
struct Holes {
    /// Its length; 0 for a file that has no holes.
    size: u64,
    /// Where the next data is.
    data: u64,
}

impl Holes {
    fn of(fd: &OwnedFd) -> rustix::io::Result<Self> {
        let st = fstat(fd)?;
        let (size, blocks) = (u64::try_from(st.st_size).unwrap_or(0), u64::try_from(st.st_blocks).unwrap_or(0));
        Ok(Self { size: if blocks.saturating_mul(512) < size { size } else { 0 }, data: 0 })
    }

    /// The length of the piece of `want` bytes at `at`, if all of it is a hole.
    fn at(&mut self, fd: &OwnedFd, at: u64, want: u64) -> rustix::io::Result<Option<u64>> {
        if at >= self.size {
            return Ok(None);
        }
        if self.data <= at {
            self.data = match rustix::fs::seek(fd, SeekFrom::Data(at)) {
                Ok(data) => data,
                Err(Errno::NXIO) => u64::MAX,
                // Nobody knows.
                Err(Errno::INVAL) => at,
                Err(e) => return Err(e),
            };
        }
        let piece = want.min(self.size - at);
        Ok((self.data >= at + piece).then_some(piece))
    }
}

fn is_zero(piece: &[u8]) -> bool {
    const ZEROS: [u8; 4096] = [0; 4096];
    piece.chunks(ZEROS.len()).all(|part| ZEROS.get(..part.len()) == Some(part))
}

/// A directory whose digests are known.
#[derive(Debug, Default)]
pub struct HashedDir {
    /// Its path.
    pub path: Vec<u8>,
    /// The filesystem it is on.
    pub dev: u64,
    /// Its entries.
    pub listing: Vec<u8>,
    /// One for each.
    pub digests: Vec<Digest>,
}

/// Whether what was read is what was listed: nothing about it has changed.
pub fn is_same(listed: &Entry<'_>, st: &Stat) -> bool {
    Entry { flags: listed.flags, ..Entry::of_stat(listed.name, st) } == *listed
}

/// Whether an error means that the entry vanished or was replaced, or that hashing was cancelled.
pub fn is_excused(e: Errno) -> bool {
    matches!(e, Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::NXIO | Errno::CANCELED)
}

/// 24 bytes of one hash, 8 of another.
pub fn join(content: &[u8; 32], attributes: &[u8; 32]) -> Sum {
    let mut sum = *content;
    sum.iter_mut().skip(24).zip(attributes).for_each(|(to, from)| *to = *from);
    sum
}

/// The same, where the second is a digest already.
pub fn join_tail(content: &[u8; 32], digest: &Sum) -> Sum {
    let mut joined = *content;
    joined.iter_mut().zip(digest).skip(24).for_each(|(to, from)| *to = *from);
    joined
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::unix::fs::FileExt;

    use super::*;

    #[test]
    fn holes_count_as_the_zeros_that_they_are_and_their_places_count() {
        let dir = tempfile::tempdir().unwrap();
        let tree = Tree::open(dir.path()).unwrap();
        let (filter, temp) = (Filter::new(&[]).unwrap(), TempNames::of_job("j"));
        let (side, leave) = (Side::Source, || true);
        let hasher = TreeHasher {
            tree: &tree,
            side,
            filter: &filter,
            temp: &temp,
            privileged: false,
            leave: &leave,
            owners: None,
        };
        let size = 5 * READ as u64 + 77;
        let hash = |written: &[u64], sparse: bool| {
            let file = File::create_new(dir.path().join("f")).unwrap();
            match sparse {
                true => file.set_len(size).unwrap(),
                false => file.write_all_at(&vec![0; size as usize], 0).unwrap(),
            }
            written.iter().for_each(|at| file.write_all_at(b"x", *at).unwrap());
            file.sync_all().unwrap();
            let fd = File::open(dir.path().join("f")).unwrap().into();
            std::fs::remove_file(dir.path().join("f")).unwrap();
            let whole = hasher.hash_range(&fd, 0, u64::MAX / 2, &mut Vec::new()).unwrap();
            let end = hasher.hash_range(&fd, 4 * READ as u64, 8 << 20, &mut Vec::new()).unwrap();
            (whole, end)
        };
        for written in [&[][..], &[0], &[size - 1], &[3 * READ as u64 + 5, size - 1]] {
            assert_eq!(hash(written, true), hash(written, false), "{written:?}");
        }
        assert_ne!(hash(&[0], true).0, hash(&[READ as u64], true).0, "the same byte elsewhere");
        assert_ne!(hash(&[], true).0, hash(&[0], true).0);
    }
}
