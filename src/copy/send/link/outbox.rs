//! Frames that wait to be written, for one stream or several that take from it.
//!
//! Owns the order: requests in their own, content as it comes, requests first. Owns the rate limit, which holds back content only,
//! so that progress and questions pass a copy that stands still. Must never let a slow target fill the memory.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::rate_limit::Bucket;
use crate::copy::wire::frame::{CHUNK, OutFrame};

/// Frames of content that wait, each up to a megabyte.
const CONTENT: usize = 8;
/// Over how long a rate is measured.
const PULSE: Duration = Duration::from_millis(250);
/// Requests that wait.
const REQUESTS: usize = 64;

/// What a frame is to the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Goes over the first stream, in order.
    Request,
    /// Goes over any stream, in any order.
    Content,
}

/// Which stream asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    /// The one for requests; it carries content, too.
    First,
    /// Content only.
    Other,
}

/// The queue.
#[derive(Debug, Default)]
pub struct Outbox {
    state: Mutex<State>,
    filled: Condvar,
    emptied: Condvar,
}

#[derive(Debug, Default)]
struct State {
    requests: VecDeque<OutFrame>,
    content: VecDeque<OutFrame>,
    bucket: Bucket,
    /// Bytes of content handed out so far.
    taken: u64,
    pulse: Pulse,
    /// Nothing more comes.
    closed: bool,
    /// Content leads nowhere any more.
    broken: bool,
}

impl Outbox {
    /// A queue whose content goes at most at `rate` bytes per second.
    pub fn new(rate: Option<u64>) -> Self {
        let outbox = Self::default();
        outbox.limit(rate);
        outbox
    }

    /// Changes the limit; `Some(0)` stands still.
    pub fn limit(&self, rate: Option<u64>) {
        self.lock().bucket.set(rate);
        self.filled.notify_all();
    }

