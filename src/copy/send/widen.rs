//! More channels on the one connection when the round trip is long.
//!
//! Owns when they are opened. Must never fail a pass: without more channels it is slower.

use std::time::Duration;

use super::direct::Connection;
use super::link::{Ends, Writers};
use super::outbox::{Kind, Stream};
use crate::copy::channels::{WINDOW, wanted};
use crate::copy::failure::{Failure, Side};
use crate::copy::wire::OutFrame;
use std::sync::Arc;

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
        let round_trip = self.connection.round_trip(|time| wanted(time) > 1);
        let Some(more) = wanted(round_trip).checked_sub(1).filter(|more| *more > 0) else { return };
        let time = LOOK.max(round_trip);
        let mut before = self.ends.outbox.taken();
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

/// Whether what went out over one channel is about what its window allows.
fn is_full(bytes: u64, time: Duration, round_trip: Duration) -> bool {
    bytes as f64 >= 0.5 * WINDOW as f64 * time.as_secs_f64() / round_trip.as_secs_f64().max(1e-6)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_channel_is_full_when_its_window_is_what_holds_it_back() {
        let (time, round_trip) = (Duration::from_millis(160), Duration::from_millis(80));
        assert!(is_full(4 << 20, time, round_trip));
        assert!(!is_full(1 << 20, time, round_trip), "the link or a limit is slower than the window");
    }
}
