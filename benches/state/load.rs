//! A client that writes to whichever of two servers takes it, and how long it goes without an answer.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::lab::databases::client::Client;

/// The time between two writes that were acknowledged.
#[derive(Clone)]
pub struct Gaps(Arc<Mutex<(Instant, Duration)>>);

impl Gaps {
    fn acknowledged(&self) {
        let mut gaps = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *gaps = (Instant::now(), gaps.1.max(gaps.0.elapsed()));
    }

    /// The longest one since this was asked before.
    pub fn longest(&self) -> Duration {
        let mut gaps = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut gaps.1)
    }
}

/// A client whose gaps are known.
pub struct Direct {
    client: Client,
    pub gaps: Gaps,
}

impl Direct {
    /// `write` says whether a host has taken a word.
    pub fn start(write: impl Fn(usize, &str) -> bool + Send + 'static) -> Self {
        let gaps = Gaps(Arc::new(Mutex::new((Instant::now(), Duration::ZERO))));
        let seen = gaps.clone();
        let client = Client::start(move |host, word| {
            let taken = write(host, word);
            if taken {
                seen.acknowledged();
            }
            taken
        });
        client.wait_for_more(20);
        gaps.longest();
        Self { client, gaps }
    }

    pub fn wait(&self) {
        self.client.wait_for_more(20);
    }

    /// How many acknowledged words a server lacks.
    pub fn lost(self, has: impl FnOnce() -> BTreeSet<String>) -> String {
        let acked = self.client.stop();
        let has = has();
        format!("reconnects, {} of {}", acked.iter().filter(|(word, _)| !has.contains(word)).count(), acked.len())
    }
}
