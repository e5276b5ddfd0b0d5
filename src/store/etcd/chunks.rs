//! Chunks in a cluster, a key each.

use std::sync::Arc;

use super::Cluster;
use super::wire::{Do, If, Txn};
use crate::journal::{BlobError, Chunks};

/// The chunks of one run.
pub struct ClusterChunks {
    cluster: Arc<Cluster>,
    run: String,
}

impl ClusterChunks {
    /// Of that run.
    pub fn new(cluster: Arc<Cluster>, run: &str) -> Self {
        Self { cluster, run: run.to_owned() }
    }
}

impl Chunks for ClusterChunks {
    fn put(&mut self, hash: &str, bytes: &[u8]) -> Result<(), BlobError> {
        let key = self.cluster.keys.chunk(&self.run, hash);
        // Only to a run that is there. What a name stands for never changes: one that is there stays.
        let conditions = vec![If::There(self.cluster.keys.head(&self.run)), If::Unchanged(key.clone(), 0)];
        let then = vec![Do::Put(key.clone(), bytes.to_vec())];
        let txn = Txn { conditions, then, otherwise: vec![Do::Get(key)] };
        let outcome = self.cluster.client.run(&txn).map_err(|trouble| trouble.of_chunk(hash))?.outcome;
        match outcome.met || outcome.one(0).is_some() {
            true => Ok(()),
            false => Err(BlobError::Missing { hash: hash.to_owned() }),
        }
    }

    fn get(&self, hash: &str) -> Result<Vec<u8>, BlobError> {
        let missing = || BlobError::Missing { hash: hash.to_owned() };
        // A name from a record is no key before it has been looked at.
        if hash.len() != 64 || !hash.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(missing());
        }
        let asked = vec![Do::Get(self.cluster.keys.chunk(&self.run, hash))];
        let mut found = self.cluster.client.read(asked).map_err(|trouble| trouble.of_chunk(hash))?.found;
        found.pop().and_then(|mut entries| entries.pop()).map(|entry| entry.value).ok_or_else(missing)
    }
}
