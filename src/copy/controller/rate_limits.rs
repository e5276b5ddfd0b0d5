//! How fast the copies under way may go, so that it can be changed meanwhile.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

/// The limits of what is under way, by job, in bytes per second.
#[derive(Default)]
pub struct Limits(Mutex<HashMap<String, watch::Sender<Option<u64>>>>);

/// The limit of one task; it is forgotten with it.
pub struct Limit<'a> {
    limits: &'a Limits,
    job: &'a str,
    value: watch::Receiver<Option<u64>>,
}

impl Limits {
    /// A task begins.
    pub fn of<'a>(&'a self, job: &'a str, bandwidth: Option<u64>) -> Limit<'a> {
        let (sender, value) = watch::channel(bandwidth);
        self.lock().insert(job.to_owned(), sender);
        Limit { limits: self, job, value }
    }

    /// Changes the limit of a job, if it is under way.
    pub fn set(&self, job: &str, bandwidth: Option<u64>) {
        if let Some(limit) = self.lock().get(job) {
            limit.send_replace(bandwidth);
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, watch::Sender<Option<u64>>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Limit<'_> {
    /// The limit and its changes.
    pub fn changes(&self) -> watch::Receiver<Option<u64>> {
        self.value.clone()
    }
}

impl Drop for Limit<'_> {
    fn drop(&mut self) {
        let mut limits = self.limits.lock();
        // Another task of the job may have begun.
        if limits.get(self.job).is_some_and(|sender| sender.subscribe().same_channel(&self.value)) {
            limits.remove(self.job);
        }
    }
}
