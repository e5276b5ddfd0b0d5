//! Time that no setting of the clock can move: one that stands still while the machine sleeps, and one that does not.

use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

/// Time since the machine has started, its sleep included.
pub fn since_boot() -> Duration {
    let at = clock_gettime(ClockId::Boottime);
    let secs = u64::try_from(at.tv_sec).unwrap_or_default();
    Duration::new(secs, u32::try_from(at.tv_nsec).unwrap_or_default())
}

/// A moment on both clocks. It has come when either says so.
#[derive(Debug, Clone, Copy)]
pub struct Deadline {
    monotonic: Instant,
    since_boot: Duration,
}

impl Deadline {
    /// That far from now.
    pub fn after(duration: Duration) -> Self {
        Self { monotonic: Instant::now() + duration, since_boot: since_boot() + duration }
    }

    /// How far it is; zero once it has come.
    pub fn rest(&self) -> Duration {
        let monotonic = self.monotonic.saturating_duration_since(Instant::now());
        monotonic.min(self.since_boot.saturating_sub(since_boot()))
    }
}
