//! Carries frames between the two agents through the controller, which looks at headers only.
//!
//! A task is done only when the sending agent says so. Must never take silence for success.

use std::pin::pin;
use std::time::Duration;

use serde::Serialize;
use tokio::io::AsyncWriteExt;
use tokio::sync::Mutex;
use tokio::time::timeout;

use super::access::TargetAccess;
use super::channels::ExtraChannels;
use super::frames::{Broken, Reader, Writer, next, skip_noise, stream, write};
use super::rate_limits::Limit;
use super::transport::{Channel, Connection, Ended};
use crate::copy::failure::{Failure, Side};
use crate::copy::failure::{failed, transient};
use crate::copy::job::{DataRoute, OnProgress, PassReport, Preview, StreamReport, VerifyReport};
use crate::copy::wire::frame::{Frame, HEADER, OutFrame, Route};
use crate::copy::wire::task::{ControllerMessage, SenderMessage, Task};
use crate::outside::Error;

/// How long an agent may take to end once its streams are closed.
const GOODBYE: Duration = Duration::from_secs(10);

/// The result of a task.
#[derive(Debug)]
pub enum Completed {
    /// A pass.
    Passed(PassReport),
    /// A comparison.
    Verified(VerifyReport),
    /// What a pass would do.
    Previewed(Preview),
    /// A stream that has ended well.
    Streamed(StreamReport),
    /// A stream that has certainly not been taken whole.
    NotStreamed(Failure),
}

impl Completed {
    /// The same, with the way that the data took.
    fn by(self, way: DataRoute) -> Self {
        match self {
            Self::Passed(report) => Self::Passed(PassReport { way, ..report }),
            verified => verified,
        }
    }
}

/// The names of the two hosts, for errors.
#[derive(Debug, Clone)]
pub struct HostNames {
    /// The source.
    pub source: String,
    /// The target.
    pub target: String,
    /// The roots of a tree there; empty for a stream.
    pub roots: (String, String),
}

impl HostNames {
    fn of(&self, side: Side) -> &str {
        match side {
            Side::Source => &self.source,
            Side::Target => &self.target,
        }
    }
}

/// Runs a task on the two agents. Without a reason to `relay`, the sending agent first tries to reach the target itself.
pub async fn run_task(
    source: Channel,
    task: &Task,
    relay: Option<String>,
    access: &dyn TargetAccess,
    names: &HostNames,
    limit: &Limit<'_>,
    progress: OnProgress<'_>,
) -> Result<Completed, Error> {
    let Channel { reader: mut from_source, writer: mut to_source, ended: source_ended, .. } = source;
    let receiver = async {
        start(&mut from_source, &mut to_source, task).await?;
        match relay {
            None => agree(&mut from_source, &mut to_source, access, progress).await,
            relay => Ok(relay),
        }
    };
    let (way, target) = match receiver.await {
        Ok(None) => (DataRoute::Direct, None),
        Ok(Some(why)) => {
            let receiver = access.receiver(&why).await?;
            (DataRoute::Relayed { why }, Some(receiver))
        }
        Err(broken) => {
            drop((from_source, to_source));
            access.withdraw().await;
            return Err(explain(broken, names, timeout(GOODBYE, source_ended).await.ok(), None));
        }
    };
    let to_source = Mutex::new(Some(to_source));
    let (result, target_ended) = match target {
        None => {
            let listen = whatever_the_limit(listen(from_source, progress), &to_source, limit);
            // The agent is logged in: the key is not needed any more.
            (tokio::join!(listen, access.withdraw()).0, None)
        }
        Some(Channel { reader, writer, ended, connection }) => {
            let more = (connection.as_deref(), access);
            let carry = carry((from_source, &to_source), (reader, writer), more, progress);
            (whatever_the_limit(carry, &to_source, limit).await, Some(ended))
        }
    };
    // It stays open until here, because the agent takes its end for the end of the controller.
    drop(to_source);
    // The streams are closed now, so that both agents end.
    let target_end = async {
        match target_ended {
            Some(ended) => timeout(GOODBYE, ended).await.ok(),
            None => None,
        }
    };
    let (source_end, target_end) = tokio::join!(timeout(GOODBYE, source_ended), target_end);
    result.map(|outcome| outcome.by(way)).map_err(|broken| explain(broken, names, source_end.ok(), target_end))
}

