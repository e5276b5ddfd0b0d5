//! Runs in etcd, for several machines: whoever can reach the cluster can read a run, give it orders and take it over.
//!
//! Owns what stands where in the cluster. Must never read from a server that may be behind, and never take a write for lost because its answer
//! was: what it would have written is looked for first.

mod address;
mod adopt;
mod chunks;
mod client;
mod keys;
mod letters;
mod locks;
mod machine;
mod trouble;
mod wire;
mod writer;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use self::address::Address;
use self::chunks::ClusterChunks;
use self::client::Client;
use self::keys::Keys;
use self::letters::ClusterLetters;
use self::locks::ClusterLocks;
use self::machine::Machine;
use self::trouble::Trouble;
use self::wire::{Do, Entry, If, Txn};
use self::writer::{Writer, Written};
use super::{Here, Kept, Letters, RunStore, RunWriter, StoreError};
use crate::event::RunState;
use crate::journal::{self, Chunks, JournalError, format};
use crate::lock::{Lease, LockTable};
use crate::text;

/// How many keys one answer has: a record is some hundred bytes.
const PAGE: u32 = 1000;
/// How often a change is tried again because somebody else was faster.
const TRIES: usize = 50;
/// No value is larger; servers take requests of 1.5 MiB unless they are told otherwise.
const LARGEST: usize = 1 << 20;

/// Opens the store at an address.
pub fn open(place: &str, here: &Here) -> Result<Arc<dyn RunStore>, String> {
    let address = Address::parse(place)?;
    Ok(Arc::new(EtcdStore(Arc::new(Cluster {
        client: Client::new(&address, &here.secrets)?,
        keys: Keys::new(&address.prefix),
        place: address.to_string(),
        machine: Machine::new(&here.dir),
        ids: Mutex::default(),
    }))))
}

/// A cluster, and this machine beside it.
#[derive(Debug)]
struct Cluster {
    client: Client,
    keys: Keys,
    place: String,
    machine: Machine,
    /// What tells runs of one name apart.
    ids: Mutex<BTreeMap<String, String>>,
}

/// How far a journal reaches.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Head {
    /// Tells this run from others that had or will have its name.
    id: String,
    /// How many records there are.
    records: u64,
    /// How many bytes.
    bytes: u64,
    /// SHA-256 of the last record, hex.
    hash: String,
    /// Of the last who had it open.
    fence: u64,
}

/// A stretch of a run, by the machine that has the receipts of its commands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Stay {
    from: u64,
    machine: String,
}

impl Cluster {
    /// Where a run is, for people.
    fn place(&self, run: &str) -> String {
        format!("{}/{run}", self.place)
    }

    fn store_error(&self) -> impl Fn(Trouble) -> StoreError {
        |trouble| trouble.of_store(&self.place)
    }

    /// The head of a run as an entry says it, and the revision that wrote it.
    fn head(&self, run: &str, entry: Option<&Entry>) -> Result<(Head, u64), StoreError> {
        let entry = entry.filter(|_| is_plain(run)).ok_or_else(|| StoreError::NoRun { run: run.to_owned() })?;
        let head: Head = parse(entry).map_err(self.store_error())?;
        let mut ids = self.ids.lock().unwrap_or_else(PoisonError::into_inner);
        ids.insert(run.to_owned(), head.id.clone());
        Ok((head, entry.modified))
    }

    /// What of this machine belongs to a run.
    fn directory(&self, run: &str) -> PathBuf {
        let known = |cluster: &Self| {
            let ids = cluster.ids.lock().unwrap_or_else(PoisonError::into_inner);
            ids.get(run).cloned()
        };
        let id = known(self).or_else(|| {
            let outcome = self.client.read(vec![Do::Get(self.keys.head(run))]).ok()?;
            self.head(run, outcome.one(0)).ok()?;
            known(self)
        });
        self.machine.directory(run, id.as_deref())
    }

