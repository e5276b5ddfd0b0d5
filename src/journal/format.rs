//! The format: a header line, then frames. A frame is the length of its payload, the CRC-32 of the payload, the CRC-32 of these
//! two words, and the payload: a JSON record that carries the SHA-256 of the one before.
//!
//! The second checksum tells a frame that was torn by a crash from one whose length was altered.

use std::cmp::Ordering;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::blob::BlobError;
use super::{parts, quick};
use crate::event::{Event, IllegalTransition, ReadEvent, ReadRecord, Record};

/// The version that this program writes, and the only one it reads.
pub const VERSION: u32 = 2;
/// No record is larger. What may be larger is kept beside the journal, as a blob.
pub const MAX_FRAME: usize = 64 << 20;

pub(super) const FRAME_HEADER: usize = 12;
const MAGIC: &str = "migrate-journal ";

/// Why a journal cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// The file cannot be read or written.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: String,
        /// What the system says.
        source: std::io::Error,
    },
    /// Not a journal.
    #[error("{path} is not a journal of migrate")]
    NotAJournal {
        /// The file.
        path: String,
    },
    /// Written by a newer program.
    #[error("{path} has journal format {found}; this program reads {VERSION}: use the newer `migrate` that wrote it")]
    Newer {
        /// The file.
        path: String,
        /// Its format.
        found: u32,
    },
    /// Written by an older program, whose steps are recorded in another shape.
    #[error("{path} has journal format {found}; this program reads {VERSION}: use the older `migrate` that wrote it")]
    Older {
        /// The file.
        path: String,
        /// Its format.
        found: u32,
    },
    /// Bytes that no crash can explain.
    #[error(
        "{path}: frame {frame} at byte {offset} is damaged: {why}. A crash can only tear the last frame: restore the file from a copy"
    )]
    Damaged {
        /// The file.
        path: String,
        /// Number of the frame, from 0.
        frame: u64,
        /// Where it begins.
        offset: u64,
        /// What is wrong with it.
        why: String,
    },
    /// What a record names is not beside it, or is not what was written.
    #[error("{path}: {source}")]
    Blob {
        /// The file.
        path: String,
        /// What is wrong with it.
        source: BlobError,
    },
    /// Records that cannot follow each other.
    #[error("{path}: {source}")]
    Illegal {
        /// The file.
        path: String,
        /// Which and why.
        source: IllegalTransition,
    },
    /// Another process has it open.
    #[error("{path} is in use by another controller")]
    Locked {
        /// The file.
        path: String,
    },
    /// The store that keeps it does not do what it should.
    #[error("{place}: {why}")]
    Store {
        /// Where it is.
        place: String,
        /// Why.
        why: String,
        /// What to do next.
        hint: String,
    },
    /// This controller may not write any more.
    #[error("{why}")]
    Fenced {
        /// Why.
        why: String,
    },
    /// An earlier write failed.
    #[error("{path}: an earlier write failed; nothing more is written")]
    Poisoned {
        /// The file.
        path: String,
    },
}

impl JournalError {
    /// What to do next.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Io { .. } | Self::Poisoned { .. } => Some(
                "nothing more is begun, and nothing was done that is not on disk as intended: make room or mend the file system, \
                 then the same command goes on from there"
                    .into(),
            ),
            Self::Locked { .. } => Some("`migrate lock show` tells who works on it".into()),
            Self::Fenced { .. } => Some("`migrate status` shows where the run stands; `migrate apply` goes on with it".into()),
            Self::Store { hint, .. } | Self::Blob { source: BlobError::Store { hint, .. }, .. } => Some(hint.clone()),
            Self::Blob { source: BlobError::Io { .. }, .. } => Some("make room or mend the file system".into()),
            Self::Blob { .. } => Some("without it nobody knows what the run does: restore `blobs` beside the journal from a copy".into()),
            Self::NotAJournal { .. }
            | Self::Newer { .. }
            | Self::Older { .. }
            | Self::Damaged { .. }
            | Self::Illegal { .. } => None,
        }
    }
}

/// A record with the hash of the one before it. Spelled out, because a flattened record is read twice.
#[derive(Serialize)]
struct Link<'a> {
    prev: &'a str,
    seq: u64,
    at: Timestamp,
    event: &'a Event,
}

/// The same, read.
#[derive(Deserialize)]
struct ReadLink<'a> {
    prev: &'a str,
    seq: u64,
    at: Timestamp,
    #[serde(borrow, deserialize_with = "quick::event")]
    event: ReadEvent<'a>,
}

