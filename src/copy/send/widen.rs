//! More channels on the one connection when the round trip is long.
//!
//! OpenSSH takes at most two megabytes ahead on a channel, so that one channel carries two megabytes in a round trip and no more.
//! Owns the choice of how many there are. Must never fail a pass: without more channels it is slower.

use std::time::Duration;

use super::direct::Connection;
use super::link::{Ends, Writers};
use super::outbox::{Kind, Stream};
use crate::copy::failure::{Failure, Side};
use crate::copy::wire::OutFrame;
use std::sync::Arc;

/// What sshd takes ahead on a channel.
const WINDOW: f64 = (2 << 20) as f64;
/// What the channels together are made for, in bytes per second.
const RATE: f64 = 500e6;
/// Channels in all: what sshd allows on one connection unless `MaxSessions` says otherwise.
const MOST: usize = 10;
/// The shortest time over which a rate is measured.
const LOOK: Duration = Duration::from_millis(50);

/// All that it takes.
pub struct Widening {
    pub connection: Arc<Connection>,
    pub ends: Ends,
    pub writers: Writers,
    /// Tells the session to expect more.
    pub widen: OutFrame,
    /// The first word on each of them.
    pub join: OutFrame,
}

impl Widening {
    /// Opens more channels as soon as the first is as full as it can be, if that ever happens.
    pub fn run(self) {
        let round_trip = self.connection.round_trip;
        let Some(more) = wanted(round_trip).checked_sub(1).filter(|more| *more > 0) else { return };
        let time = LOOK.max(round_trip * 2);
        let mut before = 0;
        loop {
            if !self.ends.outbox.pause(time) {
                return;
            }
            let taken = self.ends.outbox.taken();
            if is_full(taken - before, time, round_trip) {
                break;
            }
            before = taken;
        }
        let Self { connection, ends, writers, widen, join } = self;
        if !ends.outbox.push(Kind::Request, widen) {
            return;
        }
        let lost = {
            let ends = ends.clone();
            move |why: String| ends.break_off(Failure::lost(Side::Target, why))
        };
        for mut lane in connection.widen(more, &join, &lost) {
            let ends = ends.clone();
            let _ = writers.add("write", move || ends.write(Stream::Other, &mut |frame| lane.send(frame)));
        }
    }
}

/// How many channels a round trip calls for.
fn wanted(round_trip: Duration) -> usize {
    let channels = (round_trip.as_secs_f64() * RATE / WINDOW).ceil();
    // One and a bit is one: more cost more than they bring.
    if channels < 3.0 { 1 } else { (channels as usize).min(MOST) }
}

/// Whether what went out over one channel is about what its window allows.
fn is_full(bytes: u64, time: Duration, round_trip: Duration) -> bool {
    bytes as f64 >= 0.5 * WINDOW * time.as_secs_f64() / round_trip.as_secs_f64().max(1e-6)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_near_target_gets_one_channel_and_a_far_one_as_many_as_fill_the_link() {
        let channels = |millis| wanted(Duration::from_millis(millis));
        assert_eq!([0, 1, 5, 20, 80, 300].map(channels), [1, 1, 1, 5, MOST, MOST]);
    }

    #[test]
    fn a_channel_is_full_when_its_window_is_what_holds_it_back() {
        let (time, round_trip) = (Duration::from_millis(160), Duration::from_millis(80));
        assert!(is_full(4 << 20, time, round_trip));
        assert!(!is_full(1 << 20, time, round_trip), "the link or a limit is slower than the window");
    }
}
