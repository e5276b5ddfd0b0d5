//! The sending agent's own connection to the target's sshd.
//!
//! Owns the key of this one copy, which exists in this process only. Must never go on with a host key that the controller does
//! not vouch for.

use std::borrow::Cow;
use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bytes::{Buf, Bytes};
use russh::client::{self, Handle, Msg};
use russh::keys::ssh_key::private::Ed25519Keypair;
use russh::keys::{PrivateKey, PrivateKeyWithHashAlg, PublicKey, PublicKeyOrCertificate};
use russh::{Channel, ChannelMsg, ChannelReadHalf, ChannelWriteHalf, Limits, Preferred};
use tokio::net::TcpStream;
use tokio::runtime::Runtime;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::connection;
use crate::copy::wire::frame::{Frame, OutFrame, PREAMBLE, WireError};
use crate::copy::wire::response::Response;
use crate::copy::wire::task::Dial;
use crate::text::escape;

/// How long one address of the target may take to answer.
const DIAL_TIMEOUT: Duration = Duration::from_secs(5);
const LOGIN_TIMEOUT: Duration = Duration::from_secs(20);
/// How long the receiving agent may take to say its first word.
const START_TIMEOUT: Duration = Duration::from_secs(10);
/// What a login shell may print before the agent starts.
const MAX_NOISE: usize = 64 << 10;
/// russh panics above this many bytes per key.
const REKEY_BYTES: usize = 1 << 30;
/// Reports are small, so that a small window does.
const WINDOW: u32 = 2 << 20;

/// A target that was reached, but not logged in to.
pub struct Reached {
    runtime: Runtime,
    own: std::net::IpAddr,
    key: PrivateKey,
    /// The exchange of keys, which goes on while the controller lets this copy's key in.
    handshake: JoinHandle<Result<Handle<Pinned>, russh::Error>>,
}

/// Tries to reach the target.
pub fn reach(dial: &Dial) -> Result<Reached, String> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name("ssh")
        .enable_all()
        .build()
        .map_err(|e| e.to_string())?;
    let socket = runtime.block_on(connect(dial)).map_err(|e| e.to_string())?;
    let _ = socket.set_nodelay(true);
    let own = socket.local_addr().map_err(|e| e.to_string())?.ip().to_canonical();
    let mut seed = [0; 32];
    rustix::rand::getrandom(&mut seed, rustix::rand::GetRandomFlags::empty()).map_err(|e| e.to_string())?;
    let key = PrivateKey::from(Ed25519Keypair::from_seed(&seed));
    let pinned = Pinned::of(dial);
    let handshake = runtime.spawn(client::connect_stream(Arc::new(config(&pinned)), socket, pinned));
    Ok(Reached { runtime, own, key, handshake })
}

/// A connection to the first address that answers.
async fn connect(dial: &Dial) -> io::Result<TcpStream> {
    let mut last = io::Error::other("the controller knows no address of the target");
    for address in &dial.addresses {
        match tokio::time::timeout(DIAL_TIMEOUT, TcpStream::connect((*address, dial.port))).await {
            Ok(Ok(socket)) => return Ok(socket),
            Ok(Err(e)) => last = e,
            Err(_) => last = io::ErrorKind::TimedOut.into(),
        }
    }
    Err(last)
}

impl Reached {
    /// The public half of this copy's key.
    pub fn public_key(&self) -> Result<String, String> {
        self.key.public_key().to_openssh().map_err(|e| e.to_string())
    }

    /// The address that the target sees, unless something in between changes it.
    pub fn own_address(&self) -> String {
        self.own.to_string()
    }

