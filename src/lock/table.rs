//! The table of leases: one file, changed as a whole under one lock of the kernel, so that all locks of a run are had at once or none.

use std::collections::BTreeSet;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};

use super::clock;
use super::lease::Lease;
use super::owner::Owner;
use crate::event::Operator;
use crate::text;

/// How long a lease lasts without being renewed.
pub const LENGTH: Duration = Duration::from_secs(60);
/// Clocks of machines that share a state directory may be that far apart.
const SKEW: Duration = Duration::from_secs(10);
/// How long the table may be in use by others.
const PATIENCE: Duration = Duration::from_secs(10);
const FORMAT: u32 = 1;

/// Why something cannot be locked.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another controller works on it.
    #[error(
        "{name} is locked by {}, since {} for `{}`{}; {}",
        entry.owner, shown(entry.since), text::escape(entry.why.as_bytes(), 200), entry.of_run(), entry.rest_in_words(here)
    )]
    Held {
        /// The lock.
        name: String,
        /// Who has it.
        entry: Box<Entry>,
        /// Who asks.
        here: Box<Owner>,
    },
    /// There is no such lock.
    #[error("nothing named {name} is locked")]
    NotHeld {
        /// What was asked for.
        name: String,
    },
    /// The table stays in use.
    #[error(
        "{path} has been in use for {} by another process, which may have been stopped in the middle of it",
        text::duration(PATIENCE)
    )]
    Busy {
        /// The file.
        path: String,
    },
    /// The table cannot be read or written.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: String,
        /// What the system says.
        source: std::io::Error,
    },
    /// The table is none.
    #[error("{path} is damaged: {why}")]
    Damaged {
        /// The file.
        path: String,
        /// What is wrong with it.
        why: String,
    },
}

impl LockError {
    /// What to do next.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Held { name, .. } => format!(
                "let it come to its end, or stop it there with Ctrl-C; only when it hangs for good: `migrate lock break {name} --yes`, after which it does nothing more"
            ),
            Self::NotHeld { .. } => "`migrate lock show` lists what is".into(),
            Self::Busy { path } => format!("`fuser {path}` names the process: let it go on (kill -CONT) or end it"),
            Self::Io { .. } => "nothing was begun; make room or mend the rights, or choose another --state-dir".into(),
            Self::Damaged { path, .. } => format!(
                "make sure that no `migrate` runs on this state directory, then remove {path}: fence numbers go on from the clock, above all earlier ones"
            ),
        })
    }
}

/// A lease as it stands in the table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Its fence number: larger than that of every lease before.
    pub fence: u64,
    /// What it is over.
    pub names: BTreeSet<String>,
    /// Who has it.
    pub owner: Owner,
    /// The run, once there is one.
    pub run: Option<String>,
    /// The command.
    pub why: String,
    /// When it was got.
    pub since: Timestamp,
    /// When it ends unless it is renewed.
    pub expires: Timestamp,
    /// The same on the clock of the owner's machine, in milliseconds since its start.
    pub expires_since_boot: u64,
}

/// How a lease stands, as far as it can be known from here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// In force.
    Held,
    /// Its owner is gone: the next run takes it over at once.
    Dead,
    /// Not renewed in time: the next run takes it over at once.
    Expired,
}

impl Entry {
    /// How it stands.
    pub fn standing(&self, here: &Owner) -> Standing {
        if self.owner.is_dead(here) {
            Standing::Dead
        } else if self.rest(here).is_zero() {
            Standing::Expired
        } else {
            Standing::Held
        }
    }

    /// How long it lasts unless it is renewed.
    pub fn rest(&self, here: &Owner) -> Duration {
        if self.owner.shares_boot(here) {
            return Duration::from_millis(self.expires_since_boot).saturating_sub(clock::since_boot());
        }
        Duration::try_from(Timestamp::now().duration_until(self.expires + SKEW)).unwrap_or_default()
    }

    fn of_run(&self) -> String {
        self.run.as_ref().map(|r| format!(" (run {r})")).unwrap_or_default()
    }

    fn rest_in_words(&self, here: &Owner) -> String {
        format!("unless renewed its lease ends in {}", text::duration(self.rest(here)))
    }

    pub(super) fn renew(&mut self, length: Duration) {
        let ends = clock::since_boot() + length;
        // Rounded up: nobody may take it for ended before its holder does.
        self.expires_since_boot = u64::try_from(ends.as_millis()).unwrap_or(u64::MAX).saturating_add(1);
        self.expires = Timestamp::now() + length;
    }
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Table {
    format: u32,
    /// The number of the last lease.
    fence: u64,
    pub(super) held: Vec<Entry>,
}

/// One line of the history.
#[derive(Serialize)]
struct Happened<'a> {
    at: Timestamp,
    what: &'static str,
    by: &'a Owner,
    #[serde(flatten)]
    entry: &'a Entry,
}

/// The locks of a state directory.
#[derive(Debug, Clone)]
pub struct Locks {
    dir: PathBuf,
    here: Owner,
    length: Duration,
}

impl Locks {
    /// Touches nothing yet.
    pub fn new(state_dir: &Path, operator: &Operator, length: Duration) -> Self {
        Self { dir: state_dir.join("locks"), here: Owner::this(operator), length }
    }

    /// This process, as locks know it.
    pub fn here(&self) -> &Owner {
        &self.here
    }

    pub(super) fn length(&self) -> Duration {
        self.length
    }

    /// Everything that is locked, oldest first. Writes nothing.
    pub fn show(&self) -> Result<Vec<Entry>, LockError> {
        Ok(self.read()?.map(|t| t.held).unwrap_or_default())
    }