/// Shared by what relays and by changes of the limit; gone once it is closed: a pipe ends only when its writer is dropped.
type ToSource = Mutex<Option<Writer>>;

async fn start(from_source: &mut Reader, to_source: &mut Writer, task: &Task) -> Result<(), Broken> {
    tell(to_source, task).await?;
    skip_noise(from_source).await.map_err(|e| stream(Side::Source, e))
}

async fn tell<M: Serialize + Sync>(to_source: &mut Writer, message: &M) -> Result<(), Broken> {
    let frame = OutFrame::new(Route::Controller, message, Vec::new()).map_err(|e| stream(Side::Source, e))?;
    write(to_source, &frame.head()).await.map_err(|e| stream(Side::Source, e))
}

/// Waits until the sending agent knows how it reaches the target. Returns the reason if the controller has to relay.
async fn agree(
    from_source: &mut Reader,
    to_source: &mut Writer,
    access: &dyn TargetAccess,
    progress: OnProgress<'_>,
) -> Result<Option<String>, Broken> {
    let mut frame = Vec::new();
    loop {
        match next_frame(from_source, &mut frame).await? {
            For::Controller(SenderMessage::KeyOffer { public_key, from }) => {
                tell(to_source, &ControllerMessage::KeyAdmitted(access.admit(&public_key, &from).await)).await?;
            }
            For::Controller(SenderMessage::Progress(now)) => progress(now),
            For::Controller(SenderMessage::Direct) => return Ok(None),
            For::Controller(SenderMessage::NeedsRelay { reason }) => {
                return Ok(Some(crate::text::escape(reason.as_bytes(), 500)));
            }
            For::Controller(SenderMessage::Failed(failure)) => return Err(Broken::Failed(failure)),
            _ => return Err(stream(Side::Source, "an unexpected message from the sending agent")),
        }
    }
}

/// Follows an agent that talks to the target itself.
async fn listen(mut from_source: Reader, progress: OnProgress<'_>) -> Result<Completed, Broken> {
    let mut frame = Vec::new();
    loop {
        if let For::Controller(news) = next_frame(&mut from_source, &mut frame).await?
            && let Some(outcome) = outcome(news, progress)
        {
            return outcome;
        }
    }
}

/// Tells the sending agent of every change of the limit until the work is done.
async fn whatever_the_limit<T>(work: impl Future<Output = T>, to_source: &ToSource, limit: &Limit<'_>) -> T {
    let mut changes = limit.changes();
    let told = async {
        while changes.changed().await.is_ok() {
            let now = ControllerMessage::Bandwidth(*changes.borrow_and_update());
            let mut to_source = to_source.lock().await;
            let Some(open) = to_source.as_mut() else { break };
            if tell(open, &now).await.is_err() {
                break;
            }
        }
        std::future::pending().await
    };
    tokio::select! {
        done = work => done,
        never = told => never,
    }
}

/// Relays between both agents.
async fn carry(
    (mut from_source, to_source): (Reader, &ToSource),
    (mut from_target, to_target): (Reader, Writer),
    (connection, access): (Option<&dyn Connection>, &dyn TargetAccess),
    progress: OnProgress<'_>,
) -> Result<Completed, Broken> {
    let (to_target, channels) = (Mutex::new(to_target), ExtraChannels::default());
    let mut up = pin!(async {
        let outcome = tokio::select! {
            outcome = forward_up(&mut from_source, &to_target, &channels, progress) => outcome?,
            broken = channels.run(connection, access, &to_target) => return Err(broken),
        };
        // The receiving agent ends at the end of its input.
        let _ = to_target.lock().await.shutdown().await;
        Ok(outcome)
    });
    let mut down = pin!(async move {
        let result = async {
            skip_noise(&mut from_target).await?;
            forward_down(&mut from_target, to_source).await
        };
        let _ = result.await;
        // The sending agent learns from the end of its input that there is nobody to send to.
        if let Some(mut to_source) = to_source.lock().await.take() {
            let _ = to_source.shutdown().await;
        }
    });
    tokio::select! {
        outcome = &mut up => outcome,
        () = &mut down => up.await,
    }
}

