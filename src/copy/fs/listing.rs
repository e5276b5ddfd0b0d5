//! Directory listings packed into bytes: what a scan finds, what the manifest keeps, what a target reports.
//!
//! Owns the encoding, the order (bytewise by name) and the comparison of two listings. A million entries fit into some
//! tens of megabytes, and a directory in which nothing changed encodes to the same bytes as before.

use rustix::fs::{FileType, Stat};

use super::path;

/// Which filesystem something is on.
#[allow(clippy::unnecessary_cast, reason = "its width differs between architectures")]
pub fn dev_of(st: &Stat) -> u64 {
    st.st_dev as u64
}

/// Seconds and nanoseconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, serde::Serialize, serde::Deserialize)]
pub struct FileTime {
    /// Seconds, negative before 1970.
    pub sec: i64,
    /// Nanoseconds within the second.
    pub nsec: u32,
}

/// Last seconds that filesystems can keep: 32 bits signed and unsigned, 34 bits (ext4), the end of FAT's calendar, xfs.
const LAST: [i64; 5] = [0x7fff_ffff, 0xffff_ffff, 0x3_7fff_ffff, 4_354_819_198, 16_299_260_424];
/// First seconds.
const FIRST: [i64; 3] = [-0x8000_0000, 0, 315_532_800];
/// Units in nanoseconds to which filesystems round down, the last of them two seconds.
const UNITS: [i128; 7] = [100, 1_000, 1_000_000, 10_000_000, 100_000_000, 1_000_000_000, 2_000_000_000];

impl FileTime {
    /// Whether a filesystem that cannot keep this time may make that one of it: rounded down, or the nearest that it can keep.
    pub fn may_be_kept_as(&self, kept: Self) -> bool {
        let nanos = |time: &Self| i128::from(time.sec) * 1_000_000_000 + i128::from(time.nsec);
        let (wanted, have) = (nanos(self), nanos(&kept));
        let clamped = wanted > have && LAST.contains(&kept.sec) || wanted < have && FIRST.contains(&kept.sec);
        clamped || UNITS.iter().any(|unit| wanted - wanted.rem_euclid(*unit) == have)
    }
}

impl std::fmt::Display for FileTime {
    /// `2038-01-19 03:14:07.000000000 UTC`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (days, second) = (self.sec.div_euclid(86_400), self.sec.rem_euclid(86_400));
        // Eras of 400 years that begin in March, so that the leap day is the last of its year.
        let shifted = i128::from(days) + 719_468;
        let (era, day) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
        let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
        let of_year = day - (365 * year + year / 4 - year / 100);
        let month = (5 * of_year + 2) / 153;
        let (date, month) = (of_year - (153 * month + 2) / 5 + 1, if month < 10 { month + 3 } else { month - 9 });
        let year = year + era * 400 + i128::from(month <= 2);
        let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
        write!(f, "{year:04}-{month:02}-{date:02} {hour:02}:{minute:02}:{second:02}.{:09} UTC", self.nsec)
    }
}

/// Bytes of a listing in one frame.
const PER_FRAME: usize = 1 << 20;

/// The target may not have what the entry says: take it again.
pub const DIRTY: u8 = 1;
/// The source has more than one name for the inode.
pub const LINKED: u8 = 2;
/// A hash of each block of the file is kept beside the manifest.
pub const BLOCKS: u8 = 4;
/// The directory is on another filesystem than its parent.
pub const MOUNT: u8 = 8;
/// The target has it, but what is in it was never compared with the source.
pub const FOREIGN: u8 = 16;
/// The target has it and the source does not: it was not to be removed.
pub const GONE: u8 = 32;
/// Another filesystem is mounted on the directory, and what is in that is not carried.
pub const LEFT_OUT: u8 = 64;
/// An entry with any of these has to be looked at again, whatever happens to it.
pub const RECHECK: u8 = DIRTY | FOREIGN | GONE;

