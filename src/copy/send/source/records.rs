//! The records of a job on the source: where they are, and by what they are recognised.

use std::path::Path;

use crate::copy::failure::{Failure, Side, show};
use crate::copy::manifest::delta::Delta;
use crate::copy::manifest::format::Generation;
use crate::copy::wire::frame::VERSION;
use crate::copy::wire::task::TreeTask;

/// A digest of what the job carries by which rules.
pub fn rules(task: &TreeTask) -> [u8; 32] {
    let text = (
        VERSION,
        &task.job,
        &task.from,
        &task.to,
        &task.pair,
        &task.rules.exclude,
        task.rules.owners,
        task.rules.one_filesystem,
    );
    postcard::to_stdvec(&text).map_or([0; 32], |bytes| *blake3::hash(&bytes).as_bytes())
}

/// A name for the next state of the target.
pub fn new_generation() -> Result<Generation, Failure> {
    let mut random = [0; 16];
    rustix::rand::getrandom(&mut random, rustix::rand::GetRandomFlags::empty())
        .map_err(|e| Failure::of(Side::Source, "draw random numbers on", b"the source", e))?;
    Ok(random)
}

/// Whether there is a record of what the target has.
pub fn is_recorded(task: &TreeTask, work: &Path) -> bool {
    let file = work.join("jobs").join(&task.job).join("manifest");
    let current = Delta::current(&file).ok().flatten();
    !task.checksum && current.is_some_and(|c| c.header.rules == rules(task) && c.header.generation.is_some())
}

/// The records of a job cannot be kept.
pub fn cannot_remember(work: &Path, e: &std::io::Error) -> Failure {
    let place = show(work.as_os_str().as_encoded_bytes());
    Failure::fatal(Side::Source, format!("cannot keep the record of the copy in {place}: {e}"))
        .hint("free space there, or set `work_dir` of the host to a place that can be written")
}
