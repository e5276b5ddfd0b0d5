//! The directory of runs: one directory a run, with its journal.

use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use super::environment::Environment;
use super::failure::advised;
use crate::audit::CHECKPOINTS;
use crate::event::{RunState, Status};
use crate::journal::{self, JournalError};

/// A run on disk.
pub struct Run {
    /// Its name: the plan's name and a number.
    pub name: String,
    /// Its journal.
    pub journal: PathBuf,
    /// What the journal folds to.
    pub state: Result<RunState, JournalError>,
}

impl Run {
    /// Whether a controller works on it now.
    pub fn is_live(&self) -> bool {
        journal::file::in_use(&self.journal)
    }

    /// Whether there is nothing left to do in it.
    pub fn has_ended(&self) -> bool {
        self.state.as_ref().is_ok_and(|s| matches!(s.status, Status::Finished | Status::RolledBack))
    }
}

/// The control socket beside a journal.
pub fn socket(journal: &Path) -> PathBuf {
    journal.with_file_name("control.sock")
}

/// The file that holds every run on the machine while it is there.
pub fn stop_switch(environment: &Environment) -> PathBuf {
    environment.state_dir.join("STOP")
}

/// All runs, oldest first.
pub fn all(environment: &Environment) -> anyhow::Result<Vec<Run>> {
    let dir = environment.state_dir.join("runs");
    let entries = match std::fs::read_dir(&dir) {
        Ok(entries) => entries,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(advised(format!("{} cannot be read: {e}", dir.display()), "choose another --state-dir")),
    };
    let mut runs = Vec::new();
    for entry in entries {
        let entry = entry?;
        let journal = entry.path().join("journal");
        // A journal without a record belongs to a run that never began, unless records of it were sealed.
        let sealed = || std::fs::metadata(journal.with_file_name(CHECKPOINTS)).is_ok_and(|m| m.len() > 0);
        let began = || sealed() || !matches!(journal::file::read(&journal), Ok(records) if records.is_empty());
        if journal.is_file() && began() {
            let state = journal::file::load(&journal);
            runs.push(Run { name: entry.file_name().to_string_lossy().into_owned(), journal, state });
        }
    }
    runs.sort_by(|a, b| age(a).cmp(&age(b)).then_with(|| a.name.cmp(&b.name)));
    Ok(runs)
}

fn age(run: &Run) -> Option<jiff::Timestamp> {
    run.state.as_ref().ok().map(|s| s.started_at)
}

/// The run of that name, or the newest run of the plan of that name.
pub fn find(environment: &Environment, name: &str) -> anyhow::Result<Run> {
    let mut all = all(environment)?;
    let is_it = |r: &Run| r.name == name || r.state.as_ref().is_ok_and(|s| s.started.plan == name);
    match all.iter().rposition(is_it) {
        Some(n) => Ok(all.swap_remove(n)),
        None => Err(advised(format!("there is no run or plan named {name}"), "`migrate status` lists all runs")),
    }
}

/// The newest run of a plan.
pub fn latest(environment: &Environment, plan: &str) -> anyhow::Result<Option<Run>> {
    let prefix = format!("{plan}-");
    let is_of = |run: &Run| match &run.state {
        Ok(state) => state.started.plan == plan,
        // A journal that cannot be read must not be passed over: the run may be half done.
        Err(_) => run.name.strip_prefix(&prefix).is_some_and(|n| n.parse::<u32>().is_ok()),
    };
    Ok(all(environment)?.into_iter().rfind(is_of))
}

/// Makes the directory of a new run; returns its name and where its journal goes.
pub fn create(environment: &Environment, plan: &str) -> anyhow::Result<(String, PathBuf)> {
    let dir = environment.state_dir.join("runs");
    let refuse = |path: &Path, e: std::io::Error| {
        advised(
            format!("the state directory {} cannot be written: {e}", path.display()),
            "nothing was changed; choose another with --state-dir or MIGRATE_STATE_DIR",
        )
    };
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&dir).map_err(|e| refuse(&dir, e))?;
    for n in 1_u32.. {
        let name = format!("{plan}-{n}");
        let path = dir.join(&name);
        match std::fs::DirBuilder::new().mode(0o700).create(&path) {
            Ok(()) => return Ok((name, path.join("journal"))),
            Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(e) => return Err(refuse(&path, e)),
        }
    }
    Err(advised("there are too many runs", "remove old ones"))
}