    /// Logs in and starts the receiving agent, which is all that the key may do.
    pub fn log_in(self, dial: &Dial) -> Result<Direct, String> {
        let Self { runtime, key, handshake, .. } = self;
        let log_in = async {
            let handle = handshake.await.map_err(|e| e.to_string())?.map_err(described)?;
            authenticate(handle, dial, key).await
        };
        let log_in = async { tokio::time::timeout(LOGIN_TIMEOUT, log_in).await };
        let handle = runtime.block_on(log_in).unwrap_or_else(|_| Err("the login took too long".to_owned()))?;
        let asked = Instant::now();
        let channel = runtime.block_on(handle.channel_open_session()).map_err(described)?;
        let opened = asked.elapsed();
        let channel = runtime.block_on(start(channel, None))?;
        Ok(Direct { connection: Arc::new(Connection { runtime, handle, opened }), channel })
    }
}

fn config(pinned: &Pinned) -> client::Config {
    client::Config {
        limits: Limits::new(REKEY_BYTES, REKEY_BYTES, Duration::from_secs(3600)),
        window_size: WINDOW,
        preferred: Preferred {
            key: Cow::Owned(connection::algorithms(pinned.trusted.iter())),
            cipher: Cow::Borrowed(connection::ciphers()),
            ..Preferred::DEFAULT
        },
        keepalive_interval: Some(Duration::from_secs(15)),
        keepalive_max: 3,
        ..client::Config::default()
    }
}

async fn authenticate(mut handle: Handle<Pinned>, dial: &Dial, key: PrivateKey) -> Result<Handle<Pinned>, String> {
    let key = PrivateKeyWithHashAlg::new(Arc::new(key), None);
    if !handle.authenticate_publickey(&dial.user, key).await.map_err(described)?.success() {
        return Err("the target does not accept this copy's key (is another AuthorizedKeysFile set there?)".to_owned());
    }
    Ok(handle)
}

fn described(e: russh::Error) -> String {
    escape(e.to_string().as_bytes(), 200)
}

/// A channel to an agent that has started.
struct AgentChannel {
    read: ChannelReadHalf,
    write: ChannelWriteHalf<Msg>,
    /// What came behind the agent's first word.
    ahead: Bytes,
}

/// Starts an agent and tells it its `first` words without waiting for its own: that saves a round trip.
async fn start(channel: Channel<Msg>, first: Option<Vec<u8>>) -> Result<AgentChannel, String> {
    // The command is the one that the key is bound to, whatever is asked for.
    channel.exec(true, "migrate").await.map_err(described)?;
    let (mut read, write) = channel.split();
    if let Some(first) = first {
        write.data_bytes(Bytes::from(first)).await.map_err(described)?;
    }
    let started = tokio::time::timeout(START_TIMEOUT, started(&mut read)).await;
    let ahead = started.unwrap_or_else(|_| Err("the agent did not start there in time".to_owned()))?;
    Ok(AgentChannel { read, write, ahead })
}

/// Reads up to the agent's first word. Where the target runs something else instead (`ForceCommand`), it never comes.
async fn started(read: &mut ChannelReadHalf) -> Result<Bytes, String> {
    let (mut seen, mut said) = (Vec::new(), Vec::new());
    while seen.len() <= MAX_NOISE {
        match read.wait().await {
            Some(ChannelMsg::Data { data }) => {
                let from = seen.len().saturating_sub(PREAMBLE.len());
                seen.extend_from_slice(&data);
                let fresh = seen.get(from..).unwrap_or_default();
                if let Some(at) = fresh.windows(PREAMBLE.len()).position(|part| part == PREAMBLE) {
                    return Ok(Bytes::from(seen.split_off(from + at + PREAMBLE.len())));
                }
            }
            Some(ChannelMsg::ExtendedData { data, .. }) if said.len() < 4096 => said.extend_from_slice(&data),
            Some(ChannelMsg::Close) | None => break,
            Some(_) => {}
        }
    }
    let what = "something else than the agent answers this copy's key (does sshd there force a command?)";
    let said = if said.is_empty() { seen } else { said };
    Err(if said.is_empty() { what.to_owned() } else { format!("{what}: {}", escape(said.trim_ascii(), 200)) })
}

/// Accepts the keys that the controller knows and no other.
struct Pinned {
    trusted: Vec<PublicKey>,
}

impl Pinned {
    fn of(dial: &Dial) -> Self {
        Self { trusted: dial.host_keys.iter().filter_map(|line| PublicKey::from_openssh(line).ok()).collect() }
    }
}