    /// The bytes of a journal from one on, and the revision at which they were all.
    fn journal(&self, run: &str, from: u64) -> Result<(Vec<u8>, Head, u64), StoreError> {
        let (keys, end) = (&self.keys, self.keys.records_end(run));
        let mut outcome = self
            .client
            .read(vec![
                Do::Get(keys.head(run)),
                Do::Last(keys.record(run, 0), keys.record(run, from.saturating_add(1))),
                Do::List(keys.record(run, from.saturating_add(1)), end.clone(), PAGE),
            ])
            .map_err(self.store_error())?;
        let revision = outcome.revision;
        let (head, _) = self.head(run, outcome.one(0))?;
        let (mut bytes, mut at) = (Vec::new(), from);
        let mut pieces: Vec<Entry> = outcome.found.drain(..).skip(1).flatten().collect();
        while at < head.bytes && !pieces.is_empty() {
            let before = at;
            for piece in &pieces {
                let begins = self.offset(piece)?;
                let Some(part) = at.checked_sub(begins).and_then(|n| piece.value.get(usize::try_from(n).ok()?..))
                else {
                    break;
                };
                bytes.extend_from_slice(part);
                at += part.len() as u64;
                if at >= head.bytes {
                    break;
                }
            }
            if at == before || at >= head.bytes {
                break;
            }
            let next = vec![Do::List(keys.record(run, at), end.clone(), PAGE)];
            pieces = self.client.read(next).map_err(self.store_error())?.found.into_iter().flatten().collect();
        }
        match at < head.bytes {
            true => Err(self.damaged(run, &head, at, "is missing")),
            false => Ok((bytes, head, revision)),
        }
    }

    /// Where a piece of a journal begins.
    fn offset(&self, piece: &Entry) -> Result<u64, StoreError> {
        let digits = piece.key.rsplit('/').next().and_then(|digits| digits.parse().ok());
        digits.ok_or_else(|| self.store_error()(Trouble::Strange(text::escape(piece.key.as_bytes(), 200))))
    }

    fn damaged(&self, run: &str, head: &Head, offset: u64, what: &str) -> StoreError {
        let why = format!("what stands there {what}, and the run reaches to byte {}", head.bytes);
        JournalError::Damaged { path: self.place(run), frame: head.records, offset, why }.into()
    }

    /// Opens a run for who holds a lease, and shuts everybody else out.
    fn take(self: &Arc<Self>, run: &str, lease: &Lease) -> Result<Writer, StoreError> {
        let (keys, fence) = (&self.keys, lease.fence());
        let machine = self.machine.id().map_err(|e| self.machine_error(&e))?;
        for _ in 0..TRIES {
            let asked = vec![Do::Get(keys.head(run)), Do::Get(keys.writer(run)), Do::Get(keys.machines(run))];
            let found = self.client.read(asked).map_err(self.store_error())?;
            let (head, head_at) = self.head(run, found.one(0))?;
            if head.fence > fence {
                let why = format!("another controller has had run {run} since this one got its lease");
                return Err(JournalError::Fenced { why }.into());
            }
            let head = Head { fence, ..head };
            let mut stays: Vec<Stay> = found.one(2).map_or(Ok(Vec::new()), parse).map_err(self.store_error())?;
            if stays.last().is_none_or(|last| last.machine != machine) {
                stays.push(Stay { from: head.records, machine: machine.clone() });
            }
            let written = Written::new(fence);
            let then = vec![
                Do::Put(keys.writer(run), bytes(&written)),
                Do::Put(keys.head(run), bytes(&head)),
                Do::Put(keys.machines(run), bytes(&stays)),
                // What a writer began of a record and did not come to finish.
                Do::DeleteFrom(keys.record(run, head.bytes), keys.records_end(run)),
            ];
            let writer_at = found.one(1).map_or(0, |entry| entry.modified);
            let conditions = vec![
                If::Unchanged(keys.head(run), head_at),
                If::Unchanged(keys.writer(run), writer_at),
                If::There(keys.held(fence)),
            ];
            if let Some(at) = self.took(run, Txn { conditions, then, ..Txn::default() }, &written, fence)? {
                self.machine.make(run, &head.id).map_err(|e| self.machine_error(&e))?;
                return Ok(Writer::new(Arc::clone(self), run, head, at, fence));
            }
        }
        Err(self.store_error()(Trouble::Refused(format!("{run} changes hands all the time"))))
    }

