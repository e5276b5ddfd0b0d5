//! Runs in a directory: `runs/NAME/` with `journal`, `checkpoints`, `blobs/`, `controller/` (receipts) and the socket of a live controller; `locks/` beside them.
//!
//! The default, for one machine or one file system that several share.

mod chunks;
mod journal;
mod locks;

use std::fs::{DirBuilder, File};
use std::io::{ErrorKind, Read, Seek, SeekFrom};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{Here, Kept, RunStore, RunWriter, StoreError};
use crate::event::RunState;
use crate::journal::{Chunks, JournalError};
use crate::lock::{Lease, LockTable};

pub use chunks::ChunkDir;
pub use journal::{CHECKPOINTS, Journal, in_use, load, read};
pub use locks::LockDir;

/// Opens the store of a directory, which need not be there yet.
pub fn open(place: &str, _: &Here) -> Result<Arc<dyn RunStore>, String> {
    match place {
        "" => Err("it names no directory".into()),
        place => Ok(Arc::new(FileStore::new(place))),
    }
}

/// The store of a directory.
#[derive(Debug, Clone)]
pub struct FileStore {
    dir: PathBuf,
}

impl FileStore {
    /// Touches nothing yet.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self { dir: dir.into() }
    }

    fn runs_dir(&self) -> PathBuf {
        self.dir.join("runs")
    }

    /// The journal of a run; a name that is no plain one reaches nothing outside.
    fn path(&self, run: &str) -> Result<PathBuf, StoreError> {
        let dir = self.runs_dir().join(run);
        let plain = Path::new(run).file_name().is_some_and(|name| name == run);
        match plain && dir.is_dir() {
            true => Ok(dir.join("journal")),
            false => Err(StoreError::NoRun { run: run.to_owned() }),
        }
    }

    fn beside(&self, run: &str, name: &str) -> PathBuf {
        self.runs_dir().join(run).join(name)
    }

    /// Makes the directory of a new run.
    fn make(&self, plan: &str) -> Result<(String, PathBuf), StoreError> {
        let refuse = |path: &Path, why: String| StoreError::Unusable {
            place: format!("the state directory {} cannot be written", path.display()),
            why,
            hint: "nothing was changed; choose another with --state-dir or MIGRATE_STATE_DIR".into(),
        };
        let dir = self.runs_dir();
        DirBuilder::new().recursive(true).mode(0o700).create(&dir).map_err(|e| refuse(&dir, e.to_string()))?;
        for n in 1_u32.. {
            let name = format!("{plan}-{n}");
            let path = dir.join(&name);
            match DirBuilder::new().mode(0o700).create(&path) {
                Ok(()) => return Ok((name, path.join("journal"))),
                Err(e) if e.kind() == ErrorKind::AlreadyExists => {}
                Err(e) => return Err(refuse(&path, e.to_string())),
            }
        }
        Err(refuse(&dir, "there are too many runs".into()))
    }

    /// Reads of the journal of a run.
    fn read(&self, run: &str, read: impl FnOnce(&mut File) -> std::io::Result<Vec<u8>>) -> Result<Vec<u8>, StoreError> {
        let path = self.path(run)?;
        let read = File::open(&path).and_then(|mut file| read(&mut file));
        read.map_err(|source| JournalError::Io { path: path.display().to_string(), source }.into())
    }
}

impl RunStore for FileStore {
    fn runs(&self) -> Result<Vec<String>, StoreError> {
        let dir = self.runs_dir();
        let unreadable = |e: std::io::Error| StoreError::Unusable {
            place: format!("{} cannot be read", dir.display()),
            why: e.to_string(),
            hint: "choose another --state-dir".into(),
        };
        let entries = match std::fs::read_dir(&dir) {
            Ok(entries) => entries,
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            Err(e) => return Err(unreadable(e)),
        };
        let mut runs = Vec::new();
        for entry in entries {
            let entry = entry.map_err(unreadable)?;
            if entry.path().join("journal").is_file() {
                runs.push(entry.file_name().to_string_lossy().into_owned());
            }
        }
        Ok(runs)
    }