    /// Adds a frame; waits while there is no room. False when it can never be written.
    pub fn push(&self, kind: Kind, frame: OutFrame) -> bool {
        let mut state = self.lock();
        loop {
            if state.closed || (state.broken && kind == Kind::Content) {
                return false;
            }
            let (queue, most) = match kind {
                Kind::Request => (&mut state.requests, REQUESTS),
                Kind::Content => (&mut state.content, CONTENT),
            };
            if queue.len() < most {
                queue.push_back(frame);
                break;
            }
            state = self.emptied.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        drop(state);
        match kind {
            // Only one of those who wait may take it.
            Kind::Request => self.filled.notify_all(),
            Kind::Content => self.filled.notify_one(),
        }
        true
    }

    /// The next frame to write; `None` at the end.
    pub fn take(&self, stream: Stream) -> Option<OutFrame> {
        let mut state = self.lock();
        loop {
            if let Some(frame) = state.requests.front().filter(|_| stream == Stream::First).map(OutFrame::len) {
                state.bucket.take(frame as u64);
                return self.hand_out(state, |state| state.requests.pop_front());
            }
            let mut patience = None;
            if let Some(len) = state.content.front().map(OutFrame::len) {
                let time = state.bucket.wait(Instant::now());
                if time.is_zero() {
                    state.bucket.take(len as u64);
                    state.taken += len as u64;
                    let waits = state.content.len() > 1;
                    state.pulse.beat(len as u64, waits, Instant::now());
                    return self.hand_out(state, |state| state.content.pop_front());
                }
                patience = Some(time);
            } else if state.closed {
                return None;
            }
            state = match patience {
                Some(time) => {
                    self.filled.wait_timeout(state, time).map(|(s, _)| s).unwrap_or_else(|e| e.into_inner().0)
                }
                None => self.filled.wait(state).unwrap_or_else(PoisonError::into_inner),
            };
        }
    }

    fn hand_out(
        &self,
        mut state: MutexGuard<'_, State>,
        pop: impl FnOnce(&mut State) -> Option<OutFrame>,
    ) -> Option<OutFrame> {
        let frame = pop(&mut state);
        drop(state);
        self.emptied.notify_all();
        frame
    }

    /// Bytes that wait to be taken, at most.
    pub fn waiting(&self) -> u64 {
        (self.lock().content.len() * CHUNK) as u64
    }

    /// Bytes of content handed out so far.
    pub fn taken(&self) -> u64 {
        self.lock().taken
    }

    /// Bytes per second that leave while content waits; `None` while that is not known.
    pub fn rate(&self) -> Option<f64> {
        self.lock().pulse.rate
    }

    /// Whether no content may leave at all for now.
    pub fn stands_still(&self) -> bool {
        self.lock().bucket.stands_still()
    }

    /// Lets `time` pass; false when the queue was closed or broken meanwhile.
    pub fn pause(&self, time: Duration) -> bool {
        let over = |state: &mut State| !state.closed && !state.broken;
        let waited = self.emptied.wait_timeout_while(self.lock(), time, over);
        let (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        !state.closed && !state.broken
    }

    /// Nothing more comes; what waits is still written.
    pub fn close(&self) {
        self.lock().closed = true;
        self.wake();
    }

    /// Drops content, which nobody takes any more; requests and news may still reach someone.
    pub fn break_off(&self) {
        let mut state = self.lock();
        state.broken = true;
        state.content.clear();
        drop(state);
        self.wake();
    }

    fn wake(&self) {
        self.filled.notify_all();
        self.emptied.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Measures how fast content leaves, while there is always some that waits: then it is the link that is measured.
#[derive(Debug, Default)]
struct Pulse {
    rate: Option<f64>,
    since: Option<Instant>,
    bytes: u64,
}

impl Pulse {
    fn beat(&mut self, bytes: u64, waits: bool, now: Instant) {
        let Some(since) = self.since else {
            (self.since, self.bytes) = (waits.then_some(now), 0);
            return;
        };
        self.bytes += bytes;
        let passed = now.saturating_duration_since(since);
        if passed >= PULSE {
            let rate = self.bytes as f64 / passed.as_secs_f64();
            self.rate = Some(self.rate.map_or(rate, |old| 0.5 * old + 0.5 * rate));
            (self.since, self.bytes) = (Some(now), 0);
        }
        if !waits {
            self.since = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::copy::wire::frame::Route;

    fn frame(n: u32, bytes: usize) -> OutFrame {
        OutFrame::new(Route::Peer, &n, vec![0; bytes]).unwrap()
    }

    fn number(frame: Option<OutFrame>) -> Option<u32> {
        frame.map(|f| postcard::from_bytes(&f.meta).unwrap())
    }

    #[test]
    fn requests_go_first_and_over_the_first_stream_only() {
        let outbox = Outbox::new(None);
        for (n, kind) in [(1, Kind::Content), (2, Kind::Request), (3, Kind::Content), (4, Kind::Request)] {
            assert!(outbox.push(kind, frame(n, 10)));
        }
        outbox.close();
        assert_eq!(number(outbox.take(Stream::Other)), Some(1));
        assert_eq!(number(outbox.take(Stream::First)), Some(2));
        assert_eq!(number(outbox.take(Stream::First)), Some(4));
        assert_eq!(number(outbox.take(Stream::First)), Some(3));
        assert_eq!(number(outbox.take(Stream::First)), None);
        assert_eq!(number(outbox.take(Stream::Other)), None);
        assert!(!outbox.push(Kind::Request, frame(5, 0)));
    }

    #[test]
    fn what_stands_still_lets_requests_pass_and_goes_on_when_the_limit_is_lifted() {
        let outbox = Outbox::new(Some(0));
        assert!(outbox.push(Kind::Content, frame(1, 10)));
        assert!(outbox.push(Kind::Request, frame(2, 10)));
        assert_eq!(number(outbox.take(Stream::First)), Some(2));
        std::thread::scope(|scope| {
            let taker = scope.spawn(|| number(outbox.take(Stream::First)));
            outbox.limit(None);
            assert_eq!(taker.join().unwrap(), Some(1));
        });
    }

    #[test]
    fn the_rate_is_that_of_the_link_and_not_of_those_who_fill_the_queue() {
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        let mut pulse = Pulse::default();
        for n in 0..20 {
            pulse.beat(1000, true, at(n * 100));
        }
        assert!(pulse.rate.is_some_and(|rate| (9_000.0..11_000.0).contains(&rate)), "{pulse:?}");
        let mut idle = Pulse::default();
        for n in 0..20 {
            idle.beat(1000, false, at(n * 1000));
        }
        assert_eq!(idle.rate, None);
    }

    #[test]
    fn nobody_waits_for_a_queue_that_leads_nowhere() {
        let outbox = Outbox::new(Some(0));
        std::thread::scope(|scope| {
            let pusher = scope.spawn(|| (0..100).all(|n| outbox.push(Kind::Content, frame(n, 10))));
            outbox.break_off();
            assert!(!pusher.join().unwrap());
        });
        assert!(outbox.push(Kind::Request, frame(7, 0)), "the reason can still be told");
        assert!(!outbox.pause(Duration::from_secs(60)));
        outbox.close();
        assert_eq!(number(outbox.take(Stream::First)), Some(7));
        assert_eq!(number(outbox.take(Stream::First)), None);
    }
}
