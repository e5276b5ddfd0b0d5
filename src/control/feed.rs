//! What a live run tells those who ask: the last words of its steps, and its notices as they come.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::broadcast;

use crate::event::{LastWords, Notice, Watch};

/// Notices that a follower may be late by; one that is later reads the records again where they are kept.
const LATE: usize = 1024;

/// A watcher that passes on what it sees. Its copies are the same one.
#[derive(Debug, Clone)]
pub struct Feed {
    words: Arc<Mutex<LastWords>>,
    live: broadcast::Sender<Notice>,
}

impl Default for Feed {
    fn default() -> Self {
        Self { words: Arc::default(), live: broadcast::Sender::new(LATE) }
    }
}

impl Feed {
    /// The last words of each step under way.
    pub(super) fn last_words(&self) -> LastWords {
        self.words.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Everything from now on.
    pub(super) fn subscribe(&self) -> broadcast::Receiver<Notice> {
        self.live.subscribe()
    }
}

impl Watch for Feed {
    fn see(&mut self, notice: &Notice) {
        let mut words = self.words.lock().unwrap_or_else(PoisonError::into_inner);
        words.take_in(notice);
        drop(words);
        // Nobody may follow.
        let _ = self.live.send(notice.clone());
    }
}
