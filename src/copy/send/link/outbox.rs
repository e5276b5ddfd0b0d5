//! The bounded queue of frames that wait to be written to one channel or several.
//!
//! Owns the order: requests keep theirs and go before content. Owns the rate limit, which holds back content only, so that progress and
//! requests still pass while a copy is paused. Must never let a slow target fill the memory.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::rate_limit::TokenBucket;
use crate::copy::wire::frame::{CHUNK, OutFrame};

/// Frames of content that wait, each up to a megabyte.
const CONTENT: usize = 8;
/// The interval over which a rate is measured.
const PULSE: Duration = Duration::from_millis(250);
/// Requests that wait.
const REQUESTS: usize = 64;

/// The two kinds of frames in the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FrameClass {
    /// Goes over the first channel, in order.
    Request,
    /// Goes over any channel, in any order.
    Content,
}

/// What a channel carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChannelRole {
    /// Requests and content.
    First,
    /// Content only.
    Extra,
}

/// The queue.
#[derive(Debug, Default)]
pub struct Outbox {
    state: Mutex<Inner>,
    filled: Condvar,
    emptied: Condvar,
}

#[derive(Debug, Default)]
struct Inner {
    requests: VecDeque<OutFrame>,
    content: VecDeque<OutFrame>,
    bucket: TokenBucket,
    /// Bytes of content handed out so far.
    taken: u64,
    meter: RateMeter,
    /// No frame will be added any more.
    closed: bool,
    /// Nobody takes content any more.
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
    pub fn push(&self, kind: FrameClass, frame: OutFrame) -> bool {
        let mut state = self.lock();
        loop {
            if state.closed || (state.broken && kind == FrameClass::Content) {
                return false;
            }
            let (queue, most) = match kind {
                FrameClass::Request => (&mut state.requests, REQUESTS),
                FrameClass::Content => (&mut state.content, CONTENT),
            };
            if queue.len() < most {
                queue.push_back(frame);
                break;
            }
            state = self.emptied.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        drop(state);
        match kind {
            // Only the writer of the first channel may take it.
            FrameClass::Request => self.filled.notify_all(),
            FrameClass::Content => self.filled.notify_one(),
        }
        true
    }

    /// The next frame to write; `None` at the end.
    pub fn take(&self, stream: ChannelRole) -> Option<OutFrame> {
        let mut state = self.lock();
        loop {
            if let Some(frame) = state.requests.front().filter(|_| stream == ChannelRole::First).map(OutFrame::len) {
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
                    state.meter.record(len as u64, waits, Instant::now());
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
        mut state: MutexGuard<'_, Inner>,
        pop: impl FnOnce(&mut Inner) -> Option<OutFrame>,
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
        self.lock().meter.rate
    }

    /// Whether no content may leave at all for now.
    pub fn stands_still(&self) -> bool {
        self.lock().bucket.stands_still()
    }

    /// Sleeps for `time`. Returns false when the queue was closed or broken meanwhile.
    pub fn pause(&self, time: Duration) -> bool {
        let over = |state: &mut Inner| !state.closed && !state.broken;
        let waited = self.emptied.wait_timeout_while(self.lock(), time, over);
        let (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        !state.closed && !state.broken
    }

    /// Ends the queue. Frames that wait are still written.
    pub fn close(&self) {
        self.lock().closed = true;
        self.wake();
    }

    /// Drops all content, because nobody takes it any more. Requests and messages may still reach the peer.
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

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Measures how fast content leaves. It counts only while more content waits, because then the link is the bottleneck.
#[derive(Debug, Default)]
struct RateMeter {
    rate: Option<f64>,
    since: Option<Instant>,
    bytes: u64,
}

impl RateMeter {
    fn record(&mut self, bytes: u64, waits: bool, now: Instant) {
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
        for (n, kind) in
            [(1, FrameClass::Content), (2, FrameClass::Request), (3, FrameClass::Content), (4, FrameClass::Request)]
        {
            assert!(outbox.push(kind, frame(n, 10)));
        }
        outbox.close();
        assert_eq!(number(outbox.take(ChannelRole::Extra)), Some(1));
        assert_eq!(number(outbox.take(ChannelRole::First)), Some(2));
        assert_eq!(number(outbox.take(ChannelRole::First)), Some(4));
        assert_eq!(number(outbox.take(ChannelRole::First)), Some(3));
        assert_eq!(number(outbox.take(ChannelRole::First)), None);
        assert_eq!(number(outbox.take(ChannelRole::Extra)), None);
        assert!(!outbox.push(FrameClass::Request, frame(5, 0)));
    }

    #[test]
    fn what_stands_still_lets_requests_pass_and_goes_on_when_the_limit_is_lifted() {
        let outbox = Outbox::new(Some(0));
        assert!(outbox.push(FrameClass::Content, frame(1, 10)));
        assert!(outbox.push(FrameClass::Request, frame(2, 10)));
        assert_eq!(number(outbox.take(ChannelRole::First)), Some(2));
        std::thread::scope(|scope| {
            let taker = scope.spawn(|| number(outbox.take(ChannelRole::First)));
            outbox.limit(None);
            assert_eq!(taker.join().unwrap(), Some(1));
        });
    }

    #[test]
    fn the_rate_is_that_of_the_link_and_not_of_those_who_fill_the_queue() {
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        let mut meter = RateMeter::default();
        for n in 0..20 {
            meter.record(1000, true, at(n * 100));
        }
        assert!(meter.rate.is_some_and(|rate| (9_000.0..11_000.0).contains(&rate)), "{meter:?}");
        let mut idle = RateMeter::default();
        for n in 0..20 {
            idle.record(1000, false, at(n * 1000));
        }
        assert_eq!(idle.rate, None);
    }

    #[test]
    fn nobody_waits_for_a_queue_that_leads_nowhere() {
        let outbox = Outbox::new(Some(0));
        std::thread::scope(|scope| {
            let pusher = scope.spawn(|| (0..100).all(|n| outbox.push(FrameClass::Content, frame(n, 10))));
            outbox.break_off();
            assert!(!pusher.join().unwrap());
        });
        assert!(outbox.push(FrameClass::Request, frame(7, 0)), "the reason can still be told");
        assert!(!outbox.pause(Duration::from_secs(60)));
        outbox.close();
        assert_eq!(number(outbox.take(ChannelRole::First)), Some(7));
        assert_eq!(number(outbox.take(ChannelRole::First)), None);
    }
}