/// The SHA-256 of a payload, hex; the chain begins with that of nothing.
pub fn hash(payload: &[u8]) -> String {
    Head::of(payload).to_string()
}

/// The same where it is looked at and not kept: the digits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Head([u8; 64]);

impl Head {
    /// That of a payload.
    pub(super) fn of(payload: &[u8]) -> Self {
        let digit = |n: u8| if n < 10 { b'0' + n } else { b'a' - 10 + n };
        let mut digits = [0; 64];
        for (pair, byte) in digits.as_chunks_mut::<2>().0.iter_mut().zip(Sha256::digest(payload)) {
            *pair = [digit(byte >> 4), digit(byte & 15)];
        }
        Self(digits)
    }
}

impl std::fmt::Display for Head {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(std::str::from_utf8(&self.0).unwrap_or_default())
    }
}

/// The first line of a journal.
pub fn header() -> String {
    format!("{MAGIC}{VERSION}\n")
}

/// One frame, and the hash that the next one carries.
pub fn encode(record: &Record, prev: &str) -> Result<(Vec<u8>, String), std::io::Error> {
    let payload = serde_json::to_vec(&Link { prev, seq: record.seq, at: record.at, event: &record.event })?;
    let length = u32::try_from(payload.len())
        .ok()
        .filter(|l| *l as usize <= MAX_FRAME)
        .ok_or_else(|| std::io::Error::other("the record is too large"))?;
    let mut frame = Vec::with_capacity(payload.len() + FRAME_HEADER);
    frame.extend_from_slice(&length.to_le_bytes());
    frame.extend_from_slice(&crc32fast::hash(&payload).to_le_bytes());
    let check = crc32fast::hash(&frame);
    frame.extend_from_slice(&check.to_le_bytes());
    frame.extend_from_slice(&payload);
    Ok((frame, hash(&payload)))
}

/// What a journal's bytes hold.
#[derive(Default)]
pub struct Decoded {
    /// All whole records.
    pub records: Vec<Record>,
    /// The SHA-256 of each, hex.
    pub hashes: Vec<String>,
    /// Bytes up to the end of the last whole frame; what is behind was torn by a crash.
    pub length: u64,
}

impl Decoded {
    /// Hash that the next record carries.
    pub fn head(&self) -> String {
        self.hashes.last().cloned().unwrap_or_else(|| hash(b""))
    }
}

/// Reads a whole journal.
pub fn decode(path: &str, bytes: &[u8]) -> Result<Decoded, JournalError> {
    match scan(path, bytes) {
        (decoded, None) => Ok(decoded),
        (_, Some(error)) => Err(error),
    }
}

/// All whole records of a journal.
pub fn records(path: &str, bytes: &[u8]) -> Result<Vec<Record>, JournalError> {
    let mut records = Vec::new();
    parts::each(path, bytes, |record| -> Result<(), JournalError> {
        records.push(record.into());
        Ok(())
    })?;
    Ok(records)
}

/// Reads a journal up to its end, or to the first thing that is wrong with it.
pub fn scan(path: &str, bytes: &[u8]) -> (Decoded, Option<JournalError>) {
    let (mut decoded, mut position) = (Decoded::default(), Position::default());
    let read = read_header(path, bytes).and_then(|at| {
        position.offset = at as u64;
        read_frames(path, bytes.get(at..).unwrap_or_default(), &mut position, |record, head| {
            decoded.records.push(record.into());
            decoded.hashes.push(head.to_string());
            Ok(())
        })
    });
    decoded.length = position.offset;
    (decoded, read.err())
}

/// The first record, if there is one.
pub fn first(path: &str, bytes: &[u8]) -> Result<Option<Record>, JournalError> {
    let at = read_header(path, bytes)?;
    let damaged = |why| JournalError::Damaged { path: path.to_owned(), frame: 0, offset: at as u64, why };
    match split_frame(bytes, at).map_err(damaged)? {
        Some((payload, _)) => read_payload(payload, &Head::of(b"")).map(|record| Some(record.into())).map_err(damaged),
        None => Ok(None),
    }
}

/// How far a journal has been read.
#[derive(Debug, Clone)]
pub struct Position {
    /// Bytes that have been read.
    pub offset: u64,
    /// Records among them.
    pub records: u64,
    /// Hash that the next one carries.
    pub(super) head: Head,
}

impl Position {
    /// Hash that the next record carries.
    pub fn head(&self) -> String {
        self.head.to_string()
    }
}