impl client::Handler for Pinned {
    type Error = russh::Error;

    async fn check_server_key(&mut self, key: &PublicKeyOrCertificate) -> Result<bool, Self::Error> {
        let offered = key.public_key();
        Ok(key.certificate().is_none() && self.trusted.iter().any(|known| known.key_data() == offered.key_data()))
    }
}

/// A connection to the target that is logged in. The last part of it to be dropped closes it.
pub struct Connection {
    runtime: Runtime,
    handle: Handle<Pinned>,
    /// From asking for a channel to having it.
    opened: Duration,
}

impl Drop for Connection {
    fn drop(&mut self) {
        let _ = self.runtime.block_on(self.handle.disconnect(russh::Disconnect::ByApplication, "", "en"));
    }
}

/// A connection to a receiving agent.
pub struct Direct {
    connection: Arc<Connection>,
    channel: AgentChannel,
}

impl Direct {
    /// What to read from and what to write to, for two threads, and the connection for more.
    pub fn split(self) -> (DirectReader, DirectWriter, Arc<Connection>) {
        let Self { connection, channel: AgentChannel { read, write, ahead } } = self;
        let (closed, is_closed) = watch::channel(false);
        let on = connection.runtime.handle().clone();
        let reader = DirectReader { on, read, current: ahead, closed, stderr: Vec::new() };
        let ending = Arc::new(AtomicBool::new(false));
        (reader, DirectWriter { connection: Arc::clone(&connection), write, is_closed, ending }, connection)
    }
}

impl Connection {
    /// The time to the target's sshd and back; measured again where it seems `long`.
    pub fn round_trip(&self, long: impl Fn(Duration) -> bool) -> Duration {
        if !long(self.opened) {
            return self.opened;
        }
        let again = self.runtime.block_on(connection::round_trip(&self.handle));
        again.map_or(self.opened, |again| again.min(self.opened))
    }

    /// Opens up to `count` more streams into the session that `join` names: as many as sshd allows. `lost` hears of one that ends
    /// while it is needed.
    pub fn widen(
        self: &Arc<Self>,
        count: usize,
        join: &OutFrame,
        lost: &(impl Fn(String) + Clone + Send + 'static),
    ) -> Vec<DirectWriter> {
        let open = async {
            let channels = (0..count).map(|_| open_extra_channel(&self.handle, join));
            futures_util::future::join_all(channels).await
        };
        let _inside = self.runtime.enter();
        let channels = self.runtime.block_on(open).into_iter().flatten();
        channels.map(|channel| self.side_writer(channel, lost.clone())).collect()
    }

    fn side_writer(self: &Arc<Self>, channel: AgentChannel, lost: impl Fn(String) + Send + 'static) -> DirectWriter {
        let AgentChannel { mut read, write, .. } = channel;
        let (closed, is_closed) = watch::channel(false);
        let ending = Arc::new(AtomicBool::new(false));
        let expected = Arc::clone(&ending);
        tokio::spawn(async move {
            let mut said = Vec::new();
            // Whoever does not read stops all streams of the connection.
            while let Some(message) = read.wait().await {
                match message {
                    ChannelMsg::ExtendedData { data, .. } if said.len() < 4096 => said.extend_from_slice(&data),
                    ChannelMsg::Close => break,
                    _ => {}
                }
            }
            if !expected.load(Ordering::Acquire) {
                lost(
                    format!("one of its channels was closed {}", escape(said.trim_ascii(), 200)).trim_end().to_owned(),
                );
            }
            let _ = closed.send(true);
        });
        DirectWriter { connection: Arc::clone(self), write, is_closed, ending }
    }
}

/// A channel whose agent has joined the session.
async fn open_extra_channel(handle: &Handle<Pinned>, join: &OutFrame) -> Result<AgentChannel, String> {
    let open = async {
        let channel = handle.channel_open_session().await.map_err(described)?;
        let mut channel = start(channel, Some(join.head())).await?;
        let mut answer = channel.ahead.to_vec();
        while answer.len() < 4096 {
            match Frame::read_from(&mut &answer[..]).map(|frame| frame.message()) {
                Ok(Ok(Response::Joined)) => return Ok(channel),
                Ok(_) | Err(WireError::Malformed(_)) => break,
                Err(_) => {}
            }
            match channel.read.wait().await {
                Some(ChannelMsg::Data { data }) => answer.extend_from_slice(&data),
                Some(ChannelMsg::Close) | None => break,
                Some(_) => {}
            }
        }
        Err("it did not join the session".to_owned())
    };
    tokio::time::timeout(START_TIMEOUT, open).await.map_err(|_| "it took too long".to_owned())?
}

/// Reports of the receiving agent.
pub struct DirectReader {
    on: tokio::runtime::Handle,
    read: ChannelReadHalf,
    current: Bytes,
    closed: watch::Sender<bool>,
    stderr: Vec<u8>,
}

impl DirectReader {
    /// Waits for output; false at the end.
    fn fill(&mut self) -> io::Result<bool> {
        while self.current.is_empty() {
            match self.on.block_on(self.read.wait()) {
                Some(ChannelMsg::Data { data }) => self.current = data,
                Some(ChannelMsg::ExtendedData { data, .. }) => self.keep(&data),
                Some(ChannelMsg::Eof) => {}
                Some(ChannelMsg::Close) => return self.ended(Ok(false)),
                None => {
                    return self.ended(Err(io::Error::new(io::ErrorKind::ConnectionReset, "the connection was lost")));
                }
                Some(_) => {}
            }
        }
        Ok(true)
    }

