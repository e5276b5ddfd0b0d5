//! Runs in memory, for tests: a second kind of store, in one file and with one line in the list.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::path::PathBuf;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError, Weak};

use super::{Here, Kept, RunStore, RunWriter, StoreError};
use crate::event::{Event, Record, RunState};
use crate::journal::{BlobError, Chunks, JournalError, Log, format};
use crate::lock::{Change, Lease, LockError, LockTable, Table};

/// Stores of this process by name.
static ALL: LazyLock<Mutex<BTreeMap<String, MemoryStore>>> = LazyLock::new(Mutex::default);

/// The store of that name; the same one each time.
pub fn open(name: &str, _: &Here) -> Result<Arc<dyn RunStore>, String> {
    let mut all = ALL.lock().unwrap_or_else(PoisonError::into_inner);
    Ok(Arc::new(all.entry(name.to_owned()).or_default().clone()))
}

#[derive(Debug, Clone, Default)]
struct MemoryStore(Arc<Mutex<Inner>>);

#[derive(Debug, Default)]
struct Inner {
    runs: BTreeMap<String, Run>,
    table: Option<Table>,
}

#[derive(Debug, Default)]
struct Run {
    journal: Vec<u8>,
    checkpoints: String,
    chunks: BTreeMap<String, Vec<u8>>,
    /// Who may write.
    writer: Weak<()>,
}

impl MemoryStore {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn with<T>(&self, run: &str, read: impl FnOnce(&mut Run) -> T) -> Result<T, StoreError> {
        self.lock().runs.get_mut(run).map(read).ok_or_else(|| StoreError::NoRun { run: run.to_owned() })
    }

    fn writer(&self, run: &str, records: u64, head: String) -> Result<Box<dyn RunWriter>, StoreError> {
        let token = Arc::new(());
        self.with(run, |r| r.writer = Arc::downgrade(&token))?;
        Ok(Box::new(Writer { store: self.clone(), run: run.to_owned(), token, records, head }))
    }
}

impl RunStore for MemoryStore {
    fn runs(&self) -> Result<Vec<String>, StoreError> {
        Ok(self.lock().runs.keys().cloned().collect())
    }

    fn place(&self, run: &str) -> String {
        format!("{run} in memory")
    }

    fn create(&self, plan: &str, _: &Lease) -> Result<Box<dyn RunWriter>, StoreError> {
        let mut inner = self.lock();
        let name = (1..).map(|n| format!("{plan}-{n}")).find(|name| !inner.runs.contains_key(name)).unwrap_or_default();
        inner.runs.insert(name.clone(), Run { journal: format::header().into_bytes(), ..Run::default() });
        drop(inner);
        self.writer(&name, 0, format::hash(b""))
    }

    fn open(&self, run: &str, _: &Lease) -> Result<(Box<dyn RunWriter>, RunState), StoreError> {
        let decoded = format::decode(&RunStore::place(self, run), &self.journal(run, 0)?)?;
        let state = super::state(self, run)?;
        Ok((self.writer(run, decoded.records.len() as u64, decoded.head())?, state))
    }

    fn adopt(&self, run: &str, kept: &Kept, _: &Lease) -> Result<(), StoreError> {
        let adopted = Run {
            journal: kept.journal.clone(),
            checkpoints: String::from_utf8_lossy(&kept.checkpoints).into_owned(),
            chunks: kept.chunks.iter().cloned().collect(),
            writer: Weak::new(),
        };
        match self.lock().runs.entry(run.to_owned()) {
            Entry::Vacant(place) => {
                place.insert(adopted);
                Ok(())
            }
            Entry::Occupied(_) => Err(JournalError::Fenced { why: "it is there".into() }.into()),
        }
    }

    fn journal(&self, run: &str, from: u64) -> Result<Vec<u8>, StoreError> {
        self.with(run, |r| r.journal.iter().skip(usize::try_from(from).unwrap_or(usize::MAX)).copied().collect())
    }

    fn checkpoints(&self, run: &str) -> Result<Vec<u8>, StoreError> {
        self.with(run, |r| r.checkpoints.clone().into_bytes())
    }

