//! Where runs are kept: their records, what these name, their checkpoints, and the locks over them.
//!
//! Owns the [`RunStore`] trait and the list of its kinds; each kind is a folder. Commands, the audit and the control of a live run know the
//! trait only. Must never hand out a run for writing to who does not hold its lease, and never call durable what a crash can undo.
//!
//! Its methods wait for what they do. A kind that speaks to a network does so on threads of its own.

pub mod file;
mod follow;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::event::{Record, RunState};
use crate::journal::{self, Chunks, JournalError, Log, format};
use crate::lock::{Lease, LockTable};
use crate::step::Graph;

pub use follow::Follower;

/// A place for runs.
pub trait RunStore: std::fmt::Debug + Send + Sync {
    /// The names of all runs, in no order.
    fn runs(&self) -> Result<Vec<String>, StoreError>;

    /// Where the journal of a run is, for people.
    fn place(&self, run: &str) -> String;

    /// Makes a new run of a plan and opens it for writing. Its name is the plan's and a number.
    fn create(&self, plan: &str, lease: &Lease) -> Result<Box<dyn RunWriter>, StoreError>;

    /// Opens a run for writing; returns what its records fold to. Whoever has it open has lost the lease, or it would not be this one's:
    /// nothing that it still writes counts.
    fn open(&self, run: &str, lease: &Lease) -> Result<(Box<dyn RunWriter>, RunState), StoreError>;

    /// The journal of a run from a byte on, as [`format`] has it. It may end in the middle of a frame.
    fn journal(&self, run: &str, from: u64) -> Result<Vec<u8>, StoreError>;

    /// The lines of its checkpoints; none when there are none. The last may be torn.
    fn checkpoints(&self, run: &str) -> Result<Vec<u8>, StoreError>;

    /// What its records name.
    fn chunks(&self, run: &str) -> Box<dyn Chunks>;

    /// Whether a controller has it open now, as far as can be seen from here.
    fn is_live(&self, run: &str) -> bool;

    /// The socket on this machine where a live controller listens.
    fn socket(&self, run: &str) -> PathBuf;

    /// The locks.
    fn lock_table(&self) -> Arc<dyn LockTable>;

    /// As [`RunStore::journal`], but waits for at least one byte, at most so long.
    fn wait(&self, run: &str, from: u64, at_most: Duration) -> Result<Vec<u8>, StoreError> {
        let began = Instant::now();
        loop {
            let bytes = self.journal(run, from)?;
            if !bytes.is_empty() || began.elapsed() >= at_most {
                return Ok(bytes);
            }
            std::thread::sleep(LOOK.min(at_most));
        }
    }
}

/// How often a store that cannot tell of a change looks for one.
const LOOK: Duration = Duration::from_millis(100);

/// A run that is open for writing.
pub trait RunWriter: Log {
    /// Its name.
    fn run(&self) -> &str;

    /// Where it is, for people.
    fn place(&self) -> String;

    /// Number of records.
    fn records(&self) -> u64;

    /// Its journal, as [`format`] has it.
    fn read(&self) -> Result<Vec<u8>, JournalError>;

    /// SHA-256 of the last record, hex: by the chain it stands for all of them.
    fn head(&self) -> &str;

    /// Where what its records name is put.
    fn chunks(&self) -> Box<dyn Chunks>;

    /// Cuts a last checkpoint that was torn, and keeps every other writer from adding more; returns the lines that are there.
    fn open_checkpoints(&mut self) -> Result<Vec<u8>, JournalError>;

    /// Adds a line to the checkpoints; durable when it returns, and after an error nothing more is taken.
    fn checkpoint(&mut self, line: &str) -> Result<(), JournalError>;
}

/// Why a store does not do what it was asked for.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// No run has that name.
    #[error("there is no run named {run}")]
    NoRun {
        /// The name.
        run: String,
    },
    /// The place itself cannot be read or written.
    #[error("{place}: {why}")]
    Unusable {
        /// The place.
        place: String,
        /// Why.
        why: String,
        /// What to do next.
        hint: String,
    },
    /// The run's records.
    #[error(transparent)]
    Journal(#[from] JournalError),
}

impl StoreError {
    /// What to do next.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::NoRun { .. } => Some("`migrate status` lists all runs".into()),
            Self::Unusable { hint, .. } => Some(hint.clone()),
            Self::Journal(e) => e.hint(),
        }
    }
}

/// Opens a store by its address: `KIND:PLACE`.
pub fn open(address: &str) -> Result<Arc<dyn RunStore>, StoreError> {
    let (kind, place) = address.split_once(':').unwrap_or((address, ""));
    let known = KINDS.iter().find(|(name, _)| *name == kind);
    let unusable = |why: String, hint: String| StoreError::Unusable { place: address.to_owned(), why, hint };
    match known {
        Some((_, open)) => open(place).map_err(|why| unusable(why, "correct the address of the store".into())),
        None => {
            let names: Vec<&str> = KINDS.iter().map(|(name, _)| *name).collect();
            Err(unusable("there is no such kind of store".into(), format!("kinds are {}", crate::text::list(&names))))
        }
    }
}

/// The store of a state directory, which need not be there yet.
pub fn in_directory(dir: &Path) -> Arc<dyn RunStore> {
    Arc::new(file::FileStore::new(dir))
}

/// All whole records of a run.
pub fn records(store: &dyn RunStore, run: &str) -> Result<Vec<Record>, StoreError> {
    Ok(format::decode(&store.place(run), &store.journal(run, 0)?)?.records)
}

/// The graph that its first record names; an empty one when there is none.
pub fn graph(store: &dyn RunStore, run: &str, records: &[Record]) -> Result<Graph, StoreError> {
    let graph = journal::graph_of(records, store.chunks(run).as_ref());
    Ok(graph.map_err(|source| JournalError::Blob { path: store.place(run), source })?)
}

/// What its records fold to.
pub fn state(store: &dyn RunStore, run: &str) -> Result<RunState, StoreError> {
    let records = records(store, run)?;
    let graph = Arc::new(graph(store, run, &records)?);
    let folded = RunState::fold(records, graph);
    Ok(folded.map_err(|source| JournalError::Illegal { path: store.place(run), source })?)
}

/// Opens a store by its place; an error says what is wrong with that.
type Open = fn(&str) -> Result<Arc<dyn RunStore>, String>;

/// The kinds of stores: the word before the first `:` of an address, and what opens the rest of it.
const KINDS: &[(&str, Open)] = &[
    ("file", file::open),
    #[cfg(test)]
    ("memory", memory::open),
];

#[cfg(test)]
pub mod memory;
#[cfg(test)]
mod tests;
