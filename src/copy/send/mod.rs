//! The sending agent: finds out what the target lacks and sends it.
//!
//! Owns the manifest on the source. Must never write into the tree that it reads.

mod feed;
mod files;
mod known;
mod ledger;
mod link;
mod outcome;
mod pass;
mod source;
mod verify;

use std::io::{Read, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use self::ledger::Ledger;
use self::link::Link;
use self::pass::Pass;
use super::agent::is_job_id;
use super::failure::{Failure, Side};
use super::message::{News, Orders, Task};
use super::wire::Frame;

/// How often the controller hears how far it is.
const PROGRESS: Duration = Duration::from_millis(200);

/// Serves one task from the controller; the receiving agent is reached through the same stream. `work` is where the job keeps
/// its manifest.
pub fn serve(work: &Path, mut input: Box<dyn Read + Send>, output: Box<dyn Write + Send>) -> Result<(), Failure> {
    let first = Frame::read_from(input.as_mut()).map_err(|e| Failure::protocol(Side::Source, e))?;
    let task: Task = first.message().map_err(|e| Failure::protocol(Side::Source, e))?;
    let (Task::Pass(orders) | Task::Verify(orders)) = &task;
    if !is_job_id(&orders.job) {
        return Err(Failure::protocol(Side::Source, "a job id that cannot be one"));
    }
    let ledger = Arc::new(Ledger::default());
    let rate = Arc::new(AtomicU64::new(orders.bandwidth));
    let (link, outgoing) = link::start(input, output, Arc::clone(&ledger), rate)
        .map_err(|e| Failure::fatal(Side::Source, format!("cannot start a thread: {e}")))?;
    let result = perform(&task, work, &link, &ledger);
    let news = match &result {
        Ok(news) => news.clone(),
        Err(failure) => News::Failed(failure.clone()),
    };
    // Where nobody listens any more, the exit status still tells.
    let _ = link.news(&news);
    drop(link);
    outgoing.flush();
    result.map(drop)
}

fn perform(task: &Task, work: &Path, link: &Link, ledger: &Ledger) -> Result<News, Failure> {
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let ticker = scope.spawn(|| {
            while !done.load(Ordering::Acquire) {
                std::thread::park_timeout(PROGRESS);
                let _ = link.news(&News::Progress(ledger.progress()));
            }
        });
        let result = match task {
            Task::Pass(orders) => pass(orders, work, link, ledger).map(News::Passed),
            Task::Verify(orders) => verify::verify(orders, link).map(News::Verified),
        };
        done.store(true, Ordering::Release);
        ticker.thread().unpark();
        result
    })
}

fn pass(orders: &Orders, work: &Path, link: &Link, ledger: &Ledger) -> Result<super::PassReport, Failure> {
    Pass { orders, link, ledger, work: work.join("jobs").join(&orders.job) }.run()
}
