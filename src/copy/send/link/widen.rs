//! Extra channels on the direct connection, when the round trip is long.
//!
//! Owns when they are opened. Must never fail a pass: without extra channels it is only slower.

use std::sync::Arc;
use std::time::Duration;

use super::direct::Connection;
use super::outbox::{ChannelRole, FrameClass};
use super::threads::{StreamEnds, Writers};
use crate::copy::failure::{Failure, Side};
use crate::copy::wire::channels::{WINDOW, wanted};
use crate::copy::wire::frame::OutFrame;

/// How often the queue is checked for enough content.
const LOOK: Duration = Duration::from_millis(10);

/// What extra channels are opened with.
pub struct Widening {
    pub connection: Arc<Connection>,
    pub ends: StreamEnds,
    pub writers: Writers,
    /// Tells the session that extra channels will join.
    pub widen: OutFrame,
    /// The first request on each extra channel.
    pub join: OutFrame,
}

impl Widening {
    /// Opens extra channels once more content has been sent than one channel carries in a round trip.
    pub fn run(self) {
        let round_trip = self.connection.round_trip(|time| wanted(time) > 1);
        let Some(more) = wanted(round_trip).checked_sub(1).filter(|more| *more > 0) else { return };
        while self.ends.outbox.taken() < WINDOW {
            if !self.ends.outbox.pause(LOOK) {
                return;
            }
        }
        let Self { connection, ends, writers, widen, join } = self;
        if !ends.outbox.push(FrameClass::Request, widen) {
            return;
        }
        let lost = {
            let ends = ends.clone();
            move |why: String| ends.break_off(Failure::lost(Side::Target, why))
        };
        for mut channel in connection.widen(more, &join, &lost) {
            let ends = ends.clone();
            let _ = writers.add("write", move || ends.write(ChannelRole::Extra, &mut |frame| channel.send(frame)));
        }
    }
}
