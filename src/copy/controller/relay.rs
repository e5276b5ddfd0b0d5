//! Carries frames between the two agents through the controller, which looks at headers only.
//!
//! Owns the moment at which a task counts as done: when the sending agent says so. Must never take silence for success.

use std::pin::pin;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;

use super::transport::{Channel, Ended};
use crate::copy::agent::PREAMBLE;
use crate::copy::failure::{Failure, Side};
use crate::copy::message::{News, Task};
use crate::copy::wire::{Frame, HEADER, Header, OutFrame, Route, WireError};
use crate::copy::{CopyError, OnProgress, PassReport, VerifyReport};

/// What a login shell may print before the agent starts.
const MAX_NOISE: usize = 64 << 10;
/// How long an agent may take to end once its streams are closed.
const GOODBYE: Duration = Duration::from_secs(10);

/// What a task came to.
#[derive(Debug)]
pub enum Outcome {
    /// A pass.
    Passed(PassReport),
    /// A comparison.
    Verified(VerifyReport),
}

/// The names of the two hosts, for errors.
#[derive(Debug, Clone)]
pub struct Names {
    /// The source.
    pub source: String,
    /// The target.
    pub target: String,
}

impl Names {
    fn of(&self, side: Side) -> &str {
        match side {
            Side::Source => &self.source,
            Side::Target => &self.target,
        }
    }
}

/// Why it ended early.
enum Broken {
    /// An agent said so.
    Failed(Failure),
    /// A stream of that side ended or failed.
    Stream(Side, String),
}

/// Has the two agents do a task.
pub async fn relay(
    source: Channel,
    target: Channel,
    task: &Task,
    names: &Names,
    progress: OnProgress<'_>,
) -> Result<Outcome, CopyError> {
    let Channel { reader: from_source, writer: to_source, ended: source_ended } = source;
    let Channel { reader: from_target, writer: to_target, ended: target_ended } = target;
    let result = carry((from_source, to_source), (from_target, to_target), task, progress).await;
    // Their streams are closed now, so that both agents end.
    let goodbye = async { tokio::join!(timeout(GOODBYE, source_ended), timeout(GOODBYE, target_ended)) };
    let (source, target) = goodbye.await;
    let broken = match result {
        Ok(outcome) => return Ok(outcome),
        Err(broken) => broken,
    };
    Err(explain(broken, names, source.ok(), target.ok()))
}

type Reader = Box<dyn AsyncRead + Send + Unpin>;
type Writer = Box<dyn AsyncWrite + Send + Unpin>;

async fn carry(
    source: (Reader, Writer),
    target: (Reader, Writer),
    task: &Task,
    progress: OnProgress<'_>,
) -> Result<Outcome, Broken> {
    let ((mut from_source, mut to_source), (mut from_target, mut to_target)) = (source, target);
    let first = OutFrame::new(Route::Controller, task, Vec::new()).map_err(|e| stream(Side::Source, e))?;
    to_source.write_all(&first.head()).await.map_err(|e| stream(Side::Source, e))?;
    to_source.flush().await.map_err(|e| stream(Side::Source, e))?;
    // Each direction owns its streams: a pipe ends only when its writer is dropped.
    let mut up = pin!(async move {
        skip_noise(&mut from_source).await.map_err(|e| stream(Side::Source, e))?;
        let outcome = forward_up(&mut from_source, &mut to_target, progress).await?;
        // The receiving agent ends at the end of its input.
        let _ = to_target.shutdown().await;
        Ok(outcome)
    });
    let mut down = pin!(async move {
        let result = async {
            skip_noise(&mut from_target).await?;
            forward_down(&mut from_target, &mut to_source).await
        };
        let _ = result.await;
        // The sending agent learns from the end of its input that there is nobody to send to.
        let _ = to_source.shutdown().await;
    });
    tokio::select! {
        outcome = &mut up => outcome,
        () = &mut down => up.await,
    }
}

fn stream(side: Side, e: impl std::fmt::Display) -> Broken {
    Broken::Stream(side, e.to_string())
}

