//! Syncs written data in the background while more arrives, so that the sync at the end of a pass is short.
//!
//! Must never swallow what a disk says: the kernel tells of a failed write once per descriptor, to whoever syncs first.

use std::os::fd::BorrowedFd;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use rustix::io::Errno;

use super::durable::waits_for_others;

/// Bytes that may be written before the disk has to take them.
const EVERY: u64 = 128 << 20;

/// Counts what was written since the disk was last told to take it.
#[derive(Default)]
pub struct Flusher {
    state: Mutex<Inner>,
    changed: Condvar,
}

#[derive(Default)]
struct Inner {
    /// Written since the last look.
    waiting: u64,
    /// Written since the last sync.
    unsynced: u64,
    over: bool,
}

impl Flusher {
    /// So much more was written.
    pub fn wrote(&self, bytes: usize) {
        let mut state = self.lock();
        state.waiting += bytes as u64;
        state.unsynced += bytes as u64;
        if state.waiting >= EVERY {
            self.changed.notify_all();
        }
    }

    /// Bytes that the disk may not have yet.
    pub fn unsynced(&self) -> u64 {
        self.lock().unsynced
    }

    /// Nothing more is written.
    pub fn end(&self) {
        self.lock().over = true;
        self.changed.notify_all();
    }

    /// Syncs the filesystem of `root` again and again until the end, unless that would wait for what others write.
    pub fn run(&self, root: BorrowedFd<'_>) -> Result<(), Errno> {
        loop {
            let mut state = self.lock();
            while state.waiting < EVERY && !state.over {
                state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
            if state.over {
                return Ok(());
            }
            state.waiting = 0;
            let unsynced = state.unsynced;
            drop(state);
            if !waits_for_others(unsynced) {
                rustix::fs::syncfs(root)?;
                let mut state = self.lock();
                state.unsynced = state.unsynced.saturating_sub(unsynced);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use rustix::fs::{Mode, OFlags, open};

    use super::*;

    #[test]
    fn what_the_disk_says_comes_out_and_the_end_ends_it() {
        let root = tempfile::tempdir().unwrap();
        let flusher = Flusher::default();
        let path_only = open(root.path(), OFlags::PATH, Mode::empty()).unwrap();
        // More than all of memory: none of it is of others.
        flusher.lock().unsynced = u64::MAX / 2;
        flusher.wrote(EVERY as usize);
        assert_eq!(flusher.run(path_only.as_fd()), Err(Errno::BADF));
        let whole = open(root.path(), OFlags::RDONLY, Mode::empty()).unwrap();
        std::thread::scope(|scope| {
            let run = scope.spawn(|| flusher.run(whole.as_fd()));
            flusher.wrote(EVERY as usize);
            flusher.wrote(1);
            flusher.end();
            assert_eq!(run.join().unwrap(), Ok(()));
        });
    }
}
