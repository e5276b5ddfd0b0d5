//! Trying again: what may help, after a pause that grows, and not for ever.
//!
//! Must never try again after an error that only people can mend, and never forget that an earlier try may have taken hold.

use std::time::{Duration, Instant};

use crate::clock::Clock;
use crate::outside::{Certainty, Error};

/// How often something is tried, and how long the pauses are.
#[derive(Debug, Clone, Copy)]
pub struct Policy {
    /// The most tries, the first included.
    pub tries: u32,
    /// The first pause; each one after it is twice as long.
    pub pause: Duration,
    /// The longest pause.
    pub longest: Duration,
    /// How long after the first try another one may begin.
    pub within: Duration,
}

impl Policy {
    /// For calls that take no time: writes of a director.
    pub const CALL: Self = Self::new(3, Duration::from_secs(1), Duration::from_secs(8));
    /// For long work that goes on where it was cut off: copies, comparisons and streams.
    pub const LONG: Self = Self::new(5, Duration::from_secs(2), Duration::from_secs(32));
    /// For questions to hosts, and for all that is safe to ask again while users wait: as long as a server may take to start again.
    pub const PATIENT: Self =
        Self { within: Duration::from_secs(60), ..Self::new(8, Duration::from_millis(500), Duration::from_secs(8)) };

    /// As many tries as this, however long each takes.
    pub const fn new(tries: u32, pause: Duration, longest: Duration) -> Self {
        Self { tries, pause, longest, within: Duration::MAX }
    }
}

/// The tries of one piece of work.
pub struct Retry<'a> {
    clock: &'a dyn Clock,
    policy: Policy,
    began: Instant,
    failed: u32,
    unknown: bool,
}

impl<'a> Retry<'a> {
    /// Before the first try.
    pub fn new(clock: &'a dyn Clock, policy: Policy) -> Self {
        Self { clock, policy, began: clock.now(), failed: 0, unknown: false }
    }

    /// Takes in how a try failed. `Ok` after a pause, when another one is to be made; `tell` is told before it. `Err` when trying again
    /// does not help, or has not helped often enough.
    pub async fn after(&mut self, error: Error, tell: impl FnOnce(String)) -> Result<(), Error> {
        self.failed += 1;
        self.unknown |= error.is_unknown();
        let took = self.clock.now().saturating_duration_since(self.began);
        if !error.transient || self.failed >= self.policy.tries || took >= self.policy.within {
            // What an earlier try may have done is not known any better by this one.
            return Err(if self.unknown { error.certainty(Certainty::Unknown) } else { error });
        }
        tell(format!("{error}; trying again"));
        let doubled = self.policy.pause.saturating_mul(1 << (self.failed - 1).min(16));
        self.clock.sleep(doubled.min(self.policy.longest)).await;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use async_trait::async_trait;

    use super::*;
    use crate::outside::Kind;

    /// Time that passes only in sleeps.
    struct Sleeps(Instant, Mutex<Vec<u64>>);

    #[async_trait]
    impl Clock for Sleeps {
        fn now(&self) -> Instant {
            self.0 + Duration::from_secs(self.1.lock().unwrap().iter().sum())
        }

        async fn sleep(&self, duration: Duration) {
            self.1.lock().unwrap().push(duration.as_secs());
        }
    }

    /// Fails with these kinds, one a try; the error that is left, and the pauses.
    async fn tried(policy: Policy, kinds: &[Kind]) -> (Option<Error>, Vec<u64>) {
        let clock = Sleeps(Instant::now(), Mutex::default());
        let mut retry = Retry::new(&clock, policy);
        let mut left = None;
        for kind in kinds {
            if let Err(e) = retry.after(Error::new("dal-1", *kind, "no"), |_| {}).await {
                left = Some(e);
                break;
            }
        }
        let pauses = clock.1.lock().unwrap().clone();
        (left, pauses)
    }

    #[tokio::test]
    async fn pauses_grow_to_a_bound_and_tries_come_to_an_end() {
        let (left, pauses) = tried(Policy { tries: 7, ..Policy::LONG }, &[Kind::Unreachable; 9]).await;
        assert_eq!((left.unwrap().certainty, pauses), (Certainty::NotDone, vec![2, 4, 8, 16, 32, 32]));
    }

    #[tokio::test]
    async fn no_try_begins_when_the_time_is_over() {
        let policy = Policy { within: Duration::from_secs(14), ..Policy::LONG };
        let (left, pauses) = tried(policy, &[Kind::Unreachable; 9]).await;
        assert_eq!((left.unwrap().kind, pauses), (Kind::Unreachable, vec![2, 4, 8]));
    }

    #[tokio::test]
    async fn what_only_people_can_mend_is_not_tried_again() {
        let (left, pauses) = tried(Policy::CALL, &[Kind::LoginRefused]).await;
        assert_eq!((left.unwrap().kind, pauses), (Kind::LoginRefused, Vec::new()));
    }

    #[tokio::test]
    async fn a_refusal_does_not_hide_that_an_earlier_try_may_have_taken_hold() {
        let (left, pauses) = tried(Policy::CALL, &[Kind::Lost, Kind::Refused]).await;
        assert_eq!((left.unwrap().certainty, pauses), (Certainty::Unknown, vec![1]));
    }
}
