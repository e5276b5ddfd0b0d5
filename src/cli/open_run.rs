//! Taking a run into this controller's hands: its locks, its journal under the lease, and its seal.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::environment::Environment;
use super::failure::advised;
use super::runs::Run;
use crate::audit::{AuditError, AuditKey, Copies, Sealed};
use crate::event::{Blob, Notice, RunState};
use crate::journal::{BlobError, Chunks, JournalError, Log, blob};
use crate::lock::{self, Claim, Fenced, Lease, LockError};
use crate::model::CheckpointCopy;
use crate::spec::Spec;
use crate::step::Graph;
use crate::store::RunWriter;

/// A run that this controller, and no other, works on.
pub struct OpenRun {
    /// Its name.
    pub name: String,
    /// Its locks; to be asked before every effect.
    pub lease: Arc<Lease>,
    /// Its journal: refuses what comes after the lease, signs what it takes.
    pub log: Box<dyn Log>,
    /// Where receipts of commands on this machine are.
    pub receipts: PathBuf,
    /// For those who watch; what is wrong with the audit's copies is told here.
    pub notices: UnboundedSender<Notice>,
    /// The other end.
    pub watching: UnboundedReceiver<Notice>,
}

/// For that long an order by hand is waited for; one that takes longer hangs.
const MOMENT: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(50);

/// Locks a plan and what it moves, before anything of it is looked at.
pub fn lock(environment: &Environment, names: BTreeSet<String>, command: &str) -> anyhow::Result<Arc<Lease>> {
    claim(environment, Claim { names, why: command, by_hand: false, ended: None })
}

/// The same in full.
pub fn claim(environment: &Environment, claim: Claim<'_>) -> anyhow::Result<Arc<Lease>> {
    let lease = acquire(environment, &claim)?;
    for old in lease.taken_over() {
        eprintln!("took over the locks of {}, who does not run any more or has lost them", old.owner);
    }
    Ok(Arc::new(lease))
}

/// Waits while somebody else's order is being written down: two people who act in the same second are both served.
fn acquire(environment: &Environment, claim: &Claim<'_>) -> Result<Lease, LockError> {
    let began = Instant::now();
    loop {
        match environment.locks().claim(claim.clone()) {
            Err(LockError::Held { grant, .. }) if grant.by_hand && began.elapsed() < MOMENT => {
                std::thread::sleep(PAUSE);
            }
            decided => return decided,
        }
    }
}

/// What the first record of a run names.
pub struct Kept {
    /// What will be done.
    pub graph: Blob,
    /// What each of its inputs said.
    pub texts: Vec<Blob>,
}

/// Makes a new run of a plan and keeps its graph and what it was made from; returns what the first record says of that.
pub fn create(
    environment: &Environment,
    lease: Arc<Lease>,
    spec: &Spec,
    graph: &Graph,
    copy_to: &[CheckpointCopy],
) -> anyhow::Result<(OpenRun, Kept)> {
    let writer = environment.store.create(&spec.plan.name, &lease)?;
    lease.name_run(writer.run())?;
    let kept = keep(writer.chunks().as_mut(), spec, graph);
    let kept = kept.map_err(|source| JournalError::Blob { path: writer.place(), source })?;
    Ok((sealed(environment, lease, writer, copy_to)?, kept))
}

fn keep(chunks: &mut dyn Chunks, spec: &Spec, graph: &Graph) -> Result<Kept, BlobError> {
    let texts: Result<_, _> = spec.texts.iter().map(|text| blob::keep_bytes(chunks, text.as_bytes())).collect();
    Ok(Kept { graph: blob::keep(chunks, graph)?, texts: texts? })
}

/// Opens a run that was begun before.
pub fn open(
    environment: &Environment,
    lease: Arc<Lease>,
    run: &str,
    copy_to: &[CheckpointCopy],
) -> anyhow::Result<(OpenRun, RunState)> {
    lease.name_run(run)?;
    let (writer, state) = environment.store.open(run, &lease)?;
    Ok((sealed(environment, lease, writer, copy_to)?, state))
}

/// Opens a run for what an operator writes into it by hand, between two controllers.
///
/// What is signed here is copied elsewhere with the next checkpoint of the run.
pub fn by_hand(environment: &Environment, run: &Run, command: &str) -> anyhow::Result<(OpenRun, RunState)> {
    // What cannot be read is told as it is.
    let plan = run.state(environment)?.started.plan.clone();
    let names = [lock::plan_name(&plan)].into();
    let lease = claim(environment, Claim { names, why: command, by_hand: true, ended: None })?;
    open(environment, lease, &run.name, &[])
}

fn sealed(
    environment: &Environment,
    lease: Arc<Lease>,
    writer: Box<dyn RunWriter>,
    copy_to: &[CheckpointCopy],
) -> anyhow::Result<OpenRun> {
    let key = AuditKey::load_or_make(&environment.state_dir)?;
    let by = environment.operator();
    let (notices, watching) = unbounded_channel();
    let warn = notices.clone();
    let copies = Copies::start(
        copy_to,
        &by,
        // Nobody watches any more: then nobody is told.
        Box::new(move |what| drop(warn.send(Notice::Warning { what }))),
    );
    let name = writer.run().to_owned();
    let sealed = Sealed::open(writer, &name, by, key, copies).map_err(|e| match e {
        AuditError::Journal(e) => e.into(),
        changed @ AuditError::Changed { .. } => advised(
            changed.to_string(),
            format!("nothing was begun; `migrate audit verify {name}` tells more; put the journal back from a copy"),
        ),
    })?;
    let log = Box::new(Fenced::new(sealed, Arc::clone(&lease)));
    let receipts = environment.store.receipts(&name);
    Ok(OpenRun { name, lease, log, receipts, notices, watching })
}
