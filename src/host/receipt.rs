//! Receipts: what a host keeps of commands that must run once, and how one is brought to its end.
//!
//! Must never take a lost answer for a command that did not start.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::{Command, Hosts, Output};
use crate::clock::Clock;
use crate::model::Host;
use crate::outside::{Certainty, Error};
use crate::retry::{Policy, Retry};
use crate::text::escape;

/// How much longer than the command may take its result is waited for.
const GRACE: Duration = Duration::from_secs(15);
/// How long one question waits for an answer on the host.
const QUESTION: Duration = Duration::from_secs(20);
/// Questions whose answers were lost are asked again until the time is over.
const LOST: Policy = Policy::new(u32::MAX, Duration::from_millis(200), Duration::from_millis(3200));

/// The name of one execution: a run, and what is done once in it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReceiptKey {
    run: String,
    name: String,
}

impl ReceiptKey {
    /// Letters, digits, `.`, `_` and `-`, at most 100, not starting with `.` or `-`; for both.
    pub fn new(run: impl Into<String>, name: impl Into<String>) -> Result<Self, String> {
        let key = Self { run: run.into(), name: name.into() };
        for part in [&key.run, &key.name] {
            let plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
            if part.is_empty() || part.len() > 100 || !part.chars().all(plain) || part.starts_with(['.', '-']) {
                return Err(format!("`{}` cannot be part of a receipt's key", escape(part.as_bytes(), 120)));
            }
        }
        Ok(key)
    }

    /// The run.
    pub fn run(&self) -> &str {
        &self.run
    }

    /// What is done once in it.
    pub fn name(&self) -> &str {
        &self.name
    }
}

/// What a host knows about a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReceiptStatus {
    /// It ran to its end. Status 124: it was stopped at its timeout.
    Finished(Output),
    /// It still runs.
    Running,
    /// Nothing has started, but a start may be on its way: seal the key to prevent it.
    NotClaimed,
    /// It never started, and never will under this key: sealed, or stopped by a newer fence.
    NeverStarted,
    /// It started and is gone without a result: it was killed, or the host was.
    Unknown,
    /// The host has seen a newer fence; nothing was done.
    Fenced {
        /// The newest fence on the host.
        newest: u64,
    },
}

/// Hosts on which this process has seen the place for a run's receipts.
#[derive(Debug, Default)]
pub struct SeenPlaces(Mutex<BTreeSet<String>>);

impl SeenPlaces {
    /// Whether the place on that host has been seen.
    pub fn has(&self, host: &Host) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).contains(&host.name)
    }

    /// It is there.
    pub fn seen(&self, host: &Host) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(host.name.clone());
    }

    /// It is not there any more; whether it was believed to be.
    pub fn lost(&self, host: &Host) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&host.name)
    }
}

/// Runs a command under a key, unless it ran before, and waits for its result. Safe to call again after any error.
pub async fn run_once(
    hosts: &dyn Hosts,
    clock: &dyn Clock,
    host: &Host,
    key: &ReceiptKey,
    fence: u64,
    command: &Command,
) -> Result<ReceiptStatus, Error> {
    run_once_at(hosts, clock, host, key, fence, command, &SeenPlaces::default()).await
}

/// The same, with one question less on a host where the place for the run's receipts has been seen.
pub async fn run_once_at(
    hosts: &dyn Hosts,
    clock: &dyn Clock,
    host: &Host,
    key: &ReceiptKey,
    fence: u64,
    command: &Command,
    places: &SeenPlaces,
) -> Result<ReceiptStatus, Error> {
    let until = clock.now() + command.limit() + GRACE;
    let mut retry = Retry::new(clock, LOST);
    // Asked first: that makes the place for the run's receipts, which a start must find.
    let (mut starts, mut sent) = (places.has(host), false);
    loop {
        let answer = match starts {
            true => {
                let wait = QUESTION.min(until.saturating_duration_since(clock.now()));
                hosts.start(host, key, fence, command, wait).await
            }
            false => hosts.fetch(host, key, fence, Duration::ZERO).await,
        };
        sent |= starts;
        if answer.is_ok() {
            places.seen(host);
        }
        match answer {
            Ok(ReceiptStatus::Running | ReceiptStatus::NotClaimed) if clock.now() < until => starts = true,
            // The key makes asking again safe. Whether the host can be asked shows when connecting.
            Err(e) if e.is_unknown() && clock.now() < until => retry.after(e, |_| {}).await?,
            // That this question did not arrive says nothing of the ones before.
            Err(e) if sent => return Err(e.certainty(Certainty::Unknown)),
            answer => return answer,
        }
    }
}
