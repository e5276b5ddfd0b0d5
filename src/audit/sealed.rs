//! A journal whose records are sealed by checkpoints as they are written.

use super::checkpoint::{self, Checkpoint, EVERY};
use super::copies::Copies;
use super::key::AuditKey;
use super::verify::{self, Question};
use crate::event::{Event, Operator, Record};
use crate::journal::{Chunks, JournalError, Log, format};
use crate::store::RunWriter;

/// Why a run cannot be taken up under seal.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    /// The journal, or the file of checkpoints.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The journal is not what was signed.
    #[error("the journal of run {run} is not what its checkpoints have sealed: {what}")]
    Changed {
        /// The run.
        run: String,
        /// The first thing that is wrong.
        what: String,
    },
}

/// Whether a record is sealed as soon as it is written: everything but the steps' own comings and goings.
pub fn seals(event: &Event) -> bool {
    !matches!(event, Event::Intent { .. } | Event::Outcome { .. })
}

/// A journal that writes a signed checkpoint after every record that [`seals`], and after every [`EVERY`] others.
pub struct Sealed {
    journal: Box<dyn RunWriter>,
    run: String,
    by: Operator,
    key: AuditKey,
    copies: Copies,
    /// Number of the next checkpoint.
    next: u64,
    /// What it carries of the one before.
    prev: String,
    /// Hashes of the records since then.
    open: Vec<String>,
}

impl Sealed {
    /// Takes an open journal over. Refuses one that is not what its checkpoints say: it was changed by somebody else.
    ///
    /// Signs nothing yet; a last line of the checkpoints that a crash has torn is cut.
    pub fn open(
        mut journal: Box<dyn RunWriter>,
        run: &str,
        by: Operator,
        key: AuditKey,
        copies: Copies,
    ) -> Result<Self, AuditError> {
        let (text, bytes) = (journal.open_checkpoints()?, journal.read()?);
        refuse_changed(run, &bytes, journal.chunks().as_ref(), &text, &key)?;
        let mut hashes = format::decode(&journal.place(), &bytes)?.hashes;
        let last = String::from_utf8_lossy(&text).lines().last().map(str::to_owned);
        let (next, sealed, prev) = match last.as_deref().map(|l| (l, checkpoint::parse(l))) {
            Some((line, Ok(signed))) => {
                let checkpoint = signed.checkpoint;
                (checkpoint.checkpoint + 1, checkpoint.seq + 1, checkpoint::link(line))
            }
            _ => (0, 0, checkpoint::link("")),
        };
        let open = hashes.split_off(usize::try_from(sealed).unwrap_or(usize::MAX).min(hashes.len()));
        Ok(Self { journal, run: run.to_owned(), by, key, copies, next, prev, open })
    }

    /// Signs what the journal holds now, if that is not sealed yet.
    pub fn seal(&mut self) -> Result<(), JournalError> {
        let Some(seq) = self.journal.records().checked_sub(1).filter(|_| !self.open.is_empty()) else { return Ok(()) };
        let checkpoint = Checkpoint::new(self.next, &self.run, seq, &self.open, &self.prev, &self.by);
        let unwritable = |source| JournalError::Io { path: self.journal.place(), source };
        let line = checkpoint.sign(&self.key).map_err(unwritable)?;
        self.journal.checkpoint(&line)?;
        self.next += 1;
        self.prev = checkpoint::link(&line);
        self.open.clear();
        self.copies.send(&line);
        Ok(())
    }
}

impl Log for Sealed {
    fn append(&mut self, event: Event) -> Result<Record, JournalError> {
        let due = seals(&event);
        let record = self.journal.append(event)?;
        self.open.push(self.journal.head().to_owned());
        if due || self.open.len() >= EVERY {
            self.seal()?;
        }
        Ok(record)
    }

    fn append_all(&mut self, events: Vec<Event>) -> Result<Vec<Record>, JournalError> {
        let mut records = Vec::with_capacity(events.len());
        let mut events = events.into_iter();
        while !events.as_slice().is_empty() {
            // No record waits longer for its seal than it would alone.
            let room = EVERY.saturating_sub(self.open.len()).max(1);
            let part = events.as_slice().iter().take(room).position(seals).map_or(room, |at| at + 1);
            for (record, hash) in self.journal.append_together(events.by_ref().take(part).collect())? {
                records.push(record);
                self.open.push(hash);
            }
            if records.last().is_some_and(|last| seals(&last.event)) || self.open.len() >= EVERY {
                self.seal()?;
            }
        }
        Ok(records)
    }
}

/// A journal that somebody has changed is not gone on with. A key that has been replaced is no reason: `verify` tells it.
fn refuse_changed(
    run: &str,
    journal: &[u8],
    chunks: &dyn Chunks,
    checkpoints: &[u8],
    key: &AuditKey,
) -> Result<(), AuditError> {
    let expected = [key.public()];
    let question = Question { run, journal, chunks, checkpoints, expected: &expected, outside: None, live: true };
    match verify::verify(&question).findings.into_iter().find(|f| !f.is_about_the_key()) {
        Some(finding) if !checkpoints.is_empty() => {
            Err(AuditError::Changed { run: run.to_owned(), what: finding.to_string() })
        }
        _ => Ok(()),
    }
}
