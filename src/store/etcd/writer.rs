//! A run in a cluster that is open for writing. A record, or several at once, are one transaction: it lands when the head is what this writer has read or
//! written last, nobody else has opened the run since, and the lease is still held.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::trouble::Trouble;
use super::wire::{Do, If, Txn};
use super::{Cluster, Head, LARGEST, PAGE, bytes, machine};
use crate::event::{Event, Record};
use crate::journal::{Chunks, JournalError, Log, format};
use crate::store::{RunWriter, StoreError};

/// Who has a run open.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Written {
    /// The fence of its lease.
    pub fence: u64,
    /// One writer has it, and no other.
    token: String,
}

impl Written {
    /// A new one.
    pub fn new(fence: u64) -> Self {
        Self { fence, token: machine::random() }
    }
}

/// An open run.
pub struct Writer {
    cluster: Arc<Cluster>,
    run: String,
    head: Head,
    /// The revisions that have written the head, and the key that says who has the run open.
    head_at: u64,
    opened_at: u64,
    fence: u64,
    checkpoints: Option<u64>,
    poisoned: bool,
}

impl Writer {
    /// One that was let in at that revision.
    pub(super) fn new(cluster: Arc<Cluster>, run: &str, head: Head, at: u64, fence: u64) -> Self {
        let run = run.to_owned();
        Self { cluster, run, head, head_at: at, opened_at: at, fence, checkpoints: None, poisoned: false }
    }

    fn usable(&self) -> Result<(), JournalError> {
        match self.poisoned {
            true => Err(JournalError::Poisoned { path: self.place() }),
            false => Ok(()),
        }
    }

    fn mine(&self) -> Vec<If> {
        let keys = &self.cluster.keys;
        vec![If::Unchanged(keys.writer(&self.run), self.opened_at), If::There(keys.held(self.fence))]
    }

    /// Writes as long as this writer may; returns the revision that has written `key`, by which it can be told whether it has landed.
    fn write(&self, only_if: If, then: Vec<Do>, key: &str, value: &[u8]) -> Result<u64, JournalError> {
        let mut conditions = self.mine();
        conditions.push(only_if);
        let otherwise = vec![Do::Get(self.cluster.keys.writer(&self.run)), Do::Get(key.to_owned())];
        let answered = self.cluster.client.run(&Txn { conditions, then, otherwise });
        let answered = answered.map_err(|trouble| trouble.of_journal(&self.place()))?;
        let outcome = answered.outcome;
        if outcome.met {
            return Ok(outcome.revision);
        }
        // An answer that was lost: what it would have said is there.
        let still_mine = outcome.one(0).is_some_and(|entry| entry.modified == self.opened_at);
        match outcome.one(1).filter(|entry| answered.again && still_mine && entry.value == value) {
            Some(entry) => Ok(entry.modified),
            None => Err(JournalError::Fenced {
                why: format!("another controller has opened run {} since, or its locks were taken", self.run),
            }),
        }
    }

    fn unwritable(&self, source: std::io::Error) -> JournalError {
        JournalError::Io { path: self.place(), source }
    }

    /// Writes them in one transaction; all of them are there, or none.
    fn land(&mut self, frames: Frames) -> Result<Vec<(Record, String)>, JournalError> {
        self.usable()?;
        // Whether they have landed may stay unknown: then this writer must not go on from there.
        self.poisoned = true;
        self.add(&frames.bytes, frames.head)?;
        self.poisoned = false;
        Ok(frames.records)
    }

    fn add(&mut self, frame: &[u8], head: Head) -> Result<(), JournalError> {
        let (key, value) = (self.cluster.keys.head(&self.run), bytes(&head));
        let mut parts: Vec<(u64, &[u8])> = Vec::new();
        let mut at = self.head.bytes;
        for part in frame.chunks(LARGEST) {
            parts.push((at, part));
            at += part.len() as u64;
        }
        let last = parts.pop();
        // All but the last part of what is too long for one request: nobody reads beyond the head.
        for (offset, part) in parts {
            let place = self.cluster.keys.record(&self.run, offset);
            let put = vec![Do::Put(place.clone(), part.to_vec())];
            self.write(If::Unchanged(key.clone(), self.head_at), put, &place, part)?;
        }
        let mut then = vec![Do::Put(key.clone(), value.clone())];
        then.extend(last.map(|(at, part)| Do::Put(self.cluster.keys.record(&self.run, at), part.to_vec())));
        self.head_at = self.write(If::Unchanged(key.clone(), self.head_at), then, &key, &value)?;
        self.head = head;
        Ok(())
    }
}

