//! Reading a large journal in several parts at once, with its records in order.
//!
//! Owns how it is divided, and how many parts may lie ready. Must never give out a record of a part in which anything is wrong as if all of it were
//! right: what is wrong, and what is torn, shows when the rest is read one frame after the other.

use std::num::NonZeroUsize;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use super::JournalError;
use super::format::{FRAME_HEADER, Head, Position, read_frames, read_header};
use crate::event::ReadRecord;

/// About so many bytes are a part.
const PART: usize = 1 << 20;
/// So many parts of each reader lie ready at most.
const READY: usize = 4;

/// Gives all whole records of a journal to `take`, in order; returns how far it is whole.
pub fn each<'a, E: From<JournalError>>(
    path: &str,
    bytes: &'a [u8],
    mut take: impl FnMut(ReadRecord<'a>) -> Result<(), E>,
) -> Result<Position, E> {
    let at = read_header(path, bytes)?;
    let (frames, mut position) = (bytes.get(at..).unwrap_or_default(), Position::default());
    take_parts(frames, PART, &mut position, &mut take)?;
    let rest = usize::try_from(position.offset).ok().and_then(|read| frames.get(read..)).unwrap_or_default();
    position.offset += at as u64;
    read_frames(path, rest, &mut position, |record, _| take(record))?;
    Ok(position)
}

/// Takes the records of all parts up to the first in which anything is wrong or torn; takes none where there is but one part.
fn take_parts<'a, E>(
    frames: &'a [u8],
    size: usize,
    position: &mut Position,
    take: &mut impl FnMut(ReadRecord<'a>) -> Result<(), E>,
) -> Result<(), E> {
    let parts = parts(frames, size);
    if parts.len() < 2 {
        return Ok(());
    }
    let readers = std::thread::available_parallelism().map_or(1, NonZeroUsize::get).min(parts.len());
    std::thread::scope(|scope| {
        let begin = |reader: usize| {
            let (sender, receiver) = sync_channel(READY);
            let own: Vec<Part<'a>> = parts.iter().skip(reader).step_by(readers).copied().collect();
            scope.spawn(move || read(own, &sender));
            receiver
        };
        let receivers: Vec<Receiver<Whole<'a>>> = (0..readers).map(begin).collect();
        for receiver in receivers.iter().cycle().take(parts.len()) {
            let Ok(Whole { records, length, head }) = receiver.recv() else { break };
            position.records += records.len() as u64;
            position.offset += length as u64;
            position.head = head;
            records.into_iter().try_for_each(&mut *take)?;
        }
        Ok(())
    })
}

/// Frames, and the payload of the frame before them.
#[derive(Clone, Copy)]
struct Part<'a> {
    frames: &'a [u8],
    before: &'a [u8],
}

/// A part in which nothing is wrong.
struct Whole<'a> {
    records: Vec<ReadRecord<'a>>,
    length: usize,
    head: Head,
}

/// Reads parts up to the first that is not whole, or until nobody wants them any more.
fn read<'a>(parts: Vec<Part<'a>>, to: &SyncSender<Whole<'a>>) {
    for part in parts {
        let Some(whole) = whole(part) else { return };
        if to.send(whole).is_err() {
            return;
        }
    }
}

