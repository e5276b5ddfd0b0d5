//! Raw byte streams to a host: a command's input and output, a TCP port, a unix socket.
//!
//! Owns one channel of a connection from its opening to its close. Must never leave a writer or a reader waiting on a connection
//! that is gone, and never take the loss of a connection for the end of the data.
//!
//! All channels of a connection share its flow: a reader that stops reading stops the others after some megabytes. Pools give
//! each stream a connection of its own for this reason.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes};
use russh::client::Msg;
use russh::{Channel, ChannelMsg, ChannelReadHalf, ChannelWriteHalf, Sig};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::{mpsc, oneshot, watch};

use super::launch::Start;
use super::session::Session;
use super::shared_connection::SharedConnection;
use crate::outside::{Error, Kind};

/// What is kept of standard error: its end.
const STDERR_KEPT: usize = 64 << 10;
/// Messages (of at most 32 KiB) between the connection and a reader.
const QUEUE: usize = 64;
/// How long a closed channel may take to be confirmed, before its place is given to someone else.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

/// How a remote command ended.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Exit {
    /// Exit status; 128 + n for signal n; `None` for sockets, and where the server does not say.
    pub status: Option<i32>,
    /// The last 64 KiB of standard error.
    pub stderr: Vec<u8>,
    /// Whether some of standard error was dropped.
    pub truncated: bool,
}

/// A two-way stream. Dropping it, or all its parts, closes it: the remote command sees its input end and its output break.
///
/// The command's input ends with [`tokio::io::AsyncWriteExt::shutdown`]. Reading ends with an error, not with end of file, when
/// the connection is lost.
pub struct Stream {
    reader: Reader,
    writer: Writer,
    ending: Ending,
}

/// The remote command's standard output.
pub struct Reader {
    queue: mpsc::Receiver<Result<Bytes, String>>,
    current: Bytes,
    _hold: Arc<Hold>,
}

/// The remote command's standard input.
pub struct Writer {
    half: Arc<ChannelWriteHalf<Msg>>,
    inner: Pin<Box<dyn AsyncWrite + Send>>,
    closed: watch::Receiver<bool>,
    wait_closed: Pin<Box<dyn Future<Output = ()> + Send>>,
    _hold: Arc<Hold>,
}

/// The end of the remote command.
pub struct Ending {
    exit: oneshot::Receiver<Result<Exit, Error>>,
    half: Arc<ChannelWriteHalf<Msg>>,
    session: Arc<Session>,
    exited: watch::Receiver<bool>,
    hang_up: oneshot::Sender<()>,
    _hold: Arc<Hold>,
}

/// Dropped with the last part of a stream.
struct Hold {
    _alive: oneshot::Sender<()>,
}

impl Stream {
    /// A stream over a channel. `place` is given back when the channel is closed.
    pub(super) fn new(session: Arc<Session>, channel: Channel<Msg>, place: impl Send + 'static) -> Self {
        Self::over(session, channel, place, None)
    }

    /// The same for a program: its output begins where `start` finds it.
    pub(super) fn of_program(
        session: Arc<Session>,
        channel: Channel<Msg>,
        place: impl Send + 'static,
        start: Start,
    ) -> Self {
        Self::over(session, channel, place, Some(start))
    }

    fn over(
        session: Arc<Session>,
        channel: Channel<Msg>,
        place: impl Send + 'static,
        mut start: Option<Start>,
    ) -> Self {
        let (read, half) = channel.split();
        let half = Arc::new(half);
        let (alive, abandoned) = oneshot::channel();
        let hold = Arc::new(Hold { _alive: alive });
        let (out, queue) = mpsc::channel(QUEUE);
        let (closed_tx, closed) = watch::channel(false);
        let ((exit_tx, exit), (exited_tx, exited)) = (oneshot::channel(), watch::channel(false));
        let (hang_up, hung_up) = oneshot::channel();
        let pump = Pump {
            read,
            half: half.clone(),
            out: Some(out),
            abandoned,
            hung_up,
            exited: exited_tx,
            session: session.clone(),
            end: Exit {
                stderr: start.as_mut().map(|s| std::mem::take(&mut s.stderr)).unwrap_or_default(),
                ..Exit::default()
            },
            start,
        };
        tokio::spawn(async move {
            pump.run(closed_tx, exit_tx).await;
            drop(place);
        });
        Self {
            reader: Reader { queue, current: Bytes::new(), _hold: hold.clone() },
            writer: Writer::new(half.clone(), closed, hold.clone()),
            ending: Ending { exit, half, session, exited, hang_up, _hold: hold },
        }
    }

    /// The connection that it uses, for more sessions.
    pub fn connection(&self) -> SharedConnection {
        SharedConnection(self.ending.session.clone())
    }

