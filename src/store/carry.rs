//! Carrying a run from one store to another: byte for byte, so that chain and seals hold, and read again on the other side.

use super::{Kept, RunStore, StoreError};
use crate::event::Event;
use crate::journal::{JournalError, blob, format};
use crate::lock::Lease;

/// What was carried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Carried {
    /// How many records.
    pub records: u64,
    /// Whether it was there before.
    pub was_there: bool,
}

/// Carries a run that nobody works on. The lease is one of the store that it goes to.
pub fn carry(from: &dyn RunStore, to: &dyn RunStore, run: &str, lease: &Lease) -> Result<Carried, StoreError> {
    let kept = self::kept(from, run)?;
    let was_there = match to.journal(run, 0) {
        Ok(there) if there.starts_with(&kept.journal) => true,
        Ok(_) => return Err(refused(to, run, "another run of that name is there already", "nothing was carried")),
        Err(StoreError::NoRun { .. }) => false,
        Err(e) => return Err(e),
    };
    if !was_there {
        to.adopt(run, &kept, lease)?;
    }
    // Read again as it is there now: it may have gone on since.
    let there = self::kept(to, run)?;
    let same = there.journal.starts_with(&kept.journal)
        && there.checkpoints.starts_with(&kept.checkpoints)
        && there.chunks == kept.chunks;
    if !same {
        return Err(refused(to, run, "it reads back otherwise than it was written", "the run stays where it was"));
    }
    super::state(to, run)?;
    Ok(Carried { records: kept.records, was_there })
}

/// All of a run. A record that a crash has torn is no part of it, and neither is such a checkpoint.
fn kept(store: &dyn RunStore, run: &str) -> Result<Kept, StoreError> {
    let place = store.place(run);
    let (mut checkpoints, mut journal) = (store.checkpoints(run)?, store.journal(run, 0)?);
    let decoded = format::decode(&place, &journal)?;
    journal.truncate(usize::try_from(decoded.length).unwrap_or(usize::MAX));
    checkpoints.truncate(checkpoints.iter().rposition(|b| *b == b'\n').map_or(0, |n| n + 1));
    let (there, mut chunks) = (store.chunks(run), Vec::new());
    if let Some(Event::Started(started)) = decoded.records.first().map(|record| &record.event) {
        for named in std::iter::once(&started.graph).chain(&started.texts) {
            // Their hashes are compared, and that they are what was named.
            let whole = blob::fetch_bytes(there.as_ref(), named);
            whole.map_err(|source| JournalError::Blob { path: place.clone(), source })?;
            for hash in &named.chunks {
                let chunk = there.get(hash).map_err(|source| JournalError::Blob { path: place.clone(), source })?;
                chunks.push((hash.clone(), chunk));
            }
        }
    }
    Ok(Kept { records: decoded.records.len() as u64, head: decoded.head(), journal, checkpoints, chunks })
}

fn refused(to: &dyn RunStore, run: &str, why: &str, hint: &str) -> StoreError {
    StoreError::Unusable { place: to.place(run), why: why.to_owned(), hint: hint.to_owned() }
}
