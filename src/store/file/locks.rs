//! The table of leases in one file, changed under one lock of the kernel.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, flock};

use crate::lock::{Change, LockError, LockTable, Table};

const TABLE: &str = "table.json";
const GUARD: &str = "guard";
const HISTORY: &str = "history";
/// How long the table may be in use by others.
const PATIENCE: Duration = Duration::from_secs(10);

/// The directory `locks` of a state directory.
#[derive(Debug, Clone)]
pub struct LockDir {
    dir: PathBuf,
}

impl LockDir {
    /// Touches nothing yet.
    pub fn new(state_dir: &Path) -> Self {
        Self { dir: state_dir.join("locks") }
    }

    fn guard(&self) -> Result<File, LockError> {
        let mut options = OpenOptions::new();
        let file = options.write(true).create(true).truncate(false).mode(0o600).open(self.dir.join(GUARD));
        let file = file.map_err(|e| self.io(GUARD, e))?;
        let began = Instant::now();
        while flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
            if began.elapsed() > PATIENCE {
                return Err(LockError::Busy { path: self.dir.join(GUARD).display().to_string(), waited: PATIENCE });
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(file)
    }

    fn write(&self, table: &Table) -> std::io::Result<()> {
        let next = self.dir.join("table.new");
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&next)?;
        file.write_all(&table.to_bytes()?)?;
        file.sync_all()?;
        fs::rename(&next, self.dir.join(TABLE))?;
        File::open(&self.dir)?.sync_all()
    }

    fn remember(&self, lines: &[String]) -> std::io::Result<()> {
        let mut file = OpenOptions::new().append(true).create(true).mode(0o600).open(self.dir.join(HISTORY))?;
        lines.iter().try_for_each(|line| file.write_all(format!("{line}\n").as_bytes()))?;
        file.sync_data()
    }

    fn io(&self, name: &str, source: std::io::Error) -> LockError {
        LockError::Io { path: self.dir.join(name).display().to_string(), source }
    }
}

impl LockTable for LockDir {
    fn place(&self) -> String {
        self.dir.join(TABLE).display().to_string()
    }

    fn read(&self) -> Result<Option<Table>, LockError> {
        let text = match fs::read(self.dir.join(TABLE)) {
            Ok(text) => text,
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(self.io(TABLE, e)),
        };
        Table::parse(&text).map(Some).map_err(|why| LockError::Damaged { path: self.place(), why })
    }

    fn change(&self, change: Change<'_>) -> Result<(), LockError> {
        DirBuilder::new().recursive(true).mode(0o700).create(&self.dir).map_err(|e| self.io("", e))?;
        let _guard = self.guard()?;
        let mut table = self.read()?.unwrap_or_else(Table::first);
        change(&mut table)?;
        if !table.happened.is_empty() {
            self.remember(&table.happened).map_err(|e| self.io(HISTORY, e))?;
        }
        self.write(&table).map_err(|e| self.io(TABLE, e))
    }
}
