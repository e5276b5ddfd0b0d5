//! A lease in the hands of its holder: renewed by a thread, checked before every effect, given back at the end.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use super::clock::Deadline;
use super::table::{Grant, LockError, Locks};
use crate::text;

/// A lease is renewed that many times in its length.
const BEATS: u32 = 4;

/// Why a controller must do nothing more, or not now.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LockLost {
    /// It was not renewed in time: the process or the machine was stopped, or the table could not be written.
    #[error("the lease of this controller has run out{}: another may be at work, so this one does nothing more", because(.why))]
    Expired {
        /// Why it could not be renewed, if that is known.
        why: Option<String>,
    },
    /// An operator broke it, or another controller has taken it over.
    #[error(
        "the locks of this controller were broken or taken over: it does nothing more; `migrate lock show` tells who has them"
    )]
    Taken,
    /// It lasts, but not long enough for what is to be done. Not lost: it may be renewed.
    #[error("the lease of this controller lasts {} more, and {} are needed", text::duration(*rest), text::duration(*needed))]
    Short {
        /// How long it lasts.
        rest: Duration,
        /// How long it would have to.
        needed: Duration,
    },
    /// Whether it is still held cannot be read. Not lost: it may be readable again.
    #[error("whether this controller still holds its locks cannot be read: {why}")]
    Unreadable {
        /// What the system says.
        why: String,
    },
}

fn because(why: &Option<String>) -> String {
    why.as_ref().map(|w| format!(" ({w})")).unwrap_or_default()
}

/// Locks that are held. Dropping it gives them back.
#[derive(Debug)]
pub struct Lease {
    shared: Arc<Shared>,
    taken_over: Vec<Grant>,
    heart: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    locks: Locks,
    fence: u64,
    term: Mutex<Term>,
    wake: Condvar,
}

#[derive(Debug)]
struct Term {
    until: Deadline,
    /// Once lost it stays lost.
    lost: Option<LockLost>,
    /// Why the last try to renew it failed.
    trouble: Option<String>,
    released: bool,
}

impl Lease {
    pub(super) fn start(locks: Locks, grant: Grant, taken_over: Vec<Grant>) -> Self {
        // What the table says was written a moment ago; counting from now would be too long.
        let rest = grant.rest(locks.here()).min(locks.length()).saturating_sub(Duration::from_millis(1));
        let term = Term { until: Deadline::after(rest), lost: None, trouble: None, released: false };
        let shared = Shared { locks, fence: grant.fence, term: Mutex::new(term), wake: Condvar::new() };
        let shared = Arc::new(shared);
        let heart = std::thread::Builder::new().name("lease".into()).spawn({
            let shared = Arc::clone(&shared);
            move || shared.beat()
        });
        // Without the thread it just runs out.
        Self { shared, taken_over, heart: heart.ok() }
    }

    /// Its fence number. Larger than that of every lease before; what outlives a lease is told apart by it.
    pub fn fence(&self) -> u64 {
        self.shared.fence
    }

    /// How long it lasts unless it is renewed; zero once it is lost.
    pub fn remaining(&self) -> Duration {
        let term = self.shared.term();
        if term.lost.is_some() { Duration::ZERO } else { term.until.rest() }
    }

    /// Leases that stood in the way and were taken over because they had run out or their owner was dead.
    pub fn taken_over(&self) -> &[Grant] {
        &self.taken_over
    }

    /// The fence number, if this controller may do something that takes up to `needed`: its lease is in force on both clocks and in
    /// the table, and lasts longer than that.
    ///
    /// To be asked right before every effect. `needed` has to be well below [`super::LENGTH`]: what takes longer is begun under its
    /// own deadline and carries the fence.
    pub fn check(&self, needed: Duration) -> Result<u64, LockLost> {
        self.shared.check(needed)
    }

    /// How long it has to last for an effect to begin: a fourth of its length, which renewals keep it well above.
    pub(super) fn needed(&self) -> Duration {
        self.shared.locks.length() / BEATS
    }

    /// Writes down which run it is for, for those who look.
    pub fn name_run(&self, run: &str) -> Result<(), LockError> {
        let fence = self.shared.fence;
        self.shared.locks.change(|table| {
            table.held.iter_mut().filter(|e| e.fence == fence).for_each(|e| e.run = Some(run.to_owned()));
            Ok(())
        })
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.shared.term().released = true;
        self.shared.wake.notify_all();
        if let Some(heart) = self.heart.take() {
            let _ = heart.join();
        }
        // Left behind, it runs out by itself, or is taken over because this process is gone.
        let _ = self.shared.locks.release(self.shared.fence);
    }
}

impl Shared {
    fn term(&self) -> MutexGuard<'_, Term> {
        self.term.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn check(&self, needed: Duration) -> Result<u64, LockLost> {
        let there = self.locks.find(self.fence);
        let mut term = self.term();
        if let Some(lost) = &term.lost {
            return Err(lost.clone());
        }
        match there {
            Ok(Some(_)) => {}
            Ok(None) => return Err(term.lose(LockLost::Taken)),
            Err(e) => return Err(LockLost::Unreadable { why: e.to_string() }),
        }
        // Last of all, so that time spent above counts.
        match term.until.rest() {
            rest if rest.is_zero() => {
                let why = term.trouble.take();
                Err(term.lose(LockLost::Expired { why }))
            }
            rest if rest <= needed => Err(LockLost::Short { rest, needed }),
            _ => Ok(self.fence),
        }
    }

    /// Renews until it is lost or given back.
    fn beat(&self) {
        let mut term = self.term();
        loop {
            let pause = self.locks.length() / BEATS;
            // Asked before it waits: it may have been given back before this thread came to wait for the first time.
            let waited = self.wake.wait_timeout_while(term, pause, |s| !s.released);
            term = waited.unwrap_or_else(PoisonError::into_inner).0;
            if term.released || term.lost.is_some() {
                return;
            }
            drop(term);
            let renewed = self.renew();
            term = self.term();
            match renewed {
                Ok(Ok(until)) => (term.until, term.trouble) = (until, None),
                Ok(Err(lost)) => {
                    term.lose(lost);
                }
                Err(e) => term.trouble = Some(e.to_string()),
            }
        }
    }

    fn renew(&self) -> Result<Result<Deadline, LockLost>, LockError> {
        let length = self.locks.length();
        // Counted from before the table is written: nobody else may see an end that lies before ours.
        let until = Deadline::after(length);
        self.locks.change(|table| {
            let Some(grant) = table.held.iter_mut().find(|e| e.fence == self.fence) else {
                return Ok(Err(LockLost::Taken));
            };
            // One that has run out stays so, even when nobody has taken it yet: this process was asleep and knows nothing.
            if self.term().until.rest().is_zero() {
                return Ok(Err(LockLost::Expired { why: None }));
            }
            grant.renew(length);
            Ok(Ok(until))
        })
    }
}

impl Term {
    fn lose(&mut self, lost: LockLost) -> LockLost {
        self.lost.get_or_insert(lost).clone()
    }
}
