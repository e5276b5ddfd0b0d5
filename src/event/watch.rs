//! Any number of watchers of one run, each with a queue and a thread of its own.
//!
//! Must never hold a run up: a watcher that is slow or has died is left behind. Records wait for it however long it takes; progress that nobody
//! has seen yet makes way for newer progress.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::Notice;

/// Sees a run go on.
pub trait Watch: Send {
    /// Takes one notice in. It may take its time, and may panic: nobody else waits for it.
    fn see(&mut self, notice: &Notice);
    /// Nothing more comes.
    fn close(&mut self) {}
}

/// Notices of progress that wait for one watcher; older ones are dropped.
const PROGRESS: usize = 256;

/// All who watch a run.
#[derive(Default)]
pub struct Watchers {
    all: Vec<Watcher>,
}

struct Watcher {
    queue: Arc<Queue>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Queue {
    waiting: Mutex<Waiting>,
    changed: Condvar,
}

#[derive(Default)]
struct Waiting {
    notices: VecDeque<Arc<Notice>>,
    progress: usize,
    closed: bool,
    /// How many it has taken in.
    seen: u64,
    ended: bool,
}

impl Watchers {
    /// Lets one more watch from now on.
    pub fn add(&mut self, mut watch: Box<dyn Watch>) {
        let queue = Arc::new(Queue::default());
        let thread = std::thread::Builder::new().name("watcher".into()).spawn({
            let queue = Arc::clone(&queue);
            move || {
                // Also when it panics.
                let _ended = Ended(&queue);
                while let Some(notice) = queue.next() {
                    watch.see(&notice);
                    queue.lock().seen += 1;
                }
                watch.close();
            }
        });
        // Without a thread there is nobody to tell.
        self.all.extend(thread.ok().map(|thread| Watcher { queue, thread: Some(thread) }));
    }

    /// Tells all of them. Never waits.
    pub fn tell(&self, notice: Notice) {
        let notice = Arc::new(notice);
        self.all.iter().for_each(|watcher| watcher.queue.push(Arc::clone(&notice)));
    }

    /// Nothing more comes. Waits for those that still take something in, and gives up on one that has taken in nothing for so long; returns
    /// how many that were.
    pub fn close(self, patience: Duration) -> usize {
        self.all.iter().for_each(|watcher| watcher.queue.close());
        self.all.into_iter().map(|watcher| watcher.join(patience)).filter(|ended| !ended).count()
    }
}

impl Watcher {
    /// Waits for its end; `false` when it has to be left behind.
    fn join(mut self, patience: Duration) -> bool {
        let (mut seen, mut since) = (0, Instant::now());
        let mut waiting = self.queue.lock();
        while !waiting.ended {
            if waiting.seen != seen {
                (seen, since) = (waiting.seen, Instant::now());
            }
            let Some(rest) = patience.checked_sub(since.elapsed()) else { return false };
            let waited = self.queue.changed.wait_timeout(waiting, rest.min(Duration::from_millis(50)));
            waiting = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        drop(waiting);
        // It has ended; whether by a panic is its own affair.
        let _ = self.thread.take().map(JoinHandle::join);
        true
    }
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, notice: Arc<Notice>) {
        let mut waiting = self.lock();
        if waiting.ended {
            return;
        }
        if notice.may_be_lost() {
            if waiting.progress >= PROGRESS
                && let Some(oldest) = waiting.notices.iter().position(|n| n.may_be_lost())
            {
                waiting.notices.remove(oldest);
                waiting.progress -= 1;
            }
            waiting.progress += 1;
        }
        waiting.notices.push_back(notice);
        self.changed.notify_all();
    }

    fn next(&self) -> Option<Arc<Notice>> {
        let mut waiting = self.lock();
        loop {
            if let Some(notice) = waiting.notices.pop_front() {
                waiting.progress -= usize::from(notice.may_be_lost());
                return Some(notice);
            }
            if waiting.closed {
                return None;
            }
            waiting = self.changed.wait(waiting).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_all();
    }
}

/// Says at its end that a watcher sees nothing more.
struct Ended<'a>(&'a Queue);

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        let mut waiting = self.0.lock();
        waiting.ended = true;
        waiting.notices.clear();
        self.0.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;
    use crate::event::{Event, Record};

    const SOON: Duration = Duration::from_millis(200);

    fn record(seq: u64) -> Notice {
        Notice::Recorded(Record { seq, at: jiff::Timestamp::UNIX_EPOCH, event: Event::Finished })
    }

    fn progress(what: u64) -> Notice {
        Notice::Waiting { step: "web/empty".into(), what: what.to_string() }
    }

    /// Sees nothing before it is let go.
    struct Slow {
        gate: Option<mpsc::Receiver<()>>,
        seen: mpsc::Sender<Notice>,
    }

    impl Watch for Slow {
        fn see(&mut self, notice: &Notice) {
            if let Some(gate) = self.gate.take() {
                let _ = gate.recv();
            }
            let _ = self.seen.send(notice.clone());
        }
    }

    struct Dying;

    impl Watch for Dying {
        fn see(&mut self, _: &Notice) {
            panic!("a watcher dies");
        }
    }

    #[test]
    fn a_slow_watcher_gets_every_record_and_the_newest_progress_and_holds_nobody_up() {
        let (mut watchers, (open, gate), (seen, sees), (others, other)) =
            (Watchers::default(), mpsc::channel(), mpsc::channel(), mpsc::channel());
        watchers.add(Box::new(Slow { gate: Some(gate), seen }));
        watchers.add(Box::new(Dying));
        watchers.add(Box::new(Slow { gate: None, seen: others }));
        for n in 0..2_000 {
            watchers.tell(record(n));
            watchers.tell(progress(n));
        }
        // The other one does not wait for the slow one, nor for the one that has died.
        assert!(other.recv_timeout(Duration::from_secs(10)).is_ok());
        open.send(()).unwrap();
        assert_eq!(watchers.close(Duration::from_secs(30)), 0);
        let seen: Vec<Notice> = sees.iter().collect();
        let records = seen.iter().filter(|n| !n.may_be_lost()).cloned().collect::<Vec<_>>();
        assert_eq!(records, (0..2_000).map(record).collect::<Vec<_>>());
        assert_eq!(seen.last(), Some(&progress(1_999)));
        assert!(seen.len() < 2_000 + 2 * PROGRESS, "{}", seen.len());
    }

    #[test]
    fn a_watcher_that_takes_nothing_in_is_left_behind() {
        let (mut watchers, (open, gate), (seen, _sees)) = (Watchers::default(), mpsc::channel(), mpsc::channel());
        watchers.add(Box::new(Slow { gate: Some(gate), seen }));
        watchers.tell(record(0));
        assert_eq!(watchers.close(SOON), 1);
        open.send(()).unwrap();
    }
}