/// Forwards frames of the sending agent to the receiving one, and takes those for the controller.
async fn forward_up(
    from_source: &mut Reader,
    to_target: &Mutex<Writer>,
    channels: &ExtraChannels,
    progress: OnProgress<'_>,
) -> Result<Completed, Broken> {
    let mut frame = Vec::new();
    // A target that takes no more says why on its output, and the source passes that on to the controller.
    let mut target_listens = true;
    loop {
        match next_frame(from_source, &mut frame).await? {
            For::Target if !target_listens => {}
            For::Target => target_listens = write(&mut *to_target.lock().await, &frame).await.is_ok(),
            For::AnyStream => {
                if let Some(frame) = channels.take(std::mem::take(&mut frame)).await {
                    target_listens = target_listens && write(&mut *to_target.lock().await, &frame).await.is_ok();
                }
            }
            For::Controller(SenderMessage::SessionOpen { next }) => channels.session(next),
            For::Controller(news) => {
                if let Some(outcome) = outcome(news, progress) {
                    return outcome;
                }
            }
        }
    }
}

/// For whom a frame of the sending agent is.
enum For {
    /// The receiving agent, in order.
    Target,
    /// The receiving agent, by any of its streams.
    AnyStream,
    /// The controller.
    Controller(SenderMessage),
}

/// The next frame of the sending agent.
async fn next_frame(from_source: &mut Reader, frame: &mut Vec<u8>) -> Result<For, Broken> {
    let header = next(from_source, frame).await.map_err(|e| stream(Side::Source, e))?;
    match header.route {
        Route::Peer => return Ok(For::Target),
        Route::Content => return Ok(For::AnyStream),
        Route::Controller => {}
    }
    let body = frame.split_off(HEADER);
    let news = Frame::check(header, body).and_then(|f| f.message()).map_err(|e| stream(Side::Source, e))?;
    Ok(For::Controller(news))
}

/// The end of the task, if this is it.
fn outcome(news: SenderMessage, progress: OnProgress<'_>) -> Option<Result<Completed, Broken>> {
    match news {
        SenderMessage::Progress(now) => {
            progress(now);
            None
        }
        SenderMessage::Passed(report) => Some(Ok(Completed::Passed(report))),
        SenderMessage::Verified(report) => Some(Ok(Completed::Verified(report))),
        SenderMessage::Previewed(preview) => Some(Ok(Completed::Previewed(preview))),
        SenderMessage::Streamed(report) => Some(Ok(Completed::Streamed(report))),
        SenderMessage::NotStreamed(failure) => Some(Ok(Completed::NotStreamed(failure))),
        SenderMessage::Failed(failure) => Some(Err(Broken::Failed(failure))),
        SenderMessage::KeyOffer { .. }
        | SenderMessage::Direct
        | SenderMessage::NeedsRelay { .. }
        | SenderMessage::SessionOpen { .. } => None,
    }
}

async fn forward_down(from_target: &mut Reader, to_source: &ToSource) -> std::io::Result<()> {
    let mut frame = Vec::new();
    loop {
        let header = next(from_target, &mut frame).await.map_err(std::io::Error::other)?;
        // The receiving agent may be hostile: it cannot speak in the controller's name.
        if header.route == Route::Peer {
            let mut to_source = to_source.lock().await;
            write(to_source.as_mut().ok_or(std::io::ErrorKind::BrokenPipe)?, &frame).await?;
        }
    }
}

type AgentEnd = Option<Result<Ended, Error>>;

/// The most telling reason for a failure: what an agent said, else how it or its connection ended.
fn explain(broken: Broken, names: &HostNames, source: AgentEnd, target: AgentEnd) -> Error {
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
            error(names, Failure { what, ..failure })
        }
        Some(Ok(Ended { status: Some(status @ 129..), .. })) => {
            let what = format!("the copy agent was ended by signal {}", status - 128);
            transient(failed(names.of(side), what))
        }
        _ => error(names, failure),
    }
}

pub(super) fn error(names: &HostNames, failure: Failure) -> Error {
    let host = names.of(failure.side);
    let root = match failure.side {
        Side::Source => &names.roots.0,
        Side::Target => &names.roots.1,
    };
    if root.is_empty() { failure.at(host) } else { failure.in_root(root).at(host) }
}
