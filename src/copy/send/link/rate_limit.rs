//! A token bucket: spreads bytes over time.

use std::time::{Duration, Instant};

/// How long it may be until someone looks again.
const PATIENCE: Duration = Duration::from_millis(200);

/// Bytes per second, and what was taken ahead of its time.
#[derive(Debug, Default)]
pub struct TokenBucket {
    rate: Option<u64>,
    /// Bytes taken ahead of their time, as of `since`.
    ahead: f64,
    since: Option<Instant>,
}

impl TokenBucket {
    /// Changes the rate: `None` for no limit, `Some(0)` to stand still.
    pub fn set(&mut self, rate: Option<u64>) {
        self.settle(Instant::now());
        self.rate = rate;
    }

    /// Whether nothing may be taken at all.
    pub fn stands_still(&self) -> bool {
        self.rate == Some(0)
    }

    /// How long to wait before something may be taken, zero for not at all.
    pub fn wait(&mut self, now: Instant) -> Duration {
        self.settle(now);
        match self.rate {
            None => Duration::ZERO,
            Some(0) => PATIENCE,
            Some(_) if self.ahead <= 0.0 => Duration::ZERO,
            Some(rate) => Duration::from_secs_f64((self.ahead / rate as f64).clamp(0.001, PATIENCE.as_secs_f64())),
        }
    }

    /// Takes bytes.
    pub fn take(&mut self, bytes: u64) {
        if self.rate.is_some() {
            self.ahead += bytes as f64;
        }
    }

    fn settle(&mut self, now: Instant) {
        let passed = self.since.replace(now).map_or(0.0, |since| now.saturating_duration_since(since).as_secs_f64());
        self.ahead = match self.rate {
            None => 0.0,
            Some(rate) => (self.ahead - passed * rate as f64).max(0.0),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_spread_over_time_whatever_their_pieces() {
        for pieces in [1, 10, 100] {
            let mut bucket = TokenBucket::default();
            bucket.set(Some(1000));
            let start = Instant::now();
            let (mut now, mut taken) = (start, 0);
            while taken < 10_000 {
                match bucket.wait(now) {
                    Duration::ZERO => {
                        bucket.take(1000 / pieces);
                        taken += 1000 / pieces;
                    }
                    time => now += time,
                }
            }
            let seconds = (now - start).as_secs_f64();
            assert!((8.9..10.2).contains(&seconds), "{seconds} s in pieces of 1/{pieces}");
        }
    }

    #[test]
    fn a_rate_of_zero_stands_still_and_none_does_not_wait() {
        let mut bucket = TokenBucket::default();
        let now = Instant::now();
        assert_eq!(bucket.wait(now), Duration::ZERO);
        bucket.set(Some(0));
        bucket.take(1 << 30);
        assert_eq!(bucket.wait(now + Duration::from_secs(3600)), PATIENCE);
        bucket.set(None);
        assert_eq!(bucket.wait(now), Duration::ZERO, "what was taken under the limit is forgotten with it");
    }
}
