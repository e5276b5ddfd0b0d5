//! Extra channels to a target that is far from the controller, when the controller relays.
//!
//! Owns how content is spread over them. Must never take a channel that ended for one that is idle.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use futures_util::future::{join_all, pending, select_all};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::{Mutex, mpsc, watch};
use tokio::time::timeout;

use super::access::TargetAccess;
use super::frames::{Broken, next, skip_noise, stream, write};
use super::transport::{Channel, Connection};
use crate::copy::failure::Side;
use crate::copy::manifest::format::Generation;
use crate::copy::wire::channels::{WINDOW, wanted};
use crate::copy::wire::frame::{Frame, HEADER, OutFrame, Route};
use crate::copy::wire::request::Request;
use crate::copy::wire::response::Response;

/// Frames that wait for a stream.
const WAITING: usize = 8;
/// How often it is looked whether much is to be sent.
const LOOK: Duration = Duration::from_millis(10);
/// How long an agent may take to join: the others do not wait longer for it.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long the target may take to say by another way why a stream of it has ended.
const LAST_WORD: Duration = Duration::from_secs(2);

/// What relays and what opens more streams have in common.
pub struct ExtraChannels {
    /// The session on the target, once it takes more streams.
    session: watch::Sender<Option<Generation>>,
    /// Bytes of content so far.
    content: AtomicU64,
    /// Whether there are more streams.
    open: AtomicBool,
    to_channels: mpsc::Sender<Vec<u8>>,
    frames: Mutex<mpsc::Receiver<Vec<u8>>>,
}

impl Default for ExtraChannels {
    fn default() -> Self {
        let (to_channels, frames) = mpsc::channel(WAITING);
        let (session, content, open) = Default::default();
        Self { session, content, open, to_channels, frames: Mutex::new(frames) }
    }
}

impl ExtraChannels {
    /// The session takes more streams.
    pub fn session(&self, next: Generation) {
        self.session.send_replace(Some(next));
    }

    /// Takes content, unless it has to go the usual way.
    pub async fn take(&self, frame: Vec<u8>) -> Option<Vec<u8>> {
        self.content.fetch_add(frame.len() as u64, Ordering::Relaxed);
        match self.open.load(Ordering::Acquire) {
            true => self.to_channels.send(frame).await.err().map(|back| back.0),
            false => Some(frame),
        }
    }

    /// Opens more streams when the way is long and much goes over it, and fills them. `first` is the stream for requests. Ends only
    /// when one of them does.
    pub async fn run(
        &self,
        connection: Option<&dyn Connection>,
        access: &dyn TargetAccess,
        first: &Mutex<crate::copy::controller::frames::Writer>,
    ) -> Broken {
        let Some(channels) = self.widen(connection, access, first).await else { return pending().await };
        self.open.store(true, Ordering::Release);
        let fill = channels.into_iter().map(|channel| Box::pin(self.fill(channel)));
        let (why, ..) = select_all(fill).await;
        // What is in the queue is lost with it: the source hears of it by the end of the first stream.
        self.frames.lock().await.close();
        tokio::time::sleep(LAST_WORD).await;
        stream(Side::Target, why)
    }

    async fn widen(
        &self,
        connection: Option<&dyn Connection>,
        access: &dyn TargetAccess,
        first: &Mutex<crate::copy::controller::frames::Writer>,
    ) -> Option<Vec<Channel>> {
        let mut begun = self.session.subscribe();
        let next = (*begun.wait_for(Option::is_some).await.ok()?)?;
        let connection = connection?;
        let round_trip = connection.round_trip().await?;
        let more = wanted(round_trip).checked_sub(1).filter(|more| *more > 0)?;
        while self.content.load(Ordering::Relaxed) < WINDOW {
            tokio::time::sleep(LOOK).await;
        }
        let frame = |order: &Request| OutFrame::new(Route::Peer, order, Vec::new()).ok().map(|frame| frame.head());
        let (widen, join) = (frame(&Request::AddChannels)?, frame(&Request::JoinSession { next })?);
        write(&mut *first.lock().await, &widen).await.ok()?;
        let open = || timeout(PATIENCE, open(connection, access, &join));
        let channels = join_all((0..more).map(|_| open())).await;
        let channels: Vec<Channel> = channels.into_iter().flatten().flatten().collect();
        (!channels.is_empty()).then_some(channels)
    }

    /// Writes content to one of them; returns why that ended.
    async fn fill(&self, channel: Channel) -> String {
        let Channel { mut reader, mut writer, ended: _ended, .. } = channel;
        let ends = async { reader.read_u8().await.err() };
        let fill = async {
            loop {
                let frame = self.frames.lock().await.recv().await?;
                if let Err(e) = write(&mut writer, &frame).await {
                    return Some(e);
                }
            }
        };
        let why = tokio::select! { why = ends => why, why = fill => why };
        let _ = writer.shutdown().await;
        format!("one of its channels was closed: {}", why.map_or("no reason given".to_owned(), |e| e.to_string()))
    }
}

/// A stream whose agent has joined the session.
async fn open(connection: &dyn Connection, access: &dyn TargetAccess, join: &[u8]) -> Option<Channel> {
    let mut channel = access.extra_channel(connection).await?;
    // Not waiting for its own first word saves a round trip.
    write(&mut channel.writer, join).await.ok()?;
    skip_noise(&mut channel.reader).await.ok()?;
    let mut frame = Vec::new();
    let header = next(&mut channel.reader, &mut frame).await.ok()?;
    let answer = Frame::check(header, frame.split_off(HEADER)).ok()?;
    matches!(answer.message(), Ok(Response::Joined)).then_some(channel)
}
