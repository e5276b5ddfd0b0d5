//! A lease in the hands of its holder: renewed by a thread, checked before every effect, given back at the end.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use super::clock::Deadline;
use super::table::{Grant, LockError, Locks};
use crate::journal::JournalError;
use crate::text;

/// A lease is renewed that many times in its length.
const BEATS: u32 = 4;
/// No effect begins, and none goes on, when less than this part of it is left: renewals keep it well above.
const LAST: u32 = 3;
/// What was heard of the table counts for so long, from before it was asked: an answer can be under way for longer.
const NEWS: Duration = Duration::from_millis(100);

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

/// Locks that are held. Dropping it gives them back, unless it is left.
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
    /// For how long what was heard last of the table counts: that this lease is there.
    heard: Option<Deadline>,
    /// Once lost it stays lost.
    lost: Option<LockLost>,
    /// Why the last try to renew it failed.
    trouble: Option<String>,
    released: bool,
    /// It ends by itself.
    left: bool,
}

impl Lease {
    pub(super) fn start(locks: Locks, grant: Grant, taken_over: Vec<Grant>) -> Self {
        // What the table says was written a moment ago; counting from now would be too long.
        let rest = grant.rest(locks.here()).min(locks.length()).saturating_sub(Duration::from_millis(1));
        let term =
            Term { until: Deadline::after(rest), heard: None, lost: None, trouble: None, released: false, left: false };
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

    /// The same for an effect that begins now. What the last record has said of the table, a moment ago, is not asked for again.
    pub(super) fn check_before_effect(&self) -> Result<u64, LockLost> {
        match self.shared.has_heard() {
            true => self.shared.lasts(self.needed()),
            false => self.check(self.needed()),
        }
    }

    /// Appends to a run. Where the store binds writers, this asks the clock alone before.
    pub(super) fn append<T>(&self, append: impl FnOnce() -> Result<T, JournalError>) -> Result<T, JournalError> {
        let shared = &self.shared;
        let refused = |lost: LockLost| JournalError::Fenced { why: lost.to_string() };
        if !shared.locks.binds_writers() {
            self.check(Duration::ZERO).map_err(refused)?;
            return append();
        }
        shared.lasts(Duration::ZERO).map_err(refused)?;
        let heard = Deadline::after(NEWS);
        let appended = append();
        match &appended {
            Ok(_) => shared.term().heard = Some(heard),
            // The table tells why, and that nothing more is to be done.
            Err(JournalError::Fenced { .. }) => drop(self.check(Duration::ZERO).map_err(refused)?),
            Err(_) => {}
        }
        appended
    }

    /// How long it has to last for an effect to begin or to go on.
    pub(super) fn needed(&self) -> Duration {
        self.shared.locks.length() / LAST
    }

    /// Lets it end by itself instead of giving it back: whoever stands by sees that its run has lost its controller.
    pub fn leave(&self) {
        self.shared.term().left = true;
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
        if !self.shared.term().left {
            // Left behind, it runs out by itself, or is taken over because this process is gone.
            let _ = self.shared.locks.release(self.shared.fence);
        }
    }
}

impl Shared {
    fn term(&self) -> MutexGuard<'_, Term> {
        self.term.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn check(&self, needed: Duration) -> Result<u64, LockLost> {
        match self.locks.find(self.fence) {
            Ok(Some(_)) => {}
            // One that has run out before is lost for that.
            Ok(None) => return Err(self.term().lose(LockLost::Taken)),
            Err(e) => return self.lasts(Duration::ZERO).and(Err(LockLost::Unreadable { why: e.to_string() })),
        }
        // Last of all, so that time spent above counts.
        self.lasts(needed)
    }

    /// Whether what was heard last of the table still counts.
    fn has_heard(&self) -> bool {
        self.term().heard.is_some_and(|until| !until.rest().is_zero())
    }