/// One entry of a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry<'a> {
    /// Its name.
    pub name: &'a [u8],
    /// [`DIRTY`], [`LINKED`], [`BLOCKS`], [`MOUNT`], [`FOREIGN`], [`GONE`], [`LEFT_OUT`].
    pub flags: u8,
    /// Type and permissions.
    pub mode: u32,
    /// Inode.
    pub ino: u64,
    /// Bytes of a regular file, 0 of everything else.
    pub size: u64,
    /// Time of the last change of its content.
    pub mtime: FileTime,
    /// Time of the last change of anything about it.
    pub ctime: FileTime,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// What a device node stands for.
    pub rdev: u64,
}

impl<'a> Entry<'a> {
    /// What `stat` says about `name`.
    #[allow(clippy::unnecessary_cast, reason = "the widths of these fields differ between architectures")]
    pub fn of_stat(name: &'a [u8], st: &Stat) -> Self {
        let kind = FileType::from_raw_mode(st.st_mode);
        let is_device = matches!(kind, FileType::CharacterDevice | FileType::BlockDevice);
        Self {
            name,
            flags: if st.st_nlink as u64 > 1 && kind != FileType::Directory { LINKED } else { 0 },
            mode: st.st_mode,
            ino: st.st_ino as u64,
            size: if kind == FileType::RegularFile { st.st_size as u64 } else { 0 },
            mtime: FileTime { sec: st.st_mtime as i64, nsec: st.st_mtime_nsec as u32 },
            ctime: FileTime { sec: st.st_ctime as i64, nsec: st.st_ctime_nsec as u32 },
            uid: st.st_uid,
            gid: st.st_gid,
            rdev: if is_device { st.st_rdev as u64 } else { 0 },
        }
    }

    /// Its type.
    pub fn kind(&self) -> FileType {
        FileType::from_raw_mode(self.mode)
    }

    /// Whether it is a directory.
    pub fn is_dir(&self) -> bool {
        self.kind() == FileType::Directory
    }

    /// Whether it is a regular file.
    pub fn is_file(&self) -> bool {
        self.kind() == FileType::RegularFile
    }

    /// Whether the target has all of it, going by the source's `known` record of what it sent.
    pub fn is_covered_by(&self, known: &Entry<'_>) -> bool {
        let same = Entry { flags: self.flags, ..*known };
        known.flags & RECHECK == 0 && *self == same
    }

    /// Appends its encoding.
    pub fn encode(&self, out: &mut Vec<u8>) {
        put(out, self.name.len() as u64);
        out.extend_from_slice(self.name);
        out.push(self.flags);
        put(out, u64::from(self.mode));
        put(out, self.ino);
        put(out, self.size);
        put_stamp(out, self.mtime);
        put_stamp(out, self.ctime);
        put(out, u64::from(self.uid));
        put(out, u64::from(self.gid));
        put(out, self.rdev);
    }

    /// Takes one encoded entry off the front of `bytes`; `None` when they are not one.
    pub fn take(bytes: &mut &'a [u8]) -> Option<Self> {
        let len = usize::try_from(take(bytes)?).ok()?;
        let (name, rest) = bytes.split_at_checked(len)?;
        let (flags, rest) = rest.split_first()?;
        *bytes = rest;
        Some(Self {
            name,
            flags: *flags,
            mode: u32::try_from(take(bytes)?).ok()?,
            ino: take(bytes)?,
            size: take(bytes)?,
            mtime: take_stamp(bytes)?,
            ctime: take_stamp(bytes)?,
            uid: u32::try_from(take(bytes)?).ok()?,
            gid: u32::try_from(take(bytes)?).ok()?,
            rdev: take(bytes)?,
        })
    }
}

/// An entry that owns its name.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct OwnedEntry(Vec<u8>);

impl OwnedEntry {
    /// A copy of `entry`.
    pub fn new(entry: &Entry<'_>) -> Self {
        let mut bytes = Vec::new();
        entry.encode(&mut bytes);
        Self(bytes)
    }

    /// The entry; `None` never, unless the bytes came from elsewhere.
    pub fn get(&self) -> Option<Entry<'_>> {
        Entry::take(&mut &self.0[..])
    }
}

/// The entries of an encoded listing. Ends at the first byte that is not one.
#[derive(Debug, Clone, Copy, Default)]
pub struct Entries<'a>(pub &'a [u8]);

impl<'a> Iterator for Entries<'a> {
    type Item = Entry<'a>;

