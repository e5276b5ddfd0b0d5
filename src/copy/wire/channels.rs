//! How many channels a connection needs.
//!
//! OpenSSH takes at most two megabytes ahead on a channel, so that one channel carries two megabytes in a round trip and no more.

use std::time::Duration;

/// What sshd takes ahead on a channel, in bytes.
pub const WINDOW: u64 = 2 << 20;
/// What the channels together are made for, in bytes per second.
const RATE: f64 = 500e6;
/// Channels in all: what sshd allows on one connection unless `MaxSessions` says otherwise.
const MOST: usize = 10;

/// How many channels a round trip calls for, the first included.
pub fn wanted(round_trip: Duration) -> usize {
    let channels = (round_trip.as_secs_f64() * RATE / WINDOW as f64).ceil();
    // One and a bit is one: more cost more than they bring.
    if channels < 3.0 { 1 } else { (channels as usize).min(MOST) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_near_target_gets_one_channel_and_a_far_one_as_many_as_fill_the_link() {
        let channels = |millis| wanted(Duration::from_millis(millis));
        assert_eq!([0, 1, 5, 20, 80, 300].map(channels), [1, 1, 1, 5, MOST, MOST]);
    }
}