/// Reads up to the agent's first own bytes.
async fn skip_noise(input: &mut Reader) -> std::io::Result<()> {
    let mut seen = Vec::new();
    while !seen.ends_with(PREAMBLE) {
        if seen.len() > MAX_NOISE {
            return Err(std::io::Error::other("the agent did not start: something else is printed at login"));
        }
        seen.push(input.read_u8().await?);
    }
    Ok(())
}

/// Frames of the sending agent: to the receiving one, or news.
async fn forward_up(
    from_source: &mut Reader,
    to_target: &mut Writer,
    progress: OnProgress<'_>,
) -> Result<Outcome, Broken> {
    let mut frame = Vec::new();
    // A target that takes no more says why on its other stream, and the source passes that on as news.
    let mut target_listens = true;
    loop {
        let header = next(from_source, &mut frame).await.map_err(|e| stream(Side::Source, e))?;
        if header.route == Route::Peer {
            target_listens = target_listens && write(to_target, &frame).await.is_ok();
            continue;
        }
        let body = frame.split_off(HEADER);
        let news = Frame::check(header, body).and_then(|f| f.message()).map_err(|e| stream(Side::Source, e))?;
        match news {
            News::Progress(now) => progress(now),
            News::Passed(report) => return Ok(Outcome::Passed(report)),
            News::Verified(report) => return Ok(Outcome::Verified(report)),
            News::Failed(failure) => return Err(Broken::Failed(failure)),
        }
    }
}

async fn forward_down(from_target: &mut Reader, to_source: &mut Writer) -> std::io::Result<()> {
    let mut frame = Vec::new();
    loop {
        let header = next(from_target, &mut frame).await.map_err(std::io::Error::other)?;
        // The receiving agent may be hostile: it cannot speak in the controller's name.
        if header.route == Route::Peer {
            write(to_source, &frame).await?;
        }
    }
}

async fn write(to: &mut Writer, frame: &[u8]) -> std::io::Result<()> {
    to.write_all(frame).await?;
    to.flush().await
}

/// Reads one frame, header and all, into `frame`.
async fn next(from: &mut Reader, frame: &mut Vec<u8>) -> Result<Header, WireError> {
    let mut raw = [0; HEADER];
    from.read_exact(&mut raw).await?;
    let header = Header::parse(&raw)?;
    frame.clear();
    frame.extend_from_slice(&raw);
    let read = from.take(header.body as u64).read_to_end(frame).await?;
    if read < header.body {
        return Err(WireError::Closed);
    }
    Ok(header)
}

type AgentEnd = Option<Result<Ended, CopyError>>;

/// The most telling reason for a failure: what an agent said, else how it or its connection ended.
fn explain(broken: Broken, names: &Names, source: AgentEnd, target: AgentEnd) -> CopyError {
    let (side, failure) = match broken {
        Broken::Failed(failure) if !failure.retryable => return error(names, failure),
        Broken::Failed(failure) => (failure.side, failure),
        Broken::Stream(side, why) => (side, Failure::lost(side, why)),
    };
    let end = match side {
        Side::Source => source,
        Side::Target => target,
    };
    match end {
        Some(Err(connection)) => connection,
        Some(Ok(Ended { status, stderr })) if !stderr.is_empty() => {
            let status = status.map_or("without a status".to_owned(), |s| format!("with status {s}"));
            let what = format!("the copy agent ended {status}: {stderr}");
            CopyError { host: names.of(side).to_owned(), what, hint: failure.hint, retryable: failure.retryable }
        }
        Some(Ok(Ended { status: Some(status @ 129..), .. })) => {
            let what = format!("the copy agent was ended by signal {}", status - 128);
            CopyError { host: names.of(side).to_owned(), what, hint: None, retryable: true }
        }
        _ => error(names, failure),
    }
}

fn error(names: &Names, failure: Failure) -> CopyError {
    let Failure { side, what, hint, retryable, .. } = failure;
    CopyError { host: names.of(side).to_owned(), what, hint, retryable }
}
