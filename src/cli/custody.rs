//! Taking a run into this controller's hands: its locks, its journal under the lease, and its seal.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::environment::Environment;
use super::failure::advised;
use super::runs::Run;
use crate::audit::{Copies, Key, Sealed};
use crate::event::{Blob, Notice, RunState};
use crate::journal::{self, Journal, JournalError, Log};
use crate::lock::{self, Fenced, Lease, Locks};
use crate::model::CheckpointCopy;
use crate::step::Graph;

/// A run that this controller, and no other, works on.
pub struct Custody {
    /// Its locks; to be asked before every effect.
    pub lease: Arc<Lease>,
    /// Its journal: refuses what comes after the lease, signs what it takes.
    pub log: Box<dyn Log>,
    /// Where the journal is.
    pub journal: PathBuf,
    /// For those who watch; what is wrong with the audit's copies is told here.
    pub notices: UnboundedSender<Notice>,
    /// The other end.
    pub watching: UnboundedReceiver<Notice>,
}

/// Locks a plan and what it moves, before anything of it is looked at.
pub fn lock(environment: &Environment, names: BTreeSet<String>, command: &str) -> anyhow::Result<Arc<Lease>> {
    let locks = Locks::new(&environment.state_dir, &environment.operator(), environment.lease);
    let lease = locks.acquire(names, command)?;
    for old in lease.taken_over() {
        eprintln!("took over the locks of {}, who does not run any more or has lost them", old.owner);
    }
    Ok(Arc::new(lease))
}

/// Makes the journal of a new run, and keeps its graph; returns what the first record says of it.
pub fn create(
    environment: &Environment,
    lease: Arc<Lease>,
    run: &str,
    path: &Path,
    graph: &Graph,
    copy_to: &[CheckpointCopy],
) -> anyhow::Result<(Custody, Blob)> {
    lease.name_run(run)?;
    let journal = Journal::create(path)?;
    let kept = journal.keep_graph(graph)?;
    Ok((custody(environment, lease, run, journal, copy_to)?, kept))
}

/// Opens the journal of a run that was begun before.
pub fn open(
    environment: &Environment,
    lease: Arc<Lease>,
    run: &str,
    path: &Path,
    copy_to: &[CheckpointCopy],
) -> anyhow::Result<(Custody, RunState)> {
    lease.name_run(run)?;
    let (journal, state) = match Journal::open(path) {
        // Whoever has it open has lost the lease, or it would not be ours: it was stopped, and must not get at it when it wakes.
        Err(JournalError::Locked { .. }) => Journal::take_over(path)?,
        opened => opened?,
    };
    Ok((custody(environment, lease, run, journal, copy_to)?, state))
}

/// Opens the journal of a run for what an operator writes into it by hand, between two controllers.
///
/// What is signed here is copied elsewhere with the next checkpoint of the run.
pub fn by_hand(environment: &Environment, run: &Run, command: &str) -> anyhow::Result<(Custody, RunState)> {
    // What cannot be read is told as it is.
    let plan = journal::file::load(&run.journal)?.started.plan.clone();
    let lease = lock(environment, [lock::plan_name(&plan)].into(), command)?;
    open(environment, lease, &run.name, &run.journal, &[])
}

fn custody(
    environment: &Environment,
    lease: Arc<Lease>,
    run: &str,
    journal: Journal,
    copy_to: &[CheckpointCopy],
) -> anyhow::Result<Custody> {
    let key = Key::load_or_make(&environment.state_dir)?;
    let by = environment.operator();
    let (notices, watching) = unbounded_channel();
    let warn = notices.clone();
    let copies = Copies::start(
        copy_to,
        &by,
        // Nobody watches any more: then nobody is told.
        Box::new(move |what| drop(warn.send(Notice::Warning { what }))),
    );
    let path = journal.path().to_owned();
    let sealed = Sealed::open(journal, run, by, key, copies).map_err(|e| match e {
        crate::audit::AuditError::Journal(e) => e.into(),
        changed => advised(
            changed.to_string(),
            format!("nothing was begun; `migrate audit verify {run}` tells more; put the journal back from a copy"),
        ),
    })?;
    let log = Box::new(Fenced::new(sealed, Arc::clone(&lease)));
    Ok(Custody { lease, log, journal: path, notices, watching })
}
