//! A client of two servers, and what it may expect of them.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// A client that writes words, one after the other, to the first of two hosts that takes them.
pub struct Client {
    stop: Arc<AtomicBool>,
    acks: Arc<AtomicU64>,
    thread: JoinHandle<Vec<(String, usize)>>,
}

impl Client {
    /// `write` says whether a host has taken a word.
    pub fn start(write: impl Fn(usize, &str) -> bool + Send + 'static) -> Self {
        Self::named("word", write)
    }

    /// One of several: its words begin with its name.
    pub fn named(name: &str, write: impl Fn(usize, &str) -> bool + Send + 'static) -> Self {
        let name = name.to_owned();
        let (stop, acks) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (stopped, count) = (Arc::clone(&stop), Arc::clone(&acks));
        let thread = std::thread::spawn(move || {
            let mut acked: Vec<(String, usize)> = Vec::new();
            // A word whose answer was lost may be there: what follows is another one.
            for n in 0.. {
                if stopped.load(Ordering::Relaxed) {
                    break;
                }
                let word = format!("{name}-{n}");
                match [0, 1].into_iter().find(|host| write(*host, &word)) {
                    Some(host) => {
                        acked.push((word, host));
                        count.store(acked.len() as u64, Ordering::Relaxed);
                    }
                    None => std::thread::sleep(Duration::from_millis(5)),
                }
            }
            acked
        });
        Self { stop, acks, thread }
    }

    pub fn wait_for_more(&self, words: u64) {
        let wanted = self.acks.load(Ordering::Relaxed) + words;
        while self.acks.load(Ordering::Relaxed) < wanted {
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// What it was told is safe, and by which host.
    pub fn stop(self) -> Vec<(String, usize)> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap()
    }
}

/// A host has every word that was acknowledged, whoever took it.
#[track_caller]
pub fn assert_has_all(acked: &[(String, usize)], has: &BTreeSet<String>) {
    let lost: Vec<_> = acked.iter().filter(|(word, _)| !has.contains(word)).collect();
    assert!(lost.is_empty(), "lost of {}: {lost:?}", acked.len());
}

/// The new host has every word that was acknowledged, and from its first one on it took all of them: there was one writer at a time.
#[track_caller]
pub fn assert_handed_over(acked: &[(String, usize)], has: &BTreeSet<String>) {
    let lost: Vec<_> = acked.iter().filter(|(word, _)| !has.contains(word)).collect();
    assert!(lost.is_empty(), "lost of {}: {lost:?}", acked.len());
    let turn = acked.iter().position(|(_, host)| *host == 1).expect("the new host took some");
    assert!(turn > 0 && acked[turn..].iter().all(|(_, host)| *host == 1), "words went back to the old host");
}
