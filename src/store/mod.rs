//! Where runs are kept: their records, what these name, their checkpoints, and the locks over them.
//!
//! Owns the [`RunStore`] trait and the list of its kinds; each kind is a folder. Commands, the audit and the control of a live run know the
//! trait only. Must never hand out a run for writing to who does not hold its lease, and never call durable what a crash can undo.
//!
//! Its methods wait for what they do. A kind that speaks to a network does so on threads of its own.

mod carry;
mod etcd;
pub mod file;
mod follow;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::event::{Event, Record, RunState};
use crate::journal::{self, Chunks, JournalError, Log, format};
use crate::lock::{Lease, LockTable};
use crate::secret::Secrets;
use crate::step::Graph;

pub use carry::{Carried, carry};
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

    /// Makes a run exactly as it was kept elsewhere: all of it is there, or nothing. Refused where one of that name is.
    fn adopt(&self, run: &str, kept: &Kept, lease: &Lease) -> Result<(), StoreError>;

    /// The journal of a run from a byte on, as [`format`] has it. It may end in the middle of a frame.
    fn journal(&self, run: &str, from: u64) -> Result<Vec<u8>, StoreError>;

    /// The beginning of it, of so many bytes at most: enough for who asks which run it is.
    fn beginning(&self, run: &str, at_most: usize) -> Result<Vec<u8>, StoreError> {
        let mut bytes = self.journal(run, 0)?;
        bytes.truncate(at_most);
        Ok(bytes)
    }

    /// The lines of its checkpoints; none when there are none. The last may be torn.
    fn checkpoints(&self, run: &str) -> Result<Vec<u8>, StoreError>;

    /// What its records name.
    fn chunks(&self, run: &str) -> Box<dyn Chunks>;

    /// Whether a controller has it open now, as far as can be seen from here.
    fn is_live(&self, run: &str) -> bool;

    /// The socket on this machine where a live controller listens.
    fn socket(&self, run: &str) -> PathBuf;

    /// Where receipts of commands on the controller's own machine are kept: a directory on it, absolute. Where it goes wherever the journal goes,
    /// the next controller finds it; a store that several machines share says which of them has it, by [`RunStore::receipts_are_here`].
    fn receipts(&self, run: &str) -> PathBuf;

    /// Whether the receipts of commands which the controller that wrote that record ran on its own machine are at [`RunStore::receipts`]. A
    /// controller that has the journal without them could run a command twice.
    fn receipts_are_here(&self, _run: &str, _record: u64) -> Result<bool, StoreError> {
        Ok(true)
    }

    /// Where orders and questions are left for a controller that may be on another machine; `None` where its socket is all there is.
    fn letters(&self, _run: &str) -> Option<Box<dyn Letters>> {
        None
    }

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

/// All that is kept of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// How many records there are.
    pub records: u64,
    /// SHA-256 of the last one, hex.
    pub head: String,
    /// The journal, as [`format`] has it.
    pub journal: Vec<u8>,
    /// Lines.
    pub checkpoints: Vec<u8>,
    /// What the records name, by name.
    pub chunks: Vec<(String, Vec<u8>)>,
}

/// Letters to whoever has a run open, and their answers. One that nobody takes is gone after a minute.
pub trait Letters: Send {
    /// Leaves a letter; returns what it is known by.
    fn leave(&self, letter: &[u8]) -> Result<String, StoreError>;

    /// What was answered to it; waits for that, at most so long.
    fn answer_to(&self, letter: &str, at_most: Duration) -> Result<Option<Vec<u8>>, StoreError>;

    /// Takes it back; `false` when somebody has taken it before.
    fn take_back(&self, letter: &str) -> Result<bool, StoreError>;

    /// All letters that are there, oldest first; waits for one, at most so long.
    fn next(&self, at_most: Duration) -> Result<Vec<(String, Vec<u8>)>, StoreError>;

    /// Answers one, which is there no more after that.
    fn answer(&self, letter: &str, answer: &[u8]) -> Result<(), StoreError>;
}

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

    /// Appends several in this order, in one go where the store can; each comes back with its hash.
    fn append_together(&mut self, events: Vec<Event>) -> Result<Vec<(Record, String)>, JournalError> {
        let mut appended = Vec::with_capacity(events.len());
        for event in events {
            let record = self.append(event)?;
            appended.push((record, self.head().to_owned()));
        }
        Ok(appended)
    }

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

/// What stores that are elsewhere need of this machine.
#[derive(Clone)]
pub struct Here {
    /// The state directory: what stays on this machine is below it.
    pub dir: PathBuf,
    /// Passwords.
    pub secrets: Arc<dyn Secrets>,
}

/// Opens a store by its address: `KIND:PLACE`. Contacts nobody yet.
pub fn open(address: &str, here: &Here) -> Result<Arc<dyn RunStore>, StoreError> {
    let (kind, place) = address.split_once(':').unwrap_or((address, ""));
    let known = KINDS.iter().find(|(name, _)| *name == kind);
    // What follows may hold a password that should not stand there.
    let shown = address.split_once('?').map_or(address, |(place, _)| place);
    let unusable = |why: String, hint: String| StoreError::Unusable { place: shown.to_owned(), why, hint };
    match known {
        Some((_, open)) => open(place, here).map_err(|why| unusable(why, "correct the address of the store".into())),
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
    Ok(format::records(&store.place(run), &store.journal(run, 0)?)?)
}

/// The graph that its first record names; an empty one when there is none.
pub fn graph(store: &dyn RunStore, run: &str, records: &[Record]) -> Result<Graph, StoreError> {
    let graph = journal::graph_of(records, store.chunks(run).as_ref());
    Ok(graph.map_err(|source| JournalError::Blob { path: store.place(run), source })?)
}

/// What its records fold to.
pub fn state(store: &dyn RunStore, run: &str) -> Result<RunState, StoreError> {
    let folded = journal::fold(&store.place(run), &store.journal(run, 0)?, &|| store.chunks(run));
    Ok(folded?.0)
}

/// Opens a store by its place; an error says what is wrong with that.
type Open = fn(&str, &Here) -> Result<Arc<dyn RunStore>, String>;

/// The kinds of stores: the word before the first `:` of an address, and what opens the rest of it.
const KINDS: &[(&str, Open)] = &[
    ("file", file::open),
    ("etcd", etcd::open),
    #[cfg(test)]
    ("memory", memory::open),
];

#[cfg(test)]
pub mod memory;
#[cfg(test)]
mod tests;

/// New stores of the kinds that need no server, for the tests of all kinds.
#[cfg(test)]
fn stores_under_test(dir: &Path) -> ((), Vec<String>) {
    use std::sync::atomic::{AtomicUsize, Ordering};
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    ((), vec![format!("file:{}", dir.join("runs").display()), format!("memory:conformance-{number}")])
}
