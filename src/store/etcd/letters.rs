//! Letters to the controller of a run, wherever it is, and its answers. What nobody takes is gone after a minute: an order must not be obeyed
//! when nobody reckons with it any more.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::wire::{Do, Entry, If, Txn};
use super::{Cluster, PAGE, keys, machine};
use crate::store::{Letters, StoreError};

/// How long a letter and an answer lie there.
const SECONDS: u64 = 60;

/// The letters of one run.
pub struct ClusterLetters {
    cluster: Arc<Cluster>,
    run: String,
}

impl ClusterLetters {
    /// Of that run.
    pub fn new(cluster: Arc<Cluster>, run: &str) -> Self {
        Self { cluster, run: run.to_owned() }
    }

    fn put(&self, key: String, value: &[u8], mut txn: Txn) -> Result<bool, StoreError> {
        let cluster = &self.cluster;
        let lease = cluster.client.grant(SECONDS).map_err(cluster.store_error())?;
        txn.then.push(Do::PutFor(lease, key, value.to_vec()));
        Ok(cluster.client.run(&txn).map_err(cluster.store_error())?.outcome.met)
    }
}

impl Letters for ClusterLetters {
    fn leave(&self, letter: &[u8]) -> Result<String, StoreError> {
        let number = machine::random();
        // Written twice, it is the same letter.
        self.put(self.cluster.keys.letter(&self.run, &number), letter, Txn::default())?;
        Ok(number)
    }

    fn answer_to(&self, letter: &str, at_most: Duration) -> Result<Option<Vec<u8>>, StoreError> {
        let (cluster, until) = (&self.cluster, Instant::now() + at_most);
        let key = cluster.keys.answer(&self.run, letter);
        loop {
            let mut found = cluster.client.read(vec![Do::Get(key.clone())]).map_err(cluster.store_error())?;
            if let Some(entry) = found.found.pop().and_then(|mut entries| entries.pop()) {
                // It would go by itself.
                let _ = cluster.client.run(&Txn::read(vec![Do::Delete(key)]));
                return Ok(Some(entry.value));
            }
            let rest = until.saturating_duration_since(Instant::now());
            if rest.is_zero() {
                return Ok(None);
            }
            cluster.client.changed(keys::only(&key), found.revision + 1, rest);
        }
    }

    fn take_back(&self, letter: &str) -> Result<bool, StoreError> {
        let (cluster, key) = (&self.cluster, self.cluster.keys.letter(&self.run, letter));
        let answer = cluster.keys.answer(&self.run, letter);
        let conditions = vec![If::There(key.clone())];
        let txn = Txn { conditions, then: vec![Do::Delete(key)], otherwise: vec![Do::Get(answer)] };
        let answered = cluster.client.run(&txn).map_err(cluster.store_error())?;
        // Gone, and not answered: by an earlier try, or by itself.
        Ok(answered.outcome.met || answered.outcome.one(0).is_none())
    }

    fn next(&self, at_most: Duration) -> Result<Vec<(String, Vec<u8>)>, StoreError> {
        let (cluster, until) = (&self.cluster, Instant::now() + at_most);
        let (from, to) = cluster.keys.letters(&self.run);
        loop {
            let asked = vec![Do::List(from.clone(), to.clone(), PAGE)];
            let found = cluster.client.read(asked).map_err(cluster.store_error())?;
            let mut letters: Vec<Entry> = found.found.into_iter().flatten().collect();
            letters.sort_by_key(|letter| letter.modified);
            let rest = until.saturating_duration_since(Instant::now());
            if !letters.is_empty() || rest.is_zero() {
                let number = |key: &str| key.get(from.len()..).unwrap_or_default().to_owned();
                return Ok(letters.into_iter().map(|letter| (number(&letter.key), letter.value)).collect());
            }
            cluster.client.changed((from.clone(), to.clone()), found.revision + 1, rest);
        }
    }

    fn answer(&self, letter: &str, answer: &[u8]) -> Result<(), StoreError> {
        let keys = &self.cluster.keys;
        let then = vec![Do::Delete(keys.letter(&self.run, letter))];
        self.put(keys.answer(&self.run, letter), answer, Txn { then, ..Txn::default() })?;
        Ok(())
    }
}