    fn next(&mut self) -> Option<Entry<'a>> {
        Entry::take(&mut self.0)
    }
}

/// Whether bytes from elsewhere are a listing: whole entries with valid names, in order, each name once.
pub fn is_valid(bytes: &[u8]) -> bool {
    let mut rest = bytes;
    let mut last: Option<&[u8]> = None;
    while !rest.is_empty() {
        let Some(entry) = Entry::take(&mut rest) else { return false };
        if !path::is_name(entry.name) || last.is_some_and(|l| l >= entry.name) {
            return false;
        }
        last = Some(entry.name);
    }
    true
}

/// A listing in pieces that fit into frames; an empty one is one piece.
pub fn split(listing: &[u8]) -> Vec<&[u8]> {
    let mut pieces = Vec::new();
    let mut rest = listing;
    loop {
        let mut end = rest;
        while rest.len() - end.len() < PER_FRAME && !end.is_empty() {
            if Entry::take(&mut end).is_none() {
                return pieces;
            }
        }
        pieces.push(rest.get(..rest.len() - end.len()).unwrap_or_default());
        if end.is_empty() {
            return pieces;
        }
        rest = end;
    }
}

/// One name in two listings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Merged<'a, 'b> {
    /// Only in the first.
    Left(Entry<'a>),
    /// Only in the second.
    Right(Entry<'b>),
    /// In both.
    Both(Entry<'a>, Entry<'b>),
}

/// Walks two listings side by side.
pub fn merge<'a, 'b>(left: &'a [u8], right: &'b [u8]) -> impl Iterator<Item = Merged<'a, 'b>> + use<'a, 'b> {
    let (mut left, mut right) = (Entries(left).peekable(), Entries(right).peekable());
    std::iter::from_fn(move || match (left.peek().copied(), right.peek().copied()) {
        (None, None) => None,
        (Some(l), Some(r)) if l.name == r.name => {
            left.next();
            right.next();
            Some(Merged::Both(l, r))
        }
        (Some(l), Some(r)) if l.name > r.name => {
            debug_assert!(l.name != r.name);
            right.next();
            Some(Merged::Right(r))
        }
        (Some(l), _) => {
            left.next();
            Some(Merged::Left(l))
        }
        (None, Some(r)) => {
            right.next();
            Some(Merged::Right(r))
        }
    })
}

/// Appends a variable-length number.
pub fn put(out: &mut Vec<u8>, mut n: u64) {
    while n >= 0x80 {
        out.push(n as u8 | 0x80);
        n >>= 7;
    }
    out.push(n as u8);
}

/// Takes a variable-length number off the front.
pub fn take(bytes: &mut &[u8]) -> Option<u64> {
    let mut n = 0u64;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        n |= u64::from(byte & 0x7f).checked_shl(shift)?;
        if byte & 0x80 == 0 {
            return Some(n);
        }
    }
    None
}

fn put_stamp(out: &mut Vec<u8>, stamp: FileTime) {
    out.extend_from_slice(&stamp.sec.to_le_bytes());
    out.extend_from_slice(&stamp.nsec.to_le_bytes());
}