    /// Output, input and end, for separate tasks.
    pub fn into_parts(self) -> (Reader, Writer, Ending) {
        (self.reader, self.writer, self.ending)
    }

    /// The next piece of output without copying it; `None` at its end.
    pub async fn chunk(&mut self) -> io::Result<Option<Bytes>> {
        self.reader.chunk().await
    }

    /// Sends bytes to the input without copying them; faster than writing.
    pub async fn send(&mut self, bytes: Bytes) -> io::Result<()> {
        self.writer.send(bytes).await
    }

    /// Ends the input, drops output that was not read, and waits for the command.
    pub async fn finish(self) -> Result<Exit, Error> {
        let (reader, mut writer, ending) = self.into_parts();
        drop(reader);
        writer.end().await;
        ending.wait().await
    }
}

impl Reader {
    /// The next piece without copying it; `None` at the end.
    pub async fn chunk(&mut self) -> io::Result<Option<Bytes>> {
        if !self.current.is_empty() {
            return Ok(Some(std::mem::take(&mut self.current)));
        }
        self.queue.recv().await.transpose().map_err(lost)
    }
}

fn lost(why: String) -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionReset, why)
}

impl Writer {
    fn new(half: Arc<ChannelWriteHalf<Msg>>, closed: watch::Receiver<bool>, hold: Arc<Hold>) -> Self {
        let inner = Box::pin(half.make_writer());
        let wait_closed = Box::pin(until_closed(closed.clone()));
        Self { half, inner, closed, wait_closed, _hold: hold }
    }

    /// Sends bytes without copying them. An error means that the other side takes no more.
    pub async fn send(&mut self, bytes: Bytes) -> io::Result<()> {
        tokio::select! {
            sent = self.half.data_bytes(bytes) => sent.map_err(|_| broken()),
            // Without this, a sender that waits for window would outlive the connection.
            () = until_closed(self.closed.clone()) => Err(broken()),
        }
    }

    /// Ends the input, if the other side still takes any.
    pub async fn end(&mut self) {
        tokio::select! {
            _ = self.half.eof() => {}
            () = until_closed(self.closed.clone()) => {}
        }
    }
}

async fn until_closed(mut closed: watch::Receiver<bool>) {
    let _ = closed.wait_for(|closed| *closed).await;
}

fn broken() -> io::Error {
    io::Error::new(io::ErrorKind::BrokenPipe, "the other side has ended")
}

impl Ending {
    /// Waits until the command has ended and all its output was read or dropped. One that did not start is an error.
    pub async fn wait(self) -> Result<Exit, Error> {
        let gone = || Error::new(self.session.label.clone(), Kind::Lost, self.session.reason());
        self.exit.await.unwrap_or_else(|_| Err(gone()))
    }

    /// Comes back when the command has ended, even if something it started still holds its output open.
    pub(super) async fn exited(&mut self) {
        let _ = self.exited.wait_for(|exited| *exited).await;
    }

    /// Closes the stream without waiting for the end of the output.
    pub(super) async fn hang_up(self) -> Result<Exit, Error> {
        let Self { exit, session, hang_up, _hold, .. } = self;
        let _ = hang_up.send(());
        exit.await.unwrap_or_else(|_| Err(Error::new(session.label.clone(), Kind::Lost, session.reason())))
    }

    /// Asks the server to send SIGTERM to the command. Servers may refuse, and do so in silence.
    pub async fn terminate(&self) {
        let _ = self.half.signal(Sig::TERM).await;
    }
}

impl AsyncRead for Reader {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        while self.current.is_empty() {
            match ready!(self.queue.poll_recv(cx)) {
                Some(Ok(bytes)) => self.current = bytes,
                Some(Err(why)) => return Poll::Ready(Err(lost(why))),
                None => return Poll::Ready(Ok(())),
            }
        }
        let n = buf.remaining().min(self.current.len());
        buf.put_slice(self.current.get(..n).unwrap_or_default());
        self.current.advance(n);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Writer {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        if buf.is_empty() {
            return Poll::Ready(Ok(0));
        }
        let polled = self.inner.as_mut().poll_write(cx, buf);
        self.or_closed(cx, polled)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.inner.as_mut().poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = self.inner.as_mut().poll_shutdown(cx);
        self.or_closed(cx, polled)
    }
}

impl Writer {
    /// A write that waits ends when the channel does.
    fn or_closed<T>(&mut self, cx: &mut Context<'_>, polled: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        match polled {
            Poll::Pending if *self.closed.borrow() || self.wait_closed.as_mut().poll(cx).is_ready() => {
                Poll::Ready(Err(broken()))
            }
            polled => polled,
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.reader).poll_read(cx, buf)
    }
}

