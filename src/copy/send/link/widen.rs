//! More channels on the one connection when the round trip is long.
//!
//! Owns when they are opened. Must never fail a pass: without more channels it is slower.

use std::time::Duration;

use super::direct::Connection;
use super::outbox::{Kind, Stream};
use super::threads::{Ends, Writers};
use crate::copy::failure::{Failure, Side};
use crate::copy::wire::channels::{WINDOW, wanted};
use crate::copy::wire::frame::OutFrame;
use std::sync::Arc;

/// How often it is looked whether much is to be sent.
const LOOK: Duration = Duration::from_millis(10);

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
    /// Opens more channels as soon as more is to be sent than the first carries in a round trip, if that ever happens.
    pub fn run(self) {
        let round_trip = self.connection.round_trip(|time| wanted(time) > 1);
        let Some(more) = wanted(round_trip).checked_sub(1).filter(|more| *more > 0) else { return };
        while self.ends.outbox.taken() < WINDOW {
            if !self.ends.outbox.pause(LOOK) {
                return;
            }
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
