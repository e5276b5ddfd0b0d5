//! Serves one task of the controller: reaches the target, does the task, and tells how it ended.

use std::io::{Read, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread::ScopedJoinHandle;
use std::time::Duration;

use super::ledger::Ledger;
use super::link::direct::{Direct, Reached};
use super::link::{Link, Streams, direct};
use super::pass::Pass;
use super::source::survey::Survey;
use super::source::{records, survey};
use super::verify::report;
use super::{link, preview, stream};
use crate::copy::failure::{Failure, Side};
use crate::copy::fs::tree::Execution;
use crate::copy::job::is_job_id;
use crate::copy::wire::frame::{Frame, OutFrame, Route};
use crate::copy::wire::task::{ControllerMessage, Dial, SenderMessage, Task};

/// How often the controller hears how far it is.
const PROGRESS: Duration = Duration::from_millis(200);

/// Serves one task from the controller; the receiving agent is reached through the same stream. `work` is where the job keeps
/// its manifest.
pub fn serve(work: &Path, input: Box<dyn Read + Send>, output: Box<dyn Write + Send>) -> Result<(), Failure> {
    serve_by(&Execution::default(), work, input, output)
}

/// The same; the source is looked at and read in the given way.
pub fn serve_by(
    execution: &Execution,
    work: &Path,
    mut input: Box<dyn Read + Send>,
    mut output: Box<dyn Write + Send>,
) -> Result<(), Failure> {
    let first = Frame::read_from(input.as_mut()).map_err(|e| Failure::protocol(Side::Source, e))?;
    let task: Task = first.message().map_err(|e| Failure::protocol(Side::Source, e))?;
    let (job, bandwidth, dial) = task.common();
    if !is_job_id(job) {
        return Err(Failure::protocol(Side::Source, "an invalid job id"));
    }
    let ledger = Arc::new(Ledger::default());
    std::thread::scope(|scope| {
        // Looking at the source takes as long as reaching the target: do both at once.
        let mut look = match &task {
            Task::Pass(tree) => {
                let (end, ended) = channel::<()>();
                let looks = || {
                    let seen = survey::survey(tree, work, &ledger, execution);
                    drop(end);
                    seen
                };
                Look::Under(scope.spawn(looks), ended)
            }
            Task::Verify { .. } | Task::Preview { .. } | Task::Stream(_) => Look::None,
        };
        if dial.is_some() && matches!(&task, Task::Pass(tree) if tree.may_relay && records::is_recorded(tree, work)) {
            look = look.followed(&ledger, output.as_mut())?;
        }
        let direct = match dial {
            // A connection of its own would take longer than the pass.
            Some(_) if look.finds_little() || report::is_little(&task, work) => {
                indirect("little is to be sent", output.as_mut()).map(|()| None)?
            }
            Some(dial) => negotiate(dial, input.as_mut(), output.as_mut())?,
            None => None,
        };
        let streams = Streams { input, output, direct };
        let link = link::start(streams, Arc::clone(&ledger), bandwidth)
            .map_err(|e| Failure::fatal(Side::Source, format!("cannot start a thread: {e}")))?;
        let result = with_progress(&link, || match &task {
            Task::Pass(tree) => {
                Pass { task: tree, link: &link, ledger: &ledger }.run(look.end()?).map(SenderMessage::Passed)
            }
            Task::Verify { tree, when } => report::verify(tree, *when, work, &link).map(SenderMessage::Verified),
            Task::Preview { tree, target } => {
                preview::preview(tree, *target, work, &link, &ledger).map(SenderMessage::Previewed)
            }
            // Only what is certain is told as a failure of the stream.
            Task::Stream(pour) => match stream::pour(pour, &link, &ledger) {
                Err(failure) if !failure.retryable => Ok(SenderMessage::NotStreamed(failure)),
                poured => poured.map(SenderMessage::Streamed),
            },
        });
        finish(result, link)
    })
}

/// The look at the source.
enum Look<'scope> {
    None,
    /// The channel closes with its end.
    Under(ScopedJoinHandle<'scope, Result<Survey, Failure>>, Receiver<()>),
    Done(Box<Result<Survey, Failure>>),
}

impl Look<'_> {
    /// Waits for its end.
    fn end(self) -> Result<Survey, Failure> {
        let failed = || Err(Failure::fatal(Side::Source, "looking at the source failed"));
        match self {
            Self::None => failed(),
            Self::Under(thread, _) => thread.join().unwrap_or_else(|_| failed()),
            Self::Done(seen) => *seen,
        }
    }

    /// Waits for its end, while the controller hears how far it is: nothing else can tell it yet.
    fn followed(self, ledger: &Ledger, output: &mut dyn Write) -> Result<Self, Failure> {
        if let Self::Under(_, ended) = &self {
            while ended.recv_timeout(PROGRESS) == Err(RecvTimeoutError::Timeout) {
                tell(&SenderMessage::Progress(ledger.progress(0)), output)?;
            }
        }
        tell(&SenderMessage::Progress(ledger.progress(0)), output)?;
        Ok(Self::Done(Box::new(self.end())))
    }

    fn finds_little(&self) -> bool {
        matches!(self, Self::Done(seen) if seen.as_ref().as_ref().map_or(true, Survey::is_little))
    }
}

/// Tells the controller how it ended.
fn finish(result: Result<SenderMessage, Failure>, link: Link) -> Result<(), Failure> {
    let news = match &result {
        Ok(news) => news.clone(),
        Err(failure) => SenderMessage::Failed(failure.clone()),
    };
    // Where nobody listens any more, the exit status still tells.
    let _ = link.tell(&news);
    link.close(result.is_err());
    result.map(drop)
}

/// Tries to talk to the target without the controller in between; `None` when it has to relay.
fn negotiate(dial: &Dial, input: &mut dyn Read, output: &mut dyn Write) -> Result<Option<Direct>, Failure> {
    let offer = |reached: Reached| Ok((reached.public_key()?, reached.own_address(), reached));
    let result = match direct::reach(dial).and_then(offer) {
        Ok((public_key, from, reached)) => {
            tell(&SenderMessage::KeyOffer { public_key, from }, output)?;
            let answer = Frame::read_from(input).and_then(|frame| frame.message());
            match answer.map_err(|e| Failure::lost(Side::Source, e))? {
                ControllerMessage::KeyAdmitted(true) => reached.log_in(dial),
                _ => Err("its key cannot be let in".to_owned()),
            }
        }
        Err(reason) => Err(reason),
    };
    match result {
        Ok(direct) => {
            tell(&SenderMessage::Direct, output)?;
            Ok(Some(direct))
        }
        Err(reason) => indirect(&reason, output).map(|()| None),
    }
}

/// Asks the controller to relay.
fn indirect(reason: &str, output: &mut dyn Write) -> Result<(), Failure> {
    tell(&SenderMessage::NeedsRelay { reason: reason.to_owned() }, output)
}

fn tell(news: &SenderMessage, output: &mut dyn Write) -> Result<(), Failure> {
    let frame = OutFrame::new(Route::Controller, news, Vec::new()).map_err(|e| Failure::protocol(Side::Source, e))?;
    frame.write_to(output).map_err(|e| Failure::lost(Side::Source, e))
}

fn with_progress(link: &Link, work: impl FnOnce() -> Result<SenderMessage, Failure>) -> Result<SenderMessage, Failure> {
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let ticker = scope.spawn(|| {
            while !done.load(Ordering::Acquire) {
                std::thread::park_timeout(PROGRESS);
                let _ = link.progress();
            }
        });
        let result = work();
        done.store(true, Ordering::Release);
        ticker.thread().unpark();
        result
    })
}
