//! What the kernel tells: fanotify events with the handles of the objects.
//!
//! Owns reading them out of bytes. Must never take an event that it does not understand for none.

/// One thing that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event<'a> {
    /// Something happened to `name` in the directory with this inode.
    Name(u64, &'a [u8]),
    /// Something happened to the object with this inode.
    Inode(u64),
    /// Events were dropped, or cannot be understood.
    Lost,
}

const METADATA: usize = 24;
const OVERFLOW: u64 = 0x4000;
/// `FAN_EVENT_INFO_TYPE_FID`, `…_DFID_NAME`, `…_DFID`.
const FID: u8 = 1;
const DFID_NAME: u8 = 2;
const DFID: u8 = 3;
/// `FILEID_INO32_GEN` (ext4, and xfs with small numbers), and the same with 64 bits (xfs).
const INO32: i32 = 1;
const INO64: i32 = 0x81;

/// Reads all events of one `read`.
pub fn parse(mut bytes: &[u8], each: &mut dyn FnMut(Event<'_>)) {
    while !bytes.is_empty() {
        let len = number(bytes, 0).map_or(0, |len| len as usize);
        match bytes.split_at_checked(len).filter(|_| len >= METADATA) {
            Some((event, rest)) => {
                if one(event, each).is_none() {
                    each(Event::Lost);
                }
                bytes = rest;
            }
            None => return each(Event::Lost),
        }
    }
}

fn one(event: &[u8], each: &mut dyn FnMut(Event<'_>)) -> Option<()> {
    let mask = u64::from_ne_bytes(*event.get(8..)?.first_chunk()?);
    if mask & OVERFLOW != 0 {
        return None;
    }
    let mut records = event.get(METADATA..)?;
    if records.is_empty() {
        return None;
    }
    while !records.is_empty() {
        let len = u16::from_ne_bytes(*records.get(2..)?.first_chunk()?) as usize;
        let (record, rest) = records.split_at_checked(len).filter(|_| len >= 20)?;
        records = rest;
        let kind = *record.first()?;
        if !matches!(kind, FID | DFID_NAME | DFID) {
            continue;
        }
        let (inode, behind) = inode(record.get(12..)?)?;
        each(Event::Inode(inode));
        if kind == DFID_NAME {
            let name = behind.split(|b| *b == 0).next().unwrap_or_default();
            if name != b"." && !name.is_empty() {
                each(Event::Name(inode, name));
            }
        }
    }
    Some(())
}

/// The inode in a file handle, and what follows the handle.
fn inode(handle: &[u8]) -> Option<(u64, &[u8])> {
    let len = number(handle, 0)? as usize;
    let kind = i32::from_ne_bytes(*handle.get(4..)?.first_chunk()?);
    let (bytes, behind) = handle.get(8..)?.split_at_checked(len)?;
    match kind {
        INO32 if len == 8 => Some((u64::from(number(bytes, 0)?), behind)),
        INO64 if len >= 12 => Some((u64::from_ne_bytes(*bytes.first_chunk()?), behind)),
        _ => None,
    }
}

fn number(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(*bytes.get(at..)?.first_chunk()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn record(kind: u8, handle_kind: i32, handle: &[u8], name: &[u8]) -> Vec<u8> {
        let mut body = vec![0; 8];
        body.extend_from_slice(&(handle.len() as u32).to_ne_bytes());
        body.extend_from_slice(&handle_kind.to_ne_bytes());
        body.extend_from_slice(handle);
        body.extend_from_slice(name);
        let mut out = vec![kind, 0];
        out.extend_from_slice(&(4 + body.len() as u16).to_ne_bytes());
        out.extend_from_slice(&body);
        out
    }

    fn event(mask: u64, records: &[Vec<u8>]) -> Vec<u8> {
        let records = records.concat();
        let mut out = (24 + records.len() as u32).to_ne_bytes().to_vec();
        out.extend_from_slice(&[3, 0, 24, 0]);
        out.extend_from_slice(&mask.to_ne_bytes());
        out.extend_from_slice(&[0xff; 8]);
        out.extend_from_slice(&records);
        out
    }

    fn all(bytes: &[u8]) -> Vec<String> {
        let mut seen = Vec::new();
        parse(bytes, &mut |event| seen.push(format!("{event:?}")));
        seen
    }

    #[test]
    fn names_and_inodes_are_read_from_handles() {
        let dir = record(DFID_NAME, INO32, &[7, 0, 0, 0, 1, 1, 1, 1], b"name\0\0\0\0");
        let file = record(FID, INO64, &[9, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1], b"");
        let both = event(2, &[dir, file]);
        assert_eq!(all(&both), ["Inode(7)", "Name(7, [110, 97, 109, 101])", "Inode(9)"]);
        let own = record(DFID_NAME, INO32, &[7, 0, 0, 0, 1, 1, 1, 1], b".\0");
        assert_eq!(all(&event(4, &[own])), ["Inode(7)"]);
    }

    #[test]
    fn what_is_dropped_or_not_understood_is_told() {
        assert_eq!(all(&event(OVERFLOW, &[])), ["Lost"]);
        assert_eq!(all(&event(2, &[record(FID, 0x4d, &[0; 20], b"")])), ["Lost"]);
        assert_eq!(all(&event(2, &[])), ["Lost"]);
        let whole = event(2, &[record(FID, INO32, &[7, 0, 0, 0, 1, 1, 1, 1], b"")]);
        for cut in 1..whole.len() {
            assert_eq!(all(&whole[..cut]), ["Lost"], "cut at {cut}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic_or_go_unnoticed(bytes in prop::collection::vec(any::<u8>(), 1..200)) {
            prop_assert!(!all(&bytes).is_empty());
        }
    }
}