impl AsyncWrite for Stream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.writer).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.writer).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.writer).poll_shutdown(cx)
    }
}

/// Takes what the connection delivers for one channel: output to the reader, the rest into the exit.
struct Pump {
    read: ChannelReadHalf,
    half: Arc<ChannelWriteHalf<Msg>>,
    out: Option<mpsc::Sender<Result<Bytes, String>>>,
    abandoned: oneshot::Receiver<()>,
    hung_up: oneshot::Receiver<()>,
    exited: watch::Sender<bool>,
    session: Arc<Session>,
    start: Option<Start>,
    end: Exit,
}

/// Why a pump stopped.
enum Stopped {
    Closed,
    Lost,
    /// Someone asked for the exit as it is.
    HungUp,
    /// Nobody is interested any more.
    Abandoned,
}

impl Pump {
    async fn run(mut self, closed: watch::Sender<bool>, exit: oneshot::Sender<Result<Exit, Error>>) {
        let stopped = self.forward().await;
        let _ = closed.send(true);
        match stopped {
            Stopped::Closed | Stopped::HungUp => {
                if matches!(stopped, Stopped::HungUp) {
                    self.close().await;
                }
                let end = std::mem::take(&mut self.end);
                let _ = exit.send(match &self.start {
                    Some(start) => start.ended(end, &self.session.label),
                    None => Ok(end),
                });
            }
            Stopped::Lost => {
                let why = self.session.reason();
                let _ = exit.send(Err(Error::new(self.session.label.clone(), Kind::Lost, why.clone())));
                if let Some(out) = &self.out {
                    let _ = out.send(Err(why)).await;
                }
            }
            Stopped::Abandoned => self.close().await,
        }
    }

    async fn forward(&mut self) -> Stopped {
        let mut ahead = self.start.as_mut().map(|start| std::mem::take(&mut start.ahead)).filter(|b| !b.is_empty());
        loop {
            let message = match ahead.take() {
                Some(data) => Some(ChannelMsg::Data { data }),
                None => tokio::select! {
                    biased;
                    _ = &mut self.abandoned => return Stopped::Abandoned,
                    Ok(()) = &mut self.hung_up => return Stopped::HungUp,
                    message = self.read.wait() => message,
                },
            };
            match message {
                Some(ChannelMsg::Data { data }) => {
                    let data = match &mut self.start {
                        Some(start) => start.own(data),
                        None => data,
                    };
                    let Some(out) = self.out.as_ref().filter(|_| !data.is_empty()) else { continue };
                    tokio::select! {
                        biased;
                        _ = &mut self.abandoned => return Stopped::Abandoned,
                        Ok(()) = &mut self.hung_up => return Stopped::HungUp,
                        // Output that nobody reads any more is dropped, so that the command can end.
                        sent = out.send(Ok(data)) => if sent.is_err() { self.out = None },
                    }
                }
                Some(ChannelMsg::ExtendedData { data, ext: 1 }) => self.keep_stderr(&data),
                Some(ChannelMsg::ExitStatus { exit_status }) => self.exit(i32::try_from(exit_status).ok()),
                Some(ChannelMsg::ExitSignal { signal_name, .. }) => self.exit(Some(128 + signal_number(&signal_name))),
                Some(ChannelMsg::Eof) => self.out = None,
                Some(ChannelMsg::Close) => return Stopped::Closed,
                None => return Stopped::Lost,
                Some(_) => {}
            }
        }
    }

    fn exit(&mut self, status: Option<i32>) {
        self.end.status = status;
        let _ = self.exited.send(true);
    }

    fn keep_stderr(&mut self, data: &[u8]) {
        let kept = &mut self.end.stderr;
        kept.extend_from_slice(data);
        if kept.len() > STDERR_KEPT {
            kept.drain(..kept.len() - STDERR_KEPT);
            self.end.truncated = true;
        }
    }

    async fn close(&mut self) {
        let confirmed = async {
            let _ = self.half.close().await;
            while !matches!(self.read.wait().await, Some(ChannelMsg::Close) | None) {}
        };
        let _ = tokio::time::timeout(CLOSE_TIMEOUT, confirmed).await;
    }
}

fn signal_number(signal: &Sig) -> i32 {
    match signal {
        Sig::HUP => 1,
        Sig::INT => 2,
        Sig::QUIT => 3,
        Sig::ILL => 4,
        Sig::ABRT => 6,
        Sig::FPE => 8,
        Sig::KILL => 9,
        Sig::USR1 => 10,
        Sig::SEGV => 11,
        Sig::PIPE => 13,
        Sig::ALRM => 14,
        Sig::TERM => 15,
        Sig::Custom(name) if name == "USR2" => 12,
        Sig::Custom(_) => 0,
    }
}
