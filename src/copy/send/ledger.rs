//! The requests that are in flight, what failed, and how far the pass is.
//!
//! Owns the sequence numbers of requests. Nothing counts as sent before the target has acknowledged it. Only progress also counts the
//! parts of a large file that have left.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::copy::failure::Failure;
use crate::copy::job::CopyProgress;

/// An entry of the scan.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Item {
    /// Index of its directory.
    pub dir: u32,
    /// Its name.
    pub name: Vec<u8>,
}

/// Something that was sent.
#[derive(Debug, Default)]
pub struct Sent {
    /// The entries, in the order of the request.
    pub items: Vec<Item>,
    /// How many of them are files with content.
    pub files: u64,
    /// Bytes of content.
    pub bytes: u64,
    /// Bytes of the file that progress has already counted.
    pub reached: u64,
}

/// Requests in flight, and the results of those that are done.
#[derive(Debug, Default)]
pub struct Ledger {
    state: Mutex<Inner>,
    changed: Condvar,
    /// Entries scanned so far.
    pub scanned: AtomicU64,
    /// Files to send.
    pub files_total: AtomicU64,
    /// Bytes to send.
    pub bytes_total: AtomicU64,
    files_done: AtomicU64,
    bytes_sent: AtomicU64,
    /// Bytes of files that the target has.
    confirmed: AtomicU64,
    /// These, and the bytes of other files that were handed to the link or are on the target already.
    reached: AtomicU64,
    /// The highest progress that was reported. Progress never goes back.
    told: (AtomicU64, AtomicU64),
    /// Entries that changed while they were read.
    pub unsettled: AtomicU64,
}

#[derive(Debug, Default)]
struct Inner {
    next: u32,
    sent: HashMap<u32, Sent>,
    failed_items: Vec<Item>,
    failures: Vec<Failure>,
    failed: u64,
    deleted: u64,
    broken: Option<Failure>,
    hashes: HashMap<u32, Vec<u8>>,
}

impl Ledger {
    /// Numbers a request.
    pub fn register(&self, sent: Sent) -> u32 {
        let mut state = self.lock();
        let seq = state.next;
        state.next = state.next.wrapping_add(1);
        state.sent.insert(seq, sent);
        seq
    }

    /// The target has done a request.
    pub fn confirm(&self, seq: u32, failures: Vec<(u32, Failure)>, deleted: u64) {
        let mut state = self.lock();
        let Some(sent) = state.sent.remove(&seq) else { return };
        self.files_done.fetch_add(sent.files, Ordering::Relaxed);
        self.bytes_sent.fetch_add(sent.bytes, Ordering::Relaxed);
        self.confirmed.fetch_add(sent.bytes.max(sent.reached), Ordering::Relaxed);
        self.reached.fetch_add(sent.bytes.saturating_sub(sent.reached), Ordering::Relaxed);
        state.deleted += deleted;
        for (nth, failure) in failures {
            if let Some(item) = sent.items.get(nth as usize) {
                state.failed_items.push(item.clone());
            }
            if failure.retryable {
                // No failure: the source changed meanwhile, and the next pass takes the entry again.
                self.unsettled.fetch_add(1, Ordering::Relaxed);
            } else {
                state.fail(failure);
            }
        }
        drop(state);
        self.changed.notify_all();
    }

    /// Counts bytes of a large file that were sent or are on the target already.
    pub fn reach(&self, bytes: u64) {
        self.reached.fetch_add(bytes, Ordering::Relaxed);
    }

    /// The target has reported the hashes of a file's blocks.
    pub fn hashed(&self, file: u32, hashes: Vec<u8>) {
        self.lock().hashes.insert(file, hashes);
        self.changed.notify_all();
    }

