//! The table of leases in one key, changed when it is still what was read. Beside it stands a key for each lease that is held: what a
//! writer appends lands only while its own is there.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::trouble::Trouble;
use super::wire::{Do, Entry, If, Txn};
use super::{Cluster, TRIES, bytes, machine, parse};
use crate::event::Operator;
use crate::lock::{Change, LockError, LockTable, Owner, Table, Validity};

/// A cluster that elects a leader, or loses a server, is out of reach for some seconds.
const SHORTEST: Duration = Duration::from_secs(15);
/// Changes that are remembered, so that one whose answer was lost is known again.
const REMEMBERED: usize = 64;

/// The table, as it is kept.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Kept {
    table: serde_json::Value,
    /// The last changes.
    recent: Vec<String>,
}

/// The locks of a cluster.
#[derive(Debug)]
pub struct ClusterLocks {
    cluster: Arc<Cluster>,
}

/// What was read: the table, if there is one, the last changes, and the revision that wrote it.
struct Found {
    table: Option<Table>,
    recent: Vec<String>,
    at: u64,
}

impl ClusterLocks {
    /// Touches nothing yet.
    pub fn new(cluster: Arc<Cluster>) -> Self {
        Self { cluster }
    }

    fn trouble(&self) -> impl Fn(Trouble) -> LockError {
        |trouble| trouble.of_locks(&self.cluster.place)
    }

    fn find(&self) -> Result<Found, LockError> {
        let found = self.cluster.client.read(vec![Do::Get(self.cluster.keys.table())]).map_err(self.trouble())?;
        let Some(entry) = found.one(0) else { return Ok(Found { table: None, recent: Vec::new(), at: 0 }) };
        let (table, recent) = read(entry).map_err(|why| LockError::Damaged { path: self.place(), why })?;
        Ok(Found { table: Some(table), recent, at: entry.modified })
    }

    /// Puts a changed table where the one that was read is still; whether that came about.
    fn replace(&self, found: &Found, before: &BTreeSet<u64>, table: &Table, change: &str) -> Result<bool, LockError> {
        let (keys, after) = (&self.cluster.keys, fences(table));
        let damaged = |why: String| LockError::Damaged { path: self.place(), why };
        let value = table.to_bytes().and_then(|bytes| Ok(serde_json::from_slice(&bytes)?));
        let mut recent = found.recent.clone();
        recent.push(change.to_owned());
        recent.drain(..recent.len().saturating_sub(REMEMBERED));
        let kept = Kept { table: value.map_err(|e| damaged(e.to_string()))?, recent };
        let mut then = vec![Do::Put(keys.table(), bytes(&kept))];
        then.extend(after.difference(before).map(|fence| Do::Put(keys.held(*fence), change.as_bytes().to_vec())));
        then.extend(before.difference(&after).map(|fence| Do::Delete(keys.held(*fence))));
        if !table.happened.is_empty() {
            then.push(Do::Put(keys.happened(found.at, change), table.happened.join("\n").into_bytes()));
        }
        let conditions = vec![If::Unchanged(keys.table(), found.at)];
        let answered = self.cluster.client.run(&Txn { conditions, then, ..Txn::default() }).map_err(self.trouble())?;
        if answered.outcome.met || !answered.again {
            return Ok(answered.outcome.met);
        }
        // It was sent before, and its answer was lost.
        Ok(self.find()?.recent.iter().any(|known| known == change))
    }
}

impl LockTable for ClusterLocks {
    fn place(&self) -> String {
        self.cluster.place("locks")
    }

    fn read(&self) -> Result<Option<Table>, LockError> {
        Ok(self.find()?.table)
    }

    fn change(&self, change: Change<'_>) -> Result<(), LockError> {
        for _ in 0..TRIES {
            let mut found = self.find()?;
            let mut table = found.table.take().unwrap_or_else(Table::first);
            let before = fences(&table);
            change(&mut table)?;
            if self.replace(&found, &before, &table, &machine::random())? {
                return Ok(());
            }
        }
        Err(self.trouble()(Trouble::Refused("others change the table of locks all the time".to_owned())))
    }

    fn shortest(&self) -> Duration {
        SHORTEST
    }

    fn binds_writers(&self) -> bool {
        true
    }
}

fn read(entry: &Entry) -> Result<(Table, Vec<String>), String> {
    let kept: Kept = parse(entry).map_err(|e| e.to_string())?;
    Ok((Table::parse(&bytes(&kept.table))?, kept.recent))
}

fn fences(table: &Table) -> BTreeSet<u64> {
    table.held().iter().map(|grant| grant.fence).collect()
}

/// Whether the lease of that number is in force by the table in this entry, as far as can be seen from here.
pub fn in_force(entry: Option<&Entry>, fence: u64) -> bool {
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let here = Owner::this(&Operator { user: String::new(), host, pid: std::process::id() });
    let table = entry.and_then(|entry| read(entry).ok());
    table.is_some_and(|(table, _)| {
        table.held().iter().any(|grant| grant.fence == fence && grant.validity(&here) == Validity::Held)
    })
}