    fn place(&self, run: &str) -> String {
        self.beside(run, "journal").display().to_string()
    }

    fn create(&self, plan: &str, _: &Lease) -> Result<Box<dyn RunWriter>, StoreError> {
        let (_, path) = self.make(plan)?;
        Ok(Box::new(Journal::create(&path)?))
    }

    fn open(&self, run: &str, _: &Lease) -> Result<(Box<dyn RunWriter>, RunState), StoreError> {
        let path = self.path(run)?;
        let (journal, state) = match Journal::open(&path) {
            // It was stopped, and must not get at the run when it wakes.
            Err(JournalError::Locked { .. }) => Journal::take_over(&path)?,
            opened => opened?,
        };
        Ok((Box::new(journal), state))
    }

    fn adopt(&self, run: &str, kept: &Kept, _: &Lease) -> Result<(), StoreError> {
        let (dir, io) = (self.runs_dir().join(run), |path: &Path, source| JournalError::Io {
            path: path.display().to_string(),
            source,
        });
        if Path::new(run).file_name().is_none_or(|name| name != run) {
            return Err(StoreError::NoRun { run: run.to_owned() });
        }
        let journal = dir.join("journal");
        if journal.exists() {
            return Err(JournalError::Locked { path: journal.display().to_string() }.into());
        }
        // What an earlier try has left is written again. A directory without a journal is no run: that comes last.
        DirBuilder::new().recursive(true).mode(0o700).create(&dir).map_err(|e| io(&dir, e))?;
        let mut chunks = ChunkDir::beside(&journal);
        for (hash, bytes) in &kept.chunks {
            chunks
                .put(hash, bytes)
                .map_err(|source| JournalError::Blob { path: journal.display().to_string(), source })?;
        }
        let checkpoints = journal.with_file_name(CHECKPOINTS);
        journal::replace(&checkpoints, &kept.checkpoints).map_err(|e| io(&checkpoints, e))?;
        journal::replace(&journal, &kept.journal).map_err(|e| io(&journal, e))?;
        Ok(journal::sync_directory(&dir).map_err(|e| io(&dir, e))?)
    }

    fn journal(&self, run: &str, from: u64) -> Result<Vec<u8>, StoreError> {
        self.read(run, |file| {
            file.seek(SeekFrom::Start(from))?;
            let mut bytes = Vec::new();
            file.read_to_end(&mut bytes)?;
            Ok(bytes)
        })
    }

    fn beginning(&self, run: &str, at_most: usize) -> Result<Vec<u8>, StoreError> {
        self.read(run, |file| {
            let mut bytes = Vec::new();
            file.take(at_most as u64).read_to_end(&mut bytes)?;
            Ok(bytes)
        })
    }

    fn checkpoints(&self, run: &str) -> Result<Vec<u8>, StoreError> {
        let path = self.path(run)?.with_file_name(CHECKPOINTS);
        match std::fs::read(&path) {
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(Vec::new()),
            read => read.map_err(|source| JournalError::Io { path: path.display().to_string(), source }.into()),
        }
    }

    fn chunks(&self, run: &str) -> Box<dyn Chunks> {
        Box::new(ChunkDir::beside(&self.beside(run, "journal")))
    }

    fn is_live(&self, run: &str) -> bool {
        in_use(&self.beside(run, "journal"))
    }

    fn socket(&self, run: &str) -> PathBuf {
        self.beside(run, "control.sock")
    }

    fn receipts(&self, run: &str) -> PathBuf {
        let dir = self.beside(run, "controller");
        std::path::absolute(&dir).unwrap_or(dir)
    }

    fn lock_table(&self) -> Arc<dyn LockTable> {
        Arc::new(LockDir::new(&self.dir))
    }
}