    /// The same by the clock alone.
    fn lasts(&self, needed: Duration) -> Result<u64, LockLost> {
        let mut term = self.term();
        if let Some(lost) = &term.lost {
            return Err(lost.clone());
        }
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

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::super::table::{Change, LockTable, Table};
    use super::*;
    use crate::event::Operator;

    /// A table that counts how often it is read.
    #[derive(Debug)]
    struct Counted {
        binds: bool,
        table: Mutex<Table>,
        reads: AtomicUsize,
    }

    impl LockTable for Counted {
        fn place(&self) -> String {
            "a table".into()
        }

        fn read(&self) -> Result<Option<Table>, LockError> {
            self.reads.fetch_add(1, Ordering::Relaxed);
            Ok(Some(self.table.lock().unwrap().clone()))
        }

        fn change(&self, change: Change<'_>) -> Result<(), LockError> {
            change(&mut self.table.lock().unwrap())
        }

        fn binds_writers(&self) -> bool {
            self.binds
        }
    }

    fn held(binds: bool) -> (Arc<Counted>, Lease) {
        let table = Arc::new(Counted { binds, table: Mutex::new(Table::first()), reads: AtomicUsize::new(0) });
        let by = Operator { user: "ada".into(), host: "desk".into(), pid: std::process::id() };
        let locks = Locks::new(Arc::clone(&table) as Arc<dyn LockTable>, &by, Duration::from_secs(3600));
        let lease = locks.acquire(["plan:web".to_owned()].into(), "a test").unwrap();
        (table, lease)
    }

    /// How often the table is read meanwhile.
    fn reads(table: &Counted, work: impl FnOnce()) -> usize {
        let before = table.reads.load(Ordering::Relaxed);
        work();
        table.reads.load(Ordering::Relaxed) - before
    }

    #[test]
    fn a_store_that_looks_itself_is_not_asked_before_a_record_and_for_a_moment_after_it() {
        let (table, lease) = held(true);
        let append = || lease.append(|| Ok(())).unwrap();
        let check = || assert!(lease.check_before_effect().is_ok());
        assert_eq!(reads(&table, check), 1, "before the first record nothing has been heard");
        assert_eq!(reads(&table, append), 0);
        // On a busy machine a moment may pass between the two.
        let at_once = || {
            let both = || {
                append();
                check();
            };
            reads(&table, both) == 0
        };
        assert!((0..1000).any(|_| at_once()));
        append();
        std::thread::sleep(NEWS * 2);
        assert_eq!(reads(&table, check), 1, "what was heard is old");
    }

    #[test]
    fn any_other_store_is_asked_before_each_record_and_each_effect() {
        let (table, lease) = held(false);
        assert_eq!(reads(&table, || lease.append(|| Ok(())).unwrap()), 1);
        assert_eq!(reads(&table, || assert!(lease.check_before_effect().is_ok())), 1);
    }

    #[test]
    fn a_record_that_does_not_land_tells_that_the_lease_is_gone() {
        let (table, lease) = held(true);
        lease.append(|| Ok(())).unwrap();
        table.table.lock().unwrap().held.clear();
        let refused: Result<(), _> = lease.append(|| Err(JournalError::Fenced { why: "it did not land".into() }));
        assert!(refused.unwrap_err().to_string().contains("broken or taken over"));
        assert_eq!(lease.check_before_effect(), Err(LockLost::Taken));
        assert!(lease.append(|| Ok(())).is_err(), "once it is lost it stays lost");
    }

    #[test]
    fn one_that_is_left_stays_in_the_table_and_hands_its_run_on_to_whoever_has_seen_it_end() {
        let (table, lease) = held(true);
        lease.name_run("web-1").unwrap();
        lease.leave();
        let locks = lease.shared.locks.clone();
        drop(lease);
        let left = table.table.lock().unwrap().held[0].clone();
        let ended = super::super::Ended { fence: left.fence, expires: left.expires };
        let claim = |ended| super::super::Claim { names: left.names.clone(), why: "on", by_hand: false, ended };
        assert!(locks.claim(claim(None)).is_err(), "it lasts on");
        let next = locks.claim(claim(Some(ended))).unwrap();
        let held = locks.show().unwrap();
        assert_eq!((held.len(), held[0].fence, held[0].run.as_deref()), (1, next.fence(), Some("web-1")));
    }
}