impl Log for Writer {
    fn append(&mut self, event: Event) -> Result<Record, JournalError> {
        let frames = Frames::new(&self.head, [event]).map_err(|source| self.unwritable(source))?;
        let mut records = self.land(frames)?;
        let none = || self.unwritable(std::io::Error::other("one record was to be written, and none was"));
        records.pop().map(|(record, _)| record).ok_or_else(none)
    }
}

/// Records that are to be written together, and the head when they are.
struct Frames {
    bytes: Vec<u8>,
    records: Vec<(Record, String)>,
    head: Head,
}

impl Frames {
    fn new(head: &Head, events: impl IntoIterator<Item = Event>) -> std::io::Result<Self> {
        let mut frames = Self { bytes: Vec::new(), records: Vec::new(), head: head.clone() };
        for event in events {
            let record = Record { seq: frames.head.records, at: jiff::Timestamp::now(), event };
            let (frame, hash) = format::encode(&record, &frames.head.hash)?;
            frames.bytes.extend_from_slice(&frame);
            frames.head.records += 1;
            frames.head.bytes += frame.len() as u64;
            frames.head.hash.clone_from(&hash);
            frames.records.push((record, hash));
        }
        Ok(frames)
    }
}

impl RunWriter for Writer {
    fn run(&self) -> &str {
        &self.run
    }

    fn place(&self) -> String {
        self.cluster.place(&self.run)
    }

    fn records(&self) -> u64 {
        self.head.records
    }

    fn read(&self) -> Result<Vec<u8>, JournalError> {
        self.cluster.journal(&self.run, 0).map(|(bytes, _, _)| bytes).map_err(|e| match e {
            StoreError::Journal(e) => e,
            StoreError::Unusable { place, why, hint } => JournalError::Store { place, why, hint },
            StoreError::NoRun { run } => JournalError::Fenced { why: format!("run {run} is gone") },
        })
    }

    fn head(&self) -> &str {
        &self.head.hash
    }

    fn append_together(&mut self, events: Vec<Event>) -> Result<Vec<(Record, String)>, JournalError> {
        let frames = Frames::new(&self.head, events).map_err(|source| self.unwritable(source))?;
        self.land(frames)
    }

    fn chunks(&self) -> Box<dyn Chunks> {
        Box::new(super::ClusterChunks::new(Arc::clone(&self.cluster), &self.run))
    }

    fn open_checkpoints(&mut self) -> Result<Vec<u8>, JournalError> {
        let lines = checkpoints(&self.cluster, &self.run);
        let lines = lines.map_err(|trouble| trouble.of_journal(&self.place()))?;
        // Another writer is kept out already: by the opening of the run.
        self.checkpoints = Some(lines.len() as u64);
        Ok(lines.concat())
    }

    fn checkpoint(&mut self, line: &str) -> Result<(), JournalError> {
        self.usable()?;
        let closed = || JournalError::Io { path: self.place(), source: std::io::Error::other("it is not open") };
        let number = self.checkpoints.ok_or_else(closed)?;
        let key = self.cluster.keys.checkpoint(&self.run, number);
        let put = vec![Do::Put(key.clone(), line.as_bytes().to_vec())];
        self.poisoned = true;
        self.write(If::Unchanged(key.clone(), 0), put, &key, line.as_bytes())?;
        self.poisoned = false;
        self.checkpoints = Some(number + 1);
        Ok(())
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        let keys = &self.cluster.keys;
        let conditions = vec![If::Unchanged(keys.writer(&self.run), self.opened_at)];
        // Left behind, it says nothing once the lease has ended.
        let gone = Txn { conditions, then: vec![Do::Delete(keys.writer(&self.run))], ..Txn::default() };
        let _ = self.cluster.client.run(&gone);
    }
}

/// The lines of a run's checkpoints, each with its end.
pub fn checkpoints(cluster: &Cluster, run: &str) -> Result<Vec<Vec<u8>>, Trouble> {
    let end = cluster.keys.checkpoints_end(run);
    let mut lines = Vec::new();
    loop {
        let from = cluster.keys.checkpoint(run, lines.len() as u64);
        let found = cluster.client.read(vec![Do::List(from, end.clone(), PAGE)])?.found;
        let before = lines.len();
        lines.extend(found.into_iter().flatten().map(|entry| [entry.value, b"\n".to_vec()].concat()));
        if lines.len() == before {
            return Ok(lines);
        }
    }
}