    /// Waits for the hashes of a file's blocks.
    pub fn hashes(&self, file: u32) -> Result<Vec<u8>, Failure> {
        let mut state = self.lock();
        loop {
            if let Some(hashes) = state.hashes.remove(&file) {
                return Ok(hashes);
            }
            if let Some(failure) = &state.broken {
                return Err(failure.clone());
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// An entry could not be carried.
    pub fn fail(&self, failure: Failure) {
        self.lock().fail(failure);
    }

    /// Forgets the first scan, because the source is scanned again.
    pub fn restart(&self) {
        self.scanned.store(0, Ordering::Relaxed);
        let mut state = self.lock();
        state.failures.clear();
        state.failed = 0;
    }

    /// Breaks the work off. Only the first reason counts.
    pub fn break_off(&self, failure: Failure) {
        self.lock().broken.get_or_insert(failure);
        self.changed.notify_all();
    }

    /// The reason why the work was broken off.
    pub fn broken(&self) -> Option<Failure> {
        self.lock().broken.clone()
    }

    /// Waits until every request is confirmed.
    pub fn settle(&self) -> Result<(), Failure> {
        let mut state = self.lock();
        loop {
            if let Some(failure) = &state.broken {
                return Err(failure.clone());
            }
            if state.sent.is_empty() {
                return Ok(());
            }
            // The timeout only guards against a lost wake-up; nothing is decided by it.
            let (guard, _) =
                self.changed.wait_timeout(state, Duration::from_millis(500)).unwrap_or_else(PoisonError::into_inner);
            state = guard;
        }
    }

    /// Entries that failed on the target, how many failures there were in all, and the first of them.
    pub fn failures(&self) -> (Vec<Item>, u64, Vec<Failure>) {
        let state = self.lock();
        (state.failed_items.clone(), state.failed, state.failures.clone())
    }

    /// Entries removed on the target.
    pub fn deleted(&self) -> u64 {
        self.lock().deleted
    }

    /// Files and bytes of content that the target has confirmed.
    pub fn sent(&self) -> (u64, u64) {
        (self.files_done.load(Ordering::Relaxed), self.bytes_sent.load(Ordering::Relaxed))
    }

    /// The progress; at most `waiting` bytes are still in the queue.
    pub fn progress(&self, waiting: u64) -> CopyProgress {
        let now = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let forward = |told: &AtomicU64, now: u64| told.fetch_max(now, Ordering::Relaxed).max(now);
        let (files_total, bytes_total) = (now(&self.files_total), now(&self.bytes_total));
        // The length of a stream is not known, and files may grow.
        let most = if bytes_total == 0 { u64::MAX } else { bytes_total };
        let bytes = now(&self.confirmed).max(now(&self.reached).saturating_sub(waiting)).min(most);
        CopyProgress {
            files_scanned: forward(&self.told.0, now(&self.scanned)),
            files_done: now(&self.files_done).min(files_total),
            files_total,
            bytes_done: forward(&self.told.1, bytes),
            bytes_total,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn fail(&mut self, failure: Failure) {
        self.failed += 1;
        if self.failures.len() < 20 {
            self.failures.push(failure);
        }
    }
}

/// Shared by all threads of a pass.
pub type SharedLedger = Arc<Ledger>;

#[cfg(test)]
mod tests {
    use super::*;

    /// `(looked at, bytes done)`.
    fn shown(ledger: &Ledger, waiting: u64) -> (u64, u64) {
        let now = ledger.progress(waiting);
        (now.files_scanned, now.bytes_done)
    }

    #[test]
    fn progress_counts_what_left_of_large_files_and_never_goes_back_or_too_far() {
        let ledger = Ledger::default();
        ledger.bytes_total.store(100, Ordering::Relaxed);
        ledger.scanned.store(7, Ordering::Relaxed);
        ledger.reach(60);
        assert_eq!(shown(&ledger, 50), (7, 10));
        assert_eq!(shown(&ledger, 0), (7, 60));
        // More waits, and everything is looked at anew.
        ledger.restart();
        assert_eq!(shown(&ledger, 60), (7, 60));
        // 40 of the large file's 60 travelled; a small one comes with it.
        let large = ledger.register(Sent { bytes: 40, reached: 60, files: 1, ..Sent::default() });
        let small = ledger.register(Sent { bytes: 30, files: 1, ..Sent::default() });
        ledger.confirm(small, Vec::new(), 0);
        assert_eq!(shown(&ledger, 0), (7, 90));
        ledger.confirm(large, Vec::new(), 0);
        assert_eq!((shown(&ledger, 100), ledger.sent()), ((7, 90), (2, 70)));
        // It grew since it was counted.
        ledger.reach(60);
        assert_eq!(shown(&ledger, 0), (7, 100));
    }

    #[test]
    fn a_stream_has_no_total_to_stop_at() {
        let ledger = Ledger::default();
        let chunk = ledger.register(Sent { bytes: 5, ..Sent::default() });
        ledger.confirm(chunk, Vec::new(), 0);
        assert_eq!(shown(&ledger, 0), (0, 5));
    }
}