    fn keep(&mut self, data: &[u8]) {
        if self.stderr.len() < 4096 {
            self.stderr.extend_from_slice(data);
        }
    }

    /// What the agent said last is the better reason.
    fn ended(&self, otherwise: io::Result<bool>) -> io::Result<bool> {
        let _ = self.closed.send(true);
        if self.stderr.is_empty() { otherwise } else { Err(io::Error::other(escape(&self.stderr, 500))) }
    }
}

impl Read for DirectReader {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if !self.fill()? {
            return Ok(0);
        }
        let n = buf.len().min(self.current.len());
        self.current.split_to(n).copy_to_slice(buf.get_mut(..n).unwrap_or_default());
        Ok(n)
    }
}

/// Orders for the receiving agent.
pub struct DirectWriter {
    connection: Arc<Connection>,
    write: ChannelWriteHalf<Msg>,
    is_closed: watch::Receiver<bool>,
    /// Its end is wanted.
    ending: Arc<AtomicBool>,
}

impl DirectWriter {
    /// Sends a frame, without copying its data.
    pub fn send(&mut self, frame: OutFrame) -> io::Result<()> {
        let head = Bytes::from(frame.head());
        let data = Bytes::from(frame.data);
        let mut is_closed = self.is_closed.clone();
        let send = async {
            tokio::select! {
                sent = send_both(&self.write, head, data) => sent.map_err(|_| io::ErrorKind::BrokenPipe.into()),
                // Without this, a writer that waits for window would outlive the connection.
                _ = is_closed.wait_for(|closed| *closed) => Err(io::ErrorKind::BrokenPipe.into()),
            }
        };
        self.connection.runtime.block_on(send)
    }
}

async fn send_both(write: &ChannelWriteHalf<Msg>, head: Bytes, data: Bytes) -> Result<(), russh::Error> {
    write.data_bytes(head).await?;
    if data.is_empty() { Ok(()) } else { write.data_bytes(data).await }
}

impl Drop for DirectWriter {
    /// The receiving agent ends at the end of its input.
    fn drop(&mut self) {
        self.ending.store(true, Ordering::Release);
        let goodbye = async {
            let _ = self.write.eof().await;
            let mut closed = self.is_closed.clone();
            let _ = tokio::time::timeout(Duration::from_secs(5), closed.wait_for(|closed| *closed)).await;
        };
        self.connection.runtime.block_on(goodbye);
    }
}
