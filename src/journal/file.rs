//! A journal in a file, with one writer at a time.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use rustix::fs::{FlockOperation, flock};

use super::format::{self, Decoded, JournalError};
use crate::event::{Event, Record, RunState};

/// An open journal, locked for this process.
#[derive(Debug)]
pub struct Journal {
    file: File,
    path: PathBuf,
    head: String,
    seq: u64,
    poisoned: bool,
}

impl Journal {
    /// Makes a new journal; the file must not be there yet.
    pub fn create(path: &Path) -> Result<Self, JournalError> {
        let io = |source| io_error(path, source);
        let file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(path).map_err(io)?;
        lock(&file, path)?;
        let mut journal = Self { file, path: path.to_owned(), head: format::hash(b""), seq: 0, poisoned: false };
        journal.write(format::header().as_bytes())?;
        sync_directory(path).map_err(io)?;
        Ok(journal)
    }

    /// Opens a journal to go on with it, cutting a torn last frame; returns what it folds to.
    pub fn open(path: &Path) -> Result<(Self, RunState), JournalError> {
        let mut file = OpenOptions::new().read(true).write(true).open(path).map_err(|e| io_error(path, e))?;
        lock(&file, path)?;
        let Decoded { records, head, length } = read_all(&mut file, path)?;
        file.set_len(length).and_then(|()| file.sync_all()).map_err(|e| io_error(path, e))?;
        file.seek(SeekFrom::Start(length)).map_err(|e| io_error(path, e))?;
        let seq = records.len() as u64;
        let state = fold(path, records)?;
        Ok((Self { file, path: path.to_owned(), head, seq, poisoned: false }, state))
    }

    /// Appends an event and returns once it is on disk.
    pub fn append(&mut self, event: Event) -> Result<Record, JournalError> {
        let record = Record { seq: self.seq, at: Timestamp::now(), event };
        let (frame, head) = format::encode(&record, &self.head).map_err(|e| io_error(&self.path, e))?;
        self.write(&frame)?;
        self.head = head;
        self.seq += 1;
        Ok(record)
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), JournalError> {
        if self.poisoned {
            return Err(JournalError::Poisoned { path: self.path.display().to_string() });
        }
        // After a failed sync the kernel may have dropped the pages: trying again would report a success that is none.
        self.poisoned = true;
        self.file.write_all(bytes).and_then(|()| self.file.sync_data()).map_err(|e| io_error(&self.path, e))?;
        self.poisoned = false;
        Ok(())
    }
}

/// Reads a journal without locking or changing it; a torn last frame is left out.
pub fn read(path: &Path) -> Result<Vec<Record>, JournalError> {
    let mut file = File::open(path).map_err(|e| io_error(path, e))?;
    Ok(read_all(&mut file, path)?.records)
}

/// What a journal folds to, read without locking or changing it.
pub fn load(path: &Path) -> Result<RunState, JournalError> {
    fold(path, read(path)?)
}

/// Whether a controller has the journal open.
pub fn in_use(path: &Path) -> bool {
    File::open(path).is_ok_and(|f| flock(&f, FlockOperation::NonBlockingLockShared).is_err())
}

fn fold(path: &Path, records: Vec<Record>) -> Result<RunState, JournalError> {
    RunState::fold(records).map_err(|source| JournalError::Illegal { path: path.display().to_string(), source })
}

fn read_all(file: &mut File, path: &Path) -> Result<Decoded, JournalError> {
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).map_err(|e| io_error(path, e))?;
    format::decode(&path.display().to_string(), &bytes)
}

fn lock(file: &File, path: &Path) -> Result<(), JournalError> {
    flock(file, FlockOperation::NonBlockingLockExclusive)
        .map_err(|_| JournalError::Locked { path: path.display().to_string() })
}

fn sync_directory(path: &Path) -> std::io::Result<()> {
    File::open(path.parent().unwrap_or(Path::new(".")))?.sync_all()
}

fn io_error(path: &Path, source: std::io::Error) -> JournalError {
    JournalError::Io { path: path.display().to_string(), source }
}