    /// Gets all of these at once, or none. What dead owners and leases that have run out still hold is taken over.
    pub fn acquire(&self, names: BTreeSet<String>, why: &str) -> Result<Lease, LockError> {
        let (entry, taken) = self.change(|table| {
            let overlaps = |e: &Entry| e.names.intersection(&names).next().cloned();
            for entry in &table.held {
                if let Some(name) = overlaps(entry)
                    && entry.standing(&self.here) == Standing::Held
                {
                    let (entry, here) = (Box::new(entry.clone()), Box::new(self.here.clone()));
                    return Err(LockError::Held { name, entry, here });
                }
            }
            let taken: Vec<Entry> = table.held.extract_if(.., |e| overlaps(e).is_some()).collect();
            table.fence = table.fence.saturating_add(1);
            let mut entry = Entry {
                fence: table.fence,
                names: names.clone(),
                owner: self.here.clone(),
                run: None,
                why: why.to_owned(),
                since: Timestamp::now(),
                expires: Timestamp::now(),
                expires_since_boot: 0,
            };
            entry.renew(self.length);
            table.held.push(entry.clone());
            taken.iter().try_for_each(|old| self.remember("taken over", old))?;
            self.remember("acquired", &entry)?;
            Ok((entry, taken))
        })?;
        Ok(Lease::start(self.clone(), entry, taken))
    }

    /// Takes a lock from its holder, whatever it does: all that its lease is over is free, and it does nothing more.
    /// The number that it had is no use any more.
    pub fn break_lock(&self, name: &str) -> Result<Entry, LockError> {
        self.change(|table| {
            let Some(at) = table.held.iter().position(|e| e.names.contains(name)) else {
                return Err(LockError::NotHeld { name: name.to_owned() });
            };
            let entry = table.held.remove(at);
            table.fence = table.fence.saturating_add(1);
            self.remember("broken", &entry)?;
            Ok(entry)
        })
    }

    pub(super) fn release(&self, fence: u64) -> Result<(), LockError> {
        self.change(|table| {
            let released: Vec<Entry> = table.held.extract_if(.., |e| e.fence == fence).collect();
            released.iter().try_for_each(|entry| self.remember("released", entry))
        })
    }

    /// The lease of that number, if it is still there.
    pub(super) fn find(&self, fence: u64) -> Result<Option<Entry>, LockError> {
        Ok(self.read()?.and_then(|t| t.held.into_iter().find(|e| e.fence == fence)))
    }

    /// Changes the table as a whole, alone; an error changes nothing.
    pub(super) fn change<T>(&self, f: impl FnOnce(&mut Table) -> Result<T, LockError>) -> Result<T, LockError> {
        DirBuilder::new().recursive(true).mode(0o700).create(&self.dir).map_err(|e| self.io("", e))?;
        let _guard = self.guard()?;
        // Without a table, numbers go on from the clock: nobody gets leases faster than milliseconds pass.
        let first = u64::try_from(Timestamp::now().as_millisecond()).unwrap_or_default();
        let mut table = self.read()?.unwrap_or_else(|| Table { format: FORMAT, fence: first, held: Vec::new() });
        let out = f(&mut table)?;
        self.write(&table).map_err(|e| self.io(TABLE, e))?;
        Ok(out)
    }

    fn guard(&self) -> Result<File, LockError> {
        let mut options = OpenOptions::new();
        let file = options.write(true).create(true).truncate(false).mode(0o600).open(self.dir.join(GUARD));
        let file = file.map_err(|e| self.io(GUARD, e))?;
        let began = Instant::now();
        while flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
            if began.elapsed() > PATIENCE {
                return Err(LockError::Busy { path: self.dir.join(GUARD).display().to_string() });
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(file)
    }

    fn read(&self) -> Result<Option<Table>, LockError> {
        let text = match fs::read(self.dir.join(TABLE)) {
            Ok(text) => text,
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(self.io(TABLE, e)),
        };
        let damaged = |why: String| LockError::Damaged { path: self.dir.join(TABLE).display().to_string(), why };
        let table: Table = serde_json::from_slice(&text).map_err(|e| damaged(e.to_string()))?;
        match table.format {
            ..=FORMAT => Ok(Some(table)),
            newer => Err(damaged(format!("it has format {newer}; this program reads up to {FORMAT}"))),
        }
    }

    fn write(&self, table: &Table) -> std::io::Result<()> {
        let next = self.dir.join("table.new");
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&next)?;
        file.write_all(&serde_json::to_vec_pretty(table)?)?;
        file.sync_all()?;
        fs::rename(&next, self.dir.join(TABLE))?;
        File::open(&self.dir)?.sync_all()
    }

    /// Adds a line to the history, which is never cut.
    fn remember(&self, what: &'static str, entry: &Entry) -> Result<(), LockError> {
        let happened = Happened { at: Timestamp::now(), what, by: &self.here, entry };
        let line = serde_json::to_string(&happened).map_err(|e| self.io(HISTORY, e.into()))?;
        let file = OpenOptions::new().append(true).create(true).mode(0o600).open(self.dir.join(HISTORY));
        let written = file.and_then(|mut f| f.write_all(format!("{line}\n").as_bytes()).and_then(|()| f.sync_data()));
        written.map_err(|e| self.io(HISTORY, e))
    }

    fn io(&self, name: &str, source: std::io::Error) -> LockError {
        LockError::Io { path: self.dir.join(name).display().to_string(), source }
    }
}

const TABLE: &str = "table.json";
const GUARD: &str = "guard";
const HISTORY: &str = "history";

fn shown(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%M:%S UTC").to_string()
}
