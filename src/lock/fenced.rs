//! A journal that takes nothing more once the lease is lost.

use std::sync::Arc;
use std::time::Duration;

use super::lease::Lease;
use crate::event::{Event, Record};
use crate::journal::{JournalError, Log};

/// Refuses every record of a controller that has lost its lease. Without its intent no effect begins.
pub struct Fenced<L> {
    log: L,
    lease: Arc<Lease>,
}

impl<L: Log> Fenced<L> {
    /// Puts a log under a lease.
    pub fn new(log: L, lease: Arc<Lease>) -> Self {
        Self { log, lease }
    }
}

impl<L: Log> Log for Fenced<L> {
    fn append(&mut self, event: Event) -> Result<Record, JournalError> {
        self.lease.check(Duration::ZERO).map_err(|lost| JournalError::Fenced { why: lost.to_string() })?;
        self.log.append(event)
    }
}
