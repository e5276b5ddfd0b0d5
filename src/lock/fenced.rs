//! What a lease allows: effects while it lasts, and records of the journal. Once it is lost, neither.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::guard::{Barred, Guard};
use super::lease::{Lease, LockLost};
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
        self.lease.append(|| self.log.append(event))
    }

    fn append_all(&mut self, events: Vec<Event>) -> Result<Vec<Record>, JournalError> {
        self.lease.append(|| self.log.append_all(events))
    }
}

/// How often a loss is looked for while an effect takes its time.
const LOOK: Duration = Duration::from_secs(1);

#[async_trait]
impl Guard for Lease {
    fn check(&self) -> Result<(), Barred> {
        match self.check_before_effect() {
            Ok(_) => Ok(()),
            Err(lost @ (LockLost::Expired { .. } | LockLost::Taken)) => Err(Barred::ForGood(lost.to_string())),
            Err(now @ (LockLost::Short { .. } | LockLost::Unreadable { .. })) => Err(Barred::ForNow(now.to_string())),
        }
    }

    async fn lost(&self) -> String {
        let mut short = false;
        loop {
            match self.check(Duration::ZERO) {
                Err(lost @ (LockLost::Expired { .. } | LockLost::Taken)) => return lost.to_string(),
                // What is under way needs time to end, too, before another may begin. Looked at twice: a process that was stopped for a while
                // renews it as soon as it goes on.
                _ if self.remaining() <= self.needed() => match short {
                    true => return LockLost::Short { rest: self.remaining(), needed: self.needed() }.to_string(),
                    false => short = true,
                },
                _ => short = false,
            }
            tokio::time::sleep(LOOK).await;
        }
    }
}