    /// Takes away what a copy of a run that did not come to its end may have left, from a byte of its journal on.
    fn leftovers(&self, run: &str, from: u64) -> Vec<Do> {
        let (keys, chunks) = (&self.keys, self.keys.chunks(run));
        vec![
            Do::DeleteFrom(keys.record(run, from), keys.records_end(run)),
            Do::DeleteFrom(keys.checkpoint(run, 0), keys.checkpoints_end(run)),
            Do::DeleteFrom(chunks.0, chunks.1),
        ]
    }

    /// Opens or makes a run by a transaction; the revision at which it did, and `None` when something else was found than expected.
    fn took(&self, run: &str, mut txn: Txn, written: &Written, fence: u64) -> Result<Option<u64>, StoreError> {
        txn.otherwise = vec![Do::Get(self.keys.writer(run)), Do::Get(self.keys.held(fence))];
        let answered = self.client.run(&txn).map_err(self.store_error())?;
        let outcome = answered.outcome;
        if outcome.met {
            return Ok(Some(outcome.revision));
        }
        if outcome.one(1).is_none() {
            let why = "the locks of this controller were broken or taken over".to_owned();
            return Err(JournalError::Fenced { why }.into());
        }
        let ours = outcome.one(0).filter(|entry| answered.again && entry.value == bytes(written));
        Ok(ours.map(|entry| entry.modified))
    }

    fn machine_error(&self, error: &std::io::Error) -> StoreError {
        StoreError::Unusable {
            place: self.machine.place(),
            why: error.to_string(),
            hint: "nothing was changed; choose another with --state-dir or MIGRATE_STATE_DIR".to_owned(),
        }
    }
}

/// The store of a cluster.
#[derive(Debug, Clone)]
struct EtcdStore(Arc<Cluster>);

impl RunStore for EtcdStore {
    fn runs(&self) -> Result<Vec<String>, StoreError> {
        let (mut from, to) = self.0.keys.heads();
        let begins = from.len();
        let mut runs = Vec::new();
        loop {
            let found = self.0.client.read(vec![Do::List(from.clone(), to.clone(), PAGE)]);
            let found: Vec<Entry> = found.map_err(self.0.store_error())?.found.into_iter().flatten().collect();
            let Some(last) = found.last() else { return Ok(runs) };
            // What follows a key at once.
            from = format!("{}\0", last.key);
            runs.extend(found.iter().filter_map(|entry| entry.key.get(begins..)).map(str::to_owned));
        }
    }

    fn place(&self, run: &str) -> String {
        self.0.place(run)
    }

    fn create(&self, plan: &str, lease: &Lease) -> Result<Box<dyn RunWriter>, StoreError> {
        let (cluster, keys, fence) = (&self.0, &self.0.keys, lease.fence());
        let machine = cluster.machine.id().map_err(|e| cluster.machine_error(&e))?;
        let header = format::header().into_bytes();
        for _ in 0..TRIES {
            let there = self.runs()?;
            let name = (1..).map(|n| format!("{plan}-{n}")).find(|name| !there.contains(name)).unwrap_or_default();
            let head =
                Head { id: machine::random(), records: 0, bytes: header.len() as u64, hash: format::hash(b""), fence };
            let written = Written::new(fence);
            let mut then = vec![
                Do::Put(keys.writer(&name), bytes(&written)),
                Do::Put(keys.head(&name), bytes(&head)),
                Do::Put(keys.machines(&name), bytes(&[Stay { from: 0, machine: machine.clone() }])),
                Do::Put(keys.record(&name, 0), header.clone()),
            ];
            then.extend(cluster.leftovers(&name, head.bytes));
            let conditions = vec![If::Unchanged(keys.head(&name), 0), If::There(keys.held(fence))];
            if let Some(at) = cluster.took(&name, Txn { conditions, then, ..Txn::default() }, &written, fence)? {
                cluster.machine.make(&name, &head.id).map_err(|e| cluster.machine_error(&e))?;
                cluster.ids.lock().unwrap_or_else(PoisonError::into_inner).insert(name.clone(), head.id.clone());
                return Ok(Box::new(Writer::new(Arc::clone(cluster), &name, head, at, fence)));
            }
        }
        Err(cluster.store_error()(Trouble::Refused(format!("others begin runs of {plan} all the time"))))
    }

