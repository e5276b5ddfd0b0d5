//! Making a run in a cluster that was kept elsewhere. Nobody sees anything of it before its head is there, which comes last.

use std::sync::{Arc, PoisonError};

use super::wire::{Do, If, Txn};
use super::{Cluster, Head, LARGEST, Stay, bytes, is_plain, machine};
use crate::journal::JournalError;
use crate::lock::Lease;
use crate::store::{Kept, StoreError};

/// Lines in one request, which may do 128 things.
const LINES: usize = 64;

pub fn adopt(cluster: &Arc<Cluster>, run: &str, kept: &Kept, lease: &Lease) -> Result<(), StoreError> {
    if !is_plain(run) {
        return Err(StoreError::NoRun { run: run.to_owned() });
    }
    let (keys, machine) = (&cluster.keys, cluster.machine.id().map_err(|e| cluster.machine_error(&e))?);
    let id = machine::random();
    // What an earlier try has left.
    write(cluster, run, lease, cluster.leftovers(run, 0))?;
    for (hash, chunk) in &kept.chunks {
        write(cluster, run, lease, vec![Do::Put(keys.chunk(run, hash), chunk.clone())])?;
    }
    let lines: Vec<&[u8]> = kept.checkpoints.split(|b| *b == b'\n').filter(|line| !line.is_empty()).collect();
    for (n, lines) in lines.chunks(LINES).enumerate() {
        let numbers = (n * LINES) as u64..;
        let put = numbers.zip(lines).map(|(number, line)| Do::Put(keys.checkpoint(run, number), line.to_vec()));
        write(cluster, run, lease, put.collect())?;
    }
    let mut at = 0;
    for piece in kept.journal.chunks(LARGEST) {
        write(cluster, run, lease, vec![Do::Put(keys.record(run, at), piece.to_vec())])?;
        at += piece.len() as u64;
    }
    let head = Head { id: id.clone(), records: kept.records, bytes: at, hash: kept.head.clone(), fence: lease.fence() };
    let stays = [Stay { from: 0, machine }];
    write(
        cluster,
        run,
        lease,
        vec![Do::Put(keys.head(run), bytes(&head)), Do::Put(keys.machines(run), bytes(&stays))],
    )?;
    cluster.machine.make(run, &id).map_err(|e| cluster.machine_error(&e))?;
    cluster.ids.lock().unwrap_or_else(PoisonError::into_inner).insert(run.to_owned(), id);
    Ok(())
}

/// Writes as long as no run of that name is there and the lease is held.
fn write(cluster: &Cluster, run: &str, lease: &Lease, then: Vec<Do>) -> Result<(), StoreError> {
    let keys = &cluster.keys;
    let conditions = vec![If::Unchanged(keys.head(run), 0), If::There(keys.held(lease.fence()))];
    let head = then.iter().find_map(|what| {
        let Do::Put(key, value) = what else { return None };
        (*key == keys.head(run)).then(|| value.clone())
    });
    let answered = cluster.client.run(&Txn { conditions, then, otherwise: vec![Do::Get(keys.head(run))] });
    let answered = answered.map_err(cluster.store_error())?;
    // The head, whose answer was lost.
    let landed =
        || answered.again && head.is_some() && answered.outcome.one(0).map(|entry| &entry.value) == head.as_ref();
    match answered.outcome.met || landed() {
        true => Ok(()),
        false => {
            let why = format!("a run {run} was begun there meanwhile, or the locks were taken");
            Err(JournalError::Fenced { why }.into())
        }
    }
}
