//! How many connections may be let go now, by all steps of a wave together.
//!
//! Pure: time comes in as an argument. Must never give out more in any time than its pace allows, however many ask and however late they come.

use std::time::Duration;

/// What was not taken in time is saved for so long: after standing still nobody gets more at once, and those who are let go together
/// come back together.
const SAVED: Duration = Duration::from_millis(400);
const MICROS: i128 = 1_000_000;

/// What may be let go.
#[derive(Debug, Clone, Default)]
pub struct Allowance {
    /// In millionths of a connection; below zero where more was taken ahead of its time.
    credit: i128,
    /// Up to when it has grown.
    at: Option<Duration>,
}

impl Allowance {
    /// Takes up to `most` at a pace of so many in a second. Who spreads them over some time by himself takes what will grow in it `ahead`.
    pub fn take(&mut self, now: Duration, pace: u64, ahead: Duration, most: u64) -> u64 {
        let grows =
            |time: Duration| i128::from(pace).saturating_mul(i128::try_from(time.as_micros()).unwrap_or(i128::MAX));
        let since = self.at.map_or(Duration::ZERO, |at| now.saturating_sub(at));
        self.at = Some(self.at.map_or(now, |at| at.max(now)));
        // A slow pace comes to its one all the same.
        let saved = grows(SAVED).max(MICROS);
        self.credit = self.credit.saturating_add(grows(since)).min(saved);
        let due = self.credit.saturating_add(grows(ahead)).max(0) / MICROS;
        let taken = u64::try_from(due).unwrap_or(u64::MAX).min(most);
        self.credit -= i128::from(taken) * MICROS;
        taken
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn it_grows_with_time_and_saves_little() {
        let mut allowance = Allowance::default();
        let mut take = |at, most| allowance.take(ms(at), 100, Duration::ZERO, most);
        assert_eq!(take(0, 1000), 0, "nothing at once");
        assert_eq!((take(250, 1000), take(500, 10), take(510, 1000)), (25, 10, 16));
        assert_eq!(take(60_000, 1000), 40, "after standing still");
        assert_eq!(take(59_000, 1000), 0, "a clock that goes back");
    }

    #[test]
    fn a_slow_pace_comes_to_its_one() {
        let mut allowance = Allowance::default();
        let taken: u64 = (0..=40).map(|n| allowance.take(ms(n * 250), 1, Duration::ZERO, 9)).sum();
        assert_eq!(taken, 10);
        assert_eq!(allowance.take(ms(20_000), 0, Duration::ZERO, 9), 0, "a pace of none");
    }

    #[test]
    fn who_takes_ahead_waits_until_that_has_grown() {
        let mut allowance = Allowance::default();
        let (ten, mut sum) = (Duration::from_secs(10), 0);
        for second in 0..=60 {
            sum += allowance.take(Duration::from_secs(second), 100, if second % 10 == 0 { ten } else { ms(0) }, 5000);
        }
        assert_eq!(sum, 7000, "sixty seconds, and ten ahead");
    }

    proptest! {
        #[test]
        fn no_time_gives_more_than_its_pace(
            pace in 0_u64..3000,
            asks in prop::collection::vec((0_u64..3000, 0_u64..5000, 0_u64..3), 1..60),
        ) {
            let (mut allowance, mut now) = (Allowance::default(), 0);
            let mut taken: Vec<(u64, u64)> = Vec::new();
            for (pause, most, ahead) in asks {
                now += pause;
                let n = allowance.take(ms(now), pace, Duration::from_secs(ahead), most);
                prop_assert!(n <= most);
                taken.push((now, n));
            }
            for from in 0..taken.len() {
                for to in from..taken.len() {
                    let all: u64 = taken[from..=to].iter().map(|(_, n)| n).sum();
                    // What was saved, what has grown meanwhile, and what was taken two seconds ahead.
                    let may = (pace * (taken[to].0 - taken[from].0 + 400 + 2000)).div_ceil(1000) + 2;
                    prop_assert!(all <= may, "{all} of {may} in {taken:?}");
                }
            }
        }
    }
}
