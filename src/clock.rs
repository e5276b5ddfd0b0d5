//! Time behind a trait, so that it can be simulated.

use std::time::{Duration, Instant};

use async_trait::async_trait;
use jiff::Timestamp;

/// Time, as far as waiting goes, and that of the calendar.
#[async_trait]
pub trait Clock: Send + Sync {
    /// Monotonic time.
    fn now(&self) -> Instant;
    /// The time of the calendar.
    fn wall(&self) -> Timestamp {
        Timestamp::now()
    }
    /// Lets time pass.
    async fn sleep(&self, duration: Duration);
}

/// The machine's clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

#[async_trait]
impl Clock for SystemClock {
    fn now(&self) -> Instant {
        Instant::now()
    }

    async fn sleep(&self, duration: Duration) {
        tokio::time::sleep(duration).await;
    }
}
