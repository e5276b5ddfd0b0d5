//! The sending agent's own connection to the target's sshd.
//!
//! Owns the key of this one copy, which exists in this process only. Must never go on with a host key that the controller does
//! not vouch for.

use std::io::{self, Read};
use std::net::TcpStream as StdTcp;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, Bytes};
use russh::client::{self, Handle, Msg};
use russh::keys::ssh_key::private::Ed25519Keypair;
use russh::keys::{PrivateKey, PrivateKeyWithHashAlg, PublicKey, PublicKeyOrCertificate};
use russh::{ChannelMsg, ChannelReadHalf, ChannelWriteHalf, Limits, Preferred};
use tokio::runtime::Runtime;
use tokio::sync::watch;

use crate::copy::agent::PREAMBLE;
use crate::copy::message::Dial;
use crate::copy::wire::OutFrame;
use crate::text::escape;

/// How long reaching the target may take before the controller relays.
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
    socket: StdTcp,
    key: PrivateKey,
}

/// Tries to reach the target.
pub fn reach(dial: &Dial) -> Result<Reached, String> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name("ssh")
        .enable_all()
        .build()
        .map_err(|e| e.to_string())?;
    let connect = async {
        let socket = tokio::net::TcpStream::connect((dial.address.as_str(), dial.port));
        tokio::time::timeout(DIAL_TIMEOUT, socket).await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
    };
    let socket = runtime.block_on(connect).and_then(tokio::net::TcpStream::into_std).map_err(|e| e.to_string())?;
    let mut seed = [0; 32];
    rustix::rand::getrandom(&mut seed, rustix::rand::GetRandomFlags::empty()).map_err(|e| e.to_string())?;
    let key = PrivateKey::from(Ed25519Keypair::from_seed(&seed));
    Ok(Reached { runtime, socket, key })
}

impl Reached {
    /// The public half of this copy's key.
    pub fn public_key(&self) -> Result<String, String> {
        self.key.public_key().to_openssh().map_err(|e| e.to_string())
    }

    /// The address that the target sees, unless something in between changes it.
    pub fn own_address(&self) -> Result<String, String> {
        Ok(self.socket.local_addr().map_err(|e| e.to_string())?.ip().to_canonical().to_string())
    }

    /// Logs in and starts the receiving agent, which is all that the key may do.
    pub fn log_in(self, dial: &Dial) -> Result<Direct, String> {
        let Self { runtime, socket, key } = self;
        let connect = async {
            let socket = tokio::net::TcpStream::from_std(socket).map_err(|e| e.to_string())?;
            let _ = socket.set_nodelay(true);
            tokio::time::timeout(LOGIN_TIMEOUT, connect(socket, dial, key))
                .await
                .unwrap_or_else(|_| Err("the login took too long".to_owned()))
        };
        let handle = runtime.block_on(connect)?;
        let lane = runtime.block_on(open_lane(&handle))?;
        Ok(Direct { runtime, handle, lane })
    }
}

async fn connect(socket: tokio::net::TcpStream, dial: &Dial, key: PrivateKey) -> Result<Handle<Pinned>, String> {
    let trusted = dial.host_keys.iter().filter_map(|line| PublicKey::from_openssh(line).ok()).collect();
    let config = client::Config {
        limits: Limits::new(REKEY_BYTES, REKEY_BYTES, Duration::from_secs(3600)),
        window_size: WINDOW,
        preferred: Preferred { cipher: std::borrow::Cow::Borrowed(crate::ssh::ciphers()), ..Preferred::DEFAULT },
        keepalive_interval: Some(Duration::from_secs(15)),
        keepalive_max: 3,
        ..client::Config::default()
    };
    let mut handle = client::connect_stream(Arc::new(config), socket, Pinned { trusted }).await.map_err(described)?;
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
struct Lane {
    read: ChannelReadHalf,
    write: ChannelWriteHalf<Msg>,
    /// What came behind the agent's first word.
    ahead: Bytes,
}

async fn open_lane(handle: &Handle<Pinned>) -> Result<Lane, String> {
    let channel = handle.channel_open_session().await.map_err(described)?;
    // The command is the one that the key is bound to, whatever is asked for.
    channel.exec(true, "migrate").await.map_err(described)?;
    let (mut read, write) = channel.split();
    let started = tokio::time::timeout(START_TIMEOUT, started(&mut read)).await;
    let ahead = started.unwrap_or_else(|_| Err("the agent did not start there in time".to_owned()))?;
    Ok(Lane { read, write, ahead })
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

impl client::Handler for Pinned {
    type Error = russh::Error;

    async fn check_server_key(&mut self, key: &PublicKeyOrCertificate) -> Result<bool, Self::Error> {
        let offered = key.public_key();
        Ok(key.certificate().is_none() && self.trusted.iter().any(|known| known.key_data() == offered.key_data()))
    }
}

/// A connection to a receiving agent.
pub struct Direct {
    runtime: Runtime,
    handle: Handle<Pinned>,
    lane: Lane,
}

impl Direct {
    /// What to read from and what to write to, for two threads.
    pub fn split(self) -> (DirectReader, DirectWriter) {
        let Self { runtime, handle, lane: Lane { read, write, ahead } } = self;
        let (closed, is_closed) = watch::channel(false);
        let on = runtime.handle().clone();
        let reader = DirectReader { on, read, current: ahead, closed, stderr: Vec::new() };
        (reader, DirectWriter { runtime, handle, write, is_closed })
    }
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
    runtime: Runtime,
    handle: Handle<Pinned>,
    write: ChannelWriteHalf<Msg>,
    is_closed: watch::Receiver<bool>,
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
        self.runtime.block_on(send)
    }
}

async fn send_both(write: &ChannelWriteHalf<Msg>, head: Bytes, data: Bytes) -> Result<(), russh::Error> {
    write.data_bytes(head).await?;
    if data.is_empty() { Ok(()) } else { write.data_bytes(data).await }
}

impl Drop for DirectWriter {
    /// The receiving agent ends at the end of its input; the connection goes with it.
    fn drop(&mut self) {
        let goodbye = async {
            let _ = self.write.eof().await;
            let mut closed = self.is_closed.clone();
            let _ = tokio::time::timeout(Duration::from_secs(5), closed.wait_for(|closed| *closed)).await;
            let _ = self.handle.disconnect(russh::Disconnect::ByApplication, "", "en").await;
        };
        self.runtime.block_on(goodbye);
    }
}