impl Default for Position {
    fn default() -> Self {
        Self { offset: 0, records: 0, head: Head::of(b"") }
    }
}

/// Reads on in a journal that grows, from `position` on, where `bytes` begin; what is not whole yet is left for the next time.
pub fn read_on(path: &str, bytes: &[u8], position: &mut Position) -> Result<Vec<Record>, JournalError> {
    let mut rest = bytes;
    if position.offset == 0 {
        // It is being made.
        if bytes.len() < header().len() && header().as_bytes().starts_with(bytes) {
            return Ok(Vec::new());
        }
        let at = read_header(path, bytes)?;
        rest = bytes.get(at..).unwrap_or_default();
        position.offset = at as u64;
    }
    let mut records = Vec::new();
    read_frames(path, rest, position, |record, _| -> Result<(), JournalError> {
        records.push(record.into());
        Ok(())
    })?;
    Ok(records)
}

/// Reads whole frames, of which the first begins at `position`, which moves on with each that was taken.
pub(super) fn read_frames<'a, E: From<JournalError>>(
    path: &str,
    bytes: &'a [u8],
    position: &mut Position,
    mut take: impl FnMut(ReadRecord<'a>, &Head) -> Result<(), E>,
) -> Result<(), E> {
    let mut at = 0;
    loop {
        let next = match split_frame(bytes, at) {
            Ok(None) => return Ok(()),
            Ok(Some((payload, next))) => {
                read_payload(payload, &position.head).map(|record| (record, Head::of(payload), next))
            }
            Err(why) => Err(why),
        };
        let (record, head, next) = next.map_err(|why| JournalError::Damaged {
            path: path.to_owned(),
            frame: position.records,
            offset: position.offset,
            why,
        })?;
        take(record, &head)?;
        position.head = head;
        position.records += 1;
        position.offset += (next - at) as u64;
        at = next;
    }
}

fn read_payload<'a>(payload: &'a [u8], head: &Head) -> Result<ReadRecord<'a>, String> {
    let ReadLink { prev, seq, at, event } = serde_json::from_slice(payload).map_err(|e| e.to_string())?;
    match prev.as_bytes() == head.0 {
        true => Ok(ReadRecord { seq, at, event }),
        false => Err("it does not follow the record before it".to_owned()),
    }
}

pub(super) fn read_header(path: &str, bytes: &[u8]) -> Result<usize, JournalError> {
    let not = || JournalError::NotAJournal { path: path.to_owned() };
    let line = bytes.get(..64.min(bytes.len())).unwrap_or_default();
    let end = line.iter().position(|b| *b == b'\n').ok_or_else(not)?;
    let text = line.get(..end).and_then(|l| std::str::from_utf8(l).ok()).ok_or_else(not)?;
    let found: u32 = text.strip_prefix(MAGIC).and_then(|v| v.parse().ok()).ok_or_else(not)?;
    match found.cmp(&VERSION) {
        Ordering::Equal => Ok(end + 1),
        Ordering::Greater => Err(JournalError::Newer { path: path.to_owned(), found }),
        Ordering::Less => Err(JournalError::Older { path: path.to_owned(), found }),
    }
}

/// The frame at `at` and where the next one begins. `Ok(None)`: it is the last one and torn.
fn split_frame(bytes: &[u8], at: usize) -> Result<Option<(&[u8], usize)>, String> {
    let rest = bytes.get(at..).unwrap_or_default();
    let Some((header, rest)) = rest.split_at_checked(FRAME_HEADER) else { return Ok(None) };
    let word = |from: usize| header.get(from..from + 4).and_then(|w| w.try_into().ok()).map_or(0, u32::from_le_bytes);
    if crc32fast::hash(header.get(..8).unwrap_or_default()) != word(8) {
        // A file system may extend a file and lose the data: then there are zeros to the end.
        let lost = header.iter().chain(rest).all(|b| *b == 0);
        return if lost { Ok(None) } else { Err("its header is wrong".into()) };
    }
    let length = word(0) as usize;
    if length > MAX_FRAME {
        return Err(format!("a length of {length}"));
    }
    let Some((payload, behind)) = rest.split_at_checked(length) else { return Ok(None) };
    match crc32fast::hash(payload) == word(4) {
        true => Ok(Some((payload, at + FRAME_HEADER + length))),
        false if behind.iter().all(|b| *b == 0) => Ok(None),
        false => Err("its checksum is wrong and more follows".into()),
    }
}