    fn open(&self, run: &str, lease: &Lease) -> Result<(Box<dyn RunWriter>, RunState), StoreError> {
        let writer = self.0.take(run, lease)?;
        let (bytes, head, _) = self.0.journal(run, 0)?;
        let place = self.0.place(run);
        let decoded = format::decode(&place, &bytes)?;
        if decoded.length != head.bytes || decoded.head() != head.hash {
            return Err(self.0.damaged(run, &head, decoded.length, "is not what was written last"));
        }
        drop(bytes);
        let graph = journal::graph_of(&decoded.records, self.chunks(run).as_ref());
        let graph = graph.map_err(|source| JournalError::Blob { path: place.clone(), source })?;
        let folded = RunState::fold(decoded.records, Arc::new(graph));
        let state = folded.map_err(|source| JournalError::Illegal { path: place, source })?;
        Ok((Box::new(writer), state))
    }

    fn adopt(&self, run: &str, kept: &Kept, lease: &Lease) -> Result<(), StoreError> {
        adopt::adopt(&self.0, run, kept, lease)
    }

    fn journal(&self, run: &str, from: u64) -> Result<Vec<u8>, StoreError> {
        Ok(self.0.journal(run, from)?.0)
    }

    fn wait(&self, run: &str, from: u64, at_most: Duration) -> Result<Vec<u8>, StoreError> {
        let until = Instant::now() + at_most;
        loop {
            let (bytes, _, revision) = self.0.journal(run, from)?;
            let rest = until.saturating_duration_since(Instant::now());
            if !bytes.is_empty() || rest.is_zero() {
                return Ok(bytes);
            }
            self.0.client.changed(keys::only(&self.0.keys.head(run)), revision + 1, rest);
        }
    }

    fn checkpoints(&self, run: &str) -> Result<Vec<u8>, StoreError> {
        let cluster = &self.0;
        let found = cluster.client.read(vec![Do::Get(cluster.keys.head(run))]).map_err(cluster.store_error())?;
        cluster.head(run, found.one(0))?;
        let lines = writer::checkpoints(cluster, run).map_err(cluster.store_error())?;
        Ok(lines.concat())
    }

    fn chunks(&self, run: &str) -> Box<dyn Chunks> {
        Box::new(ClusterChunks::new(Arc::clone(&self.0), run))
    }

    fn is_live(&self, run: &str) -> bool {
        let asked = vec![Do::Get(self.0.keys.writer(run)), Do::Get(self.0.keys.table())];
        let Ok(found) = self.0.client.read(asked) else { return false };
        let written = found.one(0).and_then(|entry| parse::<Written>(entry).ok());
        written.is_some_and(|written| locks::in_force(found.one(1), written.fence))
    }

    fn socket(&self, run: &str) -> PathBuf {
        self.0.directory(run).join("control.sock")
    }

    fn receipts(&self, run: &str) -> PathBuf {
        self.0.directory(run).join("controller")
    }

    fn receipts_are_here(&self, run: &str, record: u64) -> Result<bool, StoreError> {
        let cluster = &self.0;
        let found = cluster.client.read(vec![Do::Get(cluster.keys.machines(run))]).map_err(cluster.store_error())?;
        let stays: Vec<Stay> = found.one(0).map_or(Ok(Vec::new()), parse).map_err(cluster.store_error())?;
        let here = cluster.machine.id().map_err(|e| cluster.machine_error(&e))?;
        Ok(stays.iter().rfind(|stay| stay.from <= record).is_some_and(|stay| stay.machine == here))
    }

    fn letters(&self, run: &str) -> Option<Box<dyn Letters>> {
        Some(Box::new(ClusterLetters::new(Arc::clone(&self.0), run)))
    }

    fn lock_table(&self) -> Arc<dyn LockTable> {
        Arc::new(ClusterLocks::new(Arc::clone(&self.0)))
    }
}

/// A name that is one part of a key.
fn is_plain(run: &str) -> bool {
    !run.is_empty() && !run.contains(['/', '\0'])
}

fn bytes<T: Serialize + ?Sized>(value: &T) -> Vec<u8> {
    // Nothing of ours has keys that are no text.
    serde_json::to_vec(value).unwrap_or_default()
}

fn parse<T: DeserializeOwned>(entry: &Entry) -> Result<T, Trouble> {
    let what = |e| Trouble::Strange(format!("{}: {e}", text::escape(entry.key.as_bytes(), 200)));
    serde_json::from_slice(&entry.value).map_err(what)
}