    fn chunks(&self, run: &str) -> Box<dyn Chunks> {
        Box::new(RunChunks(self.clone(), run.to_owned()))
    }

    fn is_live(&self, run: &str) -> bool {
        self.with(run, |r| r.writer.strong_count() > 0).unwrap_or(false)
    }

    fn socket(&self, run: &str) -> PathBuf {
        // Nobody listens there unless a test's run does.
        PathBuf::from(format!("/tmp/migrate-test-{}-{run}.sock", std::process::id()))
    }

    fn receipts(&self, run: &str) -> PathBuf {
        PathBuf::from(format!("/tmp/migrate-test-{}-{run}", std::process::id()))
    }

    fn lock_table(&self) -> Arc<dyn LockTable> {
        Arc::new(self.clone())
    }
}

impl LockTable for MemoryStore {
    fn place(&self) -> String {
        "the table in memory".into()
    }

    fn read(&self) -> Result<Option<Table>, LockError> {
        Ok(self.lock().table.clone())
    }

    fn change(&self, change: Change<'_>) -> Result<(), LockError> {
        let mut inner = self.lock();
        let mut table = inner.table.clone().unwrap_or_else(Table::first);
        change(&mut table)?;
        inner.table = Some(table);
        Ok(())
    }
}

struct RunChunks(MemoryStore, String);

impl Chunks for RunChunks {
    fn put(&mut self, hash: &str, bytes: &[u8]) -> Result<(), BlobError> {
        let put = self.0.with(&self.1, |r| r.chunks.put(hash, bytes));
        put.unwrap_or_else(|_| Err(BlobError::Missing { hash: hash.to_owned() }))
    }

    fn get(&self, hash: &str) -> Result<Vec<u8>, BlobError> {
        let got = self.0.with(&self.1, |r| Chunks::get(&r.chunks, hash));
        got.unwrap_or_else(|_| Err(BlobError::Missing { hash: hash.to_owned() }))
    }
}

struct Writer {
    store: MemoryStore,
    run: String,
    token: Arc<()>,
    records: u64,
    head: String,
}

impl Writer {
    /// Writes, unless another has opened the run since.
    fn write(&self, write: impl FnOnce(&mut Run)) -> Result<(), JournalError> {
        let fenced = || JournalError::Fenced { why: "another has the run".into() };
        let mine = |r: &mut Run| r.writer.ptr_eq(&Arc::downgrade(&self.token)).then(|| write(r)).ok_or_else(fenced);
        self.store.with(&self.run, mine).map_err(|_| fenced())?
    }
}

impl Log for Writer {
    fn append(&mut self, event: Event) -> Result<Record, JournalError> {
        let record = Record { seq: self.records, at: jiff::Timestamp::now(), event };
        let unwritable = |source| JournalError::Io { path: self.run.clone(), source };
        let (frame, head) = format::encode(&record, &self.head).map_err(unwritable)?;
        self.write(|r| r.journal.extend_from_slice(&frame))?;
        self.head = head;
        self.records += 1;
        Ok(record)
    }
}

impl RunWriter for Writer {
    fn run(&self) -> &str {
        &self.run
    }

    fn place(&self) -> String {
        RunStore::place(&self.store, &self.run)
    }

    fn records(&self) -> u64 {
        self.records
    }

    fn head(&self) -> &str {
        &self.head
    }

    fn read(&self) -> Result<Vec<u8>, JournalError> {
        let read = self.store.journal(&self.run, 0);
        read.map_err(|e| JournalError::Fenced { why: e.to_string() })
    }

    fn chunks(&self) -> Box<dyn Chunks> {
        RunStore::chunks(&self.store, &self.run)
    }

    fn open_checkpoints(&mut self) -> Result<Vec<u8>, JournalError> {
        let mut lines = String::new();
        self.write(|r| {
            r.checkpoints.truncate(r.checkpoints.rfind('\n').map_or(0, |n| n + 1));
            lines = r.checkpoints.clone();
        })?;
        Ok(lines.into_bytes())
    }

    fn checkpoint(&mut self, line: &str) -> Result<(), JournalError> {
        self.write(|r| r.checkpoints.push_str(&format!("{line}\n")))
    }
}