fn whole(part: Part<'_>) -> Option<Whole<'_>> {
    let length = part.frames.len();
    let (mut records, mut position) = (Vec::new(), Position { head: Head::of(part.before), ..Position::default() });
    let read = read_frames("", part.frames, &mut position, |record, _| -> Result<(), JournalError> {
        records.push(record);
        Ok(())
    });
    let is_whole = read.is_ok() && position.offset == length as u64;
    is_whole.then_some(Whole { records, length, head: position.head })
}

/// Parts of about that size, by the lengths that the frames say they have; nothing of them is believed yet.
fn parts(frames: &[u8], size: usize) -> Vec<Part<'_>> {
    let mut parts = Vec::new();
    let (mut begin, mut before, mut at): (usize, &[u8], usize) = (0, b"", 0);
    while let Some(length) = frames.get(at..).and_then(|rest| rest.first_chunk()).map(|word| u32::from_le_bytes(*word))
    {
        let payload = at + FRAME_HEADER;
        let next = payload + length as usize;
        let Some(last) = frames.get(payload..next) else { break };
        if next - begin >= size && next < frames.len() {
            parts.push(Part { frames: frames.get(begin..next).unwrap_or_default(), before });
            (begin, before) = (next, last);
        }
        at = next;
    }
    parts.push(Part { frames: frames.get(begin..).unwrap_or_default(), before });
    parts
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use proptest::prelude::*;

    use super::*;
    use crate::event::{Event, Record};
    use crate::journal::format::{encode, hash};

    /// The frames of a journal of so many records, with texts of that letter.
    fn frames(count: u64, letter: &str) -> Vec<u8> {
        let (mut frames, mut head) = (Vec::new(), hash(b""));
        for seq in 0..count {
            let event = Event::Held { step: None, why: letter.repeat(seq as usize % 97), hint: None, stuck: false };
            let (frame, next) = encode(&Record { seq, at: Timestamp::UNIX_EPOCH, event }, &head).unwrap();
            frames.extend(frame);
            head = next;
        }
        frames
    }

    fn one_by_one(frames: &[u8]) -> (Vec<Record>, Result<(), JournalError>, Position) {
        let (mut records, mut position) = (Vec::new(), Position::default());
        let read = read_frames("j", frames, &mut position, |record, _| {
            records.push(record.into());
            Ok(())
        });
        (records, read, position)
    }

    /// What is taken of parts of that size, and where that ends.
    fn in_parts(frames: &[u8], size: usize) -> (Vec<Record>, Position) {
        let (mut records, mut position) = (Vec::new(), Position::default());
        let took = take_parts(frames, size, &mut position, &mut |record| {
            records.push(record.into());
            Ok::<(), JournalError>(())
        });
        took.unwrap();
        (records, position)
    }

    #[test]
    fn parts_are_the_whole() {
        let frames = frames(300, "x");
        let (whole, _, end) = one_by_one(&frames);
        for size in [400, 5_000, frames.len() / 2] {
            assert!(parts(&frames, size).len() > 1);
            let (records, position) = in_parts(&frames, size);
            assert_eq!(records, whole, "{size}");
            assert_eq!((position.offset, position.records, position.head), (end.offset, 300, end.head.clone()));
        }
        assert!(in_parts(&frames, frames.len()).0.is_empty(), "nothing to be had from one part");
        assert!(in_parts(&[], 1).0.is_empty());
    }

    #[test]
    fn parts_of_two_journals_are_no_journal() {
        let (one, other) = (frames(100, "x"), frames(100, "y"));
        let size = one.len() / 2;
        let middle = parts(&one, size)[0].frames.len();
        let begin = one_by_one(&one[..middle]).0;
        assert_eq!(in_parts(&[&one[..middle], &other[middle..]].concat(), size).0, begin);
        assert_eq!(in_parts(&one, size).0.len(), 100);
    }

    #[test]
    fn who_takes_no_more_is_given_no_more() {
        let frames = frames(2_000, "x");
        let mut taken = 0;
        let took = take_parts(&frames, 1_000, &mut Position::default(), &mut |_| {
            taken += 1;
            if taken == 500 { Err("enough") } else { Ok(()) }
        });
        assert_eq!((took, taken), (Err("enough"), 500));
    }

    proptest! {
        #[test]
        fn what_is_damaged_or_torn_is_left_to_the_reader_that_names_it(at in any::<prop::sample::Index>(), bit in 0..8_u8, cut in any::<bool>()) {
            let mut frames = frames(60, "x");
            let at = at.index(frames.len());
            if cut { frames.truncate(at) } else { frames[at] ^= 1 << bit }
            let (whole, why, _) = one_by_one(&frames);
            let (records, position) = in_parts(&frames, 1_000);
            prop_assert_eq!(&records[..], &whole[..records.len()]);
            prop_assert_eq!(position.records, records.len() as u64);
            // Read on where the parts end, it is as if it had been read from its start.
            let (mut rest, mut position) = (records, position);
            let offset = usize::try_from(position.offset).unwrap();
            let read = read_frames("j", &frames[offset..], &mut position, |record, _| { rest.push(record.into()); Ok(()) });
            prop_assert_eq!(rest, whole);
            prop_assert_eq!(read.map_err(|e: JournalError| e.to_string()), why.map_err(|e| e.to_string()));
        }
    }
}