fn take_stamp(bytes: &mut &[u8]) -> Option<FileTime> {
    let (sec, rest) = bytes.split_first_chunk::<8>()?;
    let (nsec, rest) = rest.split_first_chunk::<4>()?;
    *bytes = rest;
    Some(FileTime { sec: i64::from_le_bytes(*sec), nsec: u32::from_le_bytes(*nsec) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_shown_as_people_write_them() {
        for (sec, shown) in [
            (0, "1970-01-01 00:00:00"),
            (0x7fff_ffff, "2038-01-19 03:14:07"),
            (-1, "1969-12-31 23:59:59"),
            (951_782_400, "2000-02-29 00:00:00"),
            (16_299_260_424, "2486-07-02 20:20:24"),
            (-2_203_891_200, "1900-03-01 00:00:00"),
        ] {
            assert_eq!(FileTime { sec, nsec: 5 }.to_string(), format!("{shown}.000000005 UTC"));
        }
    }

    #[test]
    fn only_what_a_filesystem_may_have_made_of_a_time_is_taken_for_it() {
        let of = |sec, nsec| FileTime { sec, nsec };
        for (wanted, kept, may) in [
            (of(100, 123_456_789), of(100, 0), true),
            (of(100, 123_456_789), of(100, 123_456_700), true),
            (of(101, 5), of(100, 0), true),
            (of(2_209_089_845, 6), of(0x7fff_ffff, 0), true),
            (of(-9_999_999_999, 0), of(-0x8000_0000, 0), true),
            (of(100, 5), of(101, 0), false),
            (of(100, 123_456_789), of(100, 123_456_788), false),
            (of(2_209_089_845, 6), of(1_700_000_000, 0), false),
        ] {
            assert_eq!(wanted.may_be_kept_as(kept), may, "{wanted} as {kept}");
        }
    }
    use proptest::prelude::*;

    fn entry(name: &[u8], size: u64) -> Entry<'_> {
        Entry {
            name,
            flags: 0,
            mode: 0o100_644,
            ino: u64::MAX,
            size,
            mtime: FileTime { sec: -5, nsec: 999_999_999 },
            ctime: FileTime { sec: 1 << 40, nsec: 1 },
            uid: u32::MAX,
            gid: 0,
            rdev: 0,
        }
    }

    fn listing(names: &std::collections::BTreeSet<Vec<u8>>) -> Vec<u8> {
        let mut out = Vec::new();
        names.iter().for_each(|n| entry(n, 1).encode(&mut out));
        out
    }

    #[test]
    fn only_an_untouched_entry_is_covered() {
        let now = entry(b"a", 1);
        assert!(now.is_covered_by(&now));
        assert!(now.is_covered_by(&Entry { flags: BLOCKS, ..now }));
        for other in [
            Entry { flags: DIRTY, ..now },
            Entry { flags: FOREIGN, ..now },
            Entry { ino: 1, ..now },
            Entry { size: 2, ..now },
            Entry { ctime: FileTime { sec: 1 << 40, nsec: 2 }, ..now },
            Entry { mode: 0o100_600, ..now },
        ] {
            assert!(!now.is_covered_by(&other), "{other:?}");
        }
    }

    #[test]
    fn names_out_of_order_or_twice_are_refused() {
        let mut twice = Vec::new();
        entry(b"b", 1).encode(&mut twice);
        assert!(is_valid(&twice));
        let mut cut = twice.clone();
        cut.pop();
        assert!(!is_valid(&cut));
        entry(b"b", 1).encode(&mut twice);
        assert!(!is_valid(&twice));
        let mut slash = Vec::new();
        entry(b"a/b", 1).encode(&mut slash);
        assert!(!is_valid(&slash));
    }

    proptest! {
        #[test]
        fn numbers_come_back(n: u64) {
            let mut out = Vec::new();
            put(&mut out, n);
            prop_assert_eq!(take(&mut &out[..]), Some(n));
        }

        #[test]
        fn merging_sees_every_name_once(
            left in prop::collection::btree_set("[a-d]{1,3}".prop_map(String::into_bytes), 0..20),
            right in prop::collection::btree_set("[a-d]{1,3}".prop_map(String::into_bytes), 0..20),
        ) {
            let (l, r) = (listing(&left), listing(&right));
            let (mut seen_left, mut seen_right) = (Vec::new(), Vec::new());
            for pair in merge(&l, &r) {
                match pair {
                    Merged::Left(e) => { prop_assert!(!right.contains(e.name)); seen_left.push(e.name.to_vec()) }
                    Merged::Right(e) => { prop_assert!(!left.contains(e.name)); seen_right.push(e.name.to_vec()) }
                    Merged::Both(a, b) => {
                        prop_assert_eq!(a.name, b.name);
                        seen_left.push(a.name.to_vec());
                        seen_right.push(b.name.to_vec());
                    }
                }
            }
            prop_assert_eq!(seen_left, left.into_iter().collect::<Vec<_>>());
            prop_assert_eq!(seen_right, right.into_iter().collect::<Vec<_>>());
        }

        #[test]
        fn no_bytes_make_the_decoder_panic(bytes: Vec<u8>) {
            let _ = is_valid(&bytes);
            let _ = Entries(&bytes).count();
        }
    }
}
