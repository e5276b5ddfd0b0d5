//! One connection to one host: dialled, its key checked, logged in, kept alive, and its end noticed by everyone who uses it.
//!
//! Owns the transport. Must never go on with a host key that `known_hosts` does not vouch for.

use std::borrow::Cow;
use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use russh::client::{self, Handle, Msg};
use russh::keys::{PublicKey, PublicKeyOrCertificate};
use russh::{Channel, Limits, Preferred};
use tokio::sync::{Semaphore, watch};

use super::auth;
use super::config::Endpoint;
use super::dial::{self, Heard};
use super::known_hosts::{self, Known};
use super::pool::Options;
use crate::clock::Clock;
use crate::connection::ciphers;
use crate::outside::{Error, Kind};
use crate::text::{duration, escape};

/// Receive window of a channel: what it can pull in one round trip. sshd reads ahead as much as the window lets it, and moves it
/// all for every packet, so that a large window makes a near host slow.
const WINDOW: RangeInclusive<u32> = 2 << 20..=64 << 20;
/// What the window is made for, in bytes per second.
const WINDOW_RATE: f64 = 512.0 * 1024.0 * 1024.0;
/// Messages (of at most 32 KiB) that wait for a reader before the connection stops reading.
const CHANNEL_BUFFER: usize = 256;
/// russh panics above this many bytes per key.
const REKEY_BYTES: usize = 1 << 30;
const REKEY_TIME: Duration = Duration::from_secs(3600);

/// A connection that is logged in.
pub(super) struct Session {
    handle: Handle<Client>,
    /// Name and address, for errors.
    pub label: String,
    /// Sessions that may run on it at once.
    pub slots: Arc<Semaphore>,
    /// How many slots there are, taken ones included.
    slot_count: AtomicUsize,
    ended: watch::Receiver<Option<String>>,
    /// The host's key that was checked.
    pub host_key: Option<PublicKey>,
}

/// russh's callbacks for one connection.
pub(super) struct Client {
    endpoint: Arc<Endpoint>,
    known: Known,
    clock: Arc<dyn Clock>,
    /// The key that was checked, or why it was refused.
    checked: Arc<Mutex<Option<Result<PublicKey, Error>>>>,
    ended: watch::Sender<Option<String>>,
}

impl client::Handler for Client {
    type Error = russh::Error;

    async fn check_server_key(&mut self, key: &PublicKeyOrCertificate) -> Result<bool, Self::Error> {
        let verdict = self.known.check(&self.endpoint, key, self.clock.wall()).await;
        let trusted = verdict.is_ok();
        *lock(&self.checked) = Some(verdict.map(|()| key.public_key()));
        Ok(trusted)
    }

    async fn disconnected(&mut self, reason: client::DisconnectReason<Self::Error>) -> Result<(), Self::Error> {
        let why = match &reason {
            client::DisconnectReason::ReceivedDisconnect(info) => {
                format!("the host hung up: {}", escape(info.message.as_bytes(), 200))
            }
            client::DisconnectReason::Error(e) => describe(e),
        };
        let _ = self.ended.send(Some(why));
        match reason {
            client::DisconnectReason::ReceivedDisconnect(_) => Ok(()),
            client::DisconnectReason::Error(e) => Err(e),
        }
    }
}

impl Session {
    /// Connects and logs in; `via` is the connection to go through.
    pub(super) async fn connect(
        endpoint: &Arc<Endpoint>,
        via: Option<&Arc<Session>>,
        options: &Options,
    ) -> Result<Self, NotConnected> {
        let (mut handle, ended, host_key) = shake_hands(endpoint, via, options).await?;
        let limit = options.login_timeout;
        tokio::time::timeout(limit, auth::log_in(&mut handle, endpoint, options.clock.wall())).await.unwrap_or_else(
            |_| {
                Err(unreachable(endpoint, format!("the login took longer than {}", duration(limit)))
                    .hint("does the ssh-agent wait for a confirmation or a touch? Or is the host overloaded?"))
            },
        )?;
        let slots = Arc::new(Semaphore::new(options.max_sessions.max(1)));
        let slot_count = AtomicUsize::new(options.max_sessions.max(1));
        Ok(Self { handle, label: endpoint.to_string(), slots, slot_count, ended, host_key })
    }

    /// Whether it can still be used, as far as is known.
    pub(super) fn is_alive(&self) -> bool {
        !self.handle.is_closed() && self.ended.has_changed().is_ok()
    }

    /// Why it ended.
    pub(super) fn reason(&self) -> String {
        self.ended.borrow().clone().unwrap_or_else(|| "the connection was lost".to_owned())
    }

    pub(super) fn handle(&self) -> &Handle<Client> {
        &self.handle
    }

    pub(super) async fn open_session(&self) -> Result<Channel<Msg>, russh::Error> {
        self.handle.channel_open_session().await
    }

    pub(super) async fn open_tcp(&self, address: &str, port: u16) -> Result<Channel<Msg>, russh::Error> {
        self.handle.channel_open_direct_tcpip(address, u32::from(port), "127.0.0.1", 0).await
    }

    pub(super) async fn open_unix(&self, path: &str) -> Result<Channel<Msg>, russh::Error> {
        self.handle.channel_open_direct_streamlocal(path).await
    }

    /// Takes note that the server runs fewer sessions than there are slots; false when it was the last slot.
    pub(super) fn give_up_slot(&self) -> bool {
        let fewer = |count: usize| (count > 1).then(|| count - 1);
        self.slot_count.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fewer).is_ok()
    }

    /// Says goodbye.
    pub(super) async fn disconnect(&self) {
        let _ = self.handle.disconnect(russh::Disconnect::ByApplication, "", "en").await;
    }
}

/// Why there is no connection.
pub(super) enum NotConnected {
    /// The server hung up before it spoke SSH, as it does with too many that have not logged in yet: it may take the next one.
    Dropped(Error),
    Other(Error),
}

impl From<Error> for NotConnected {
    fn from(e: Error) -> Self {
        Self::Other(e)
    }
}

type Shaken = (Handle<Client>, watch::Receiver<Option<String>>, Option<PublicKey>);

/// Dials, agrees on keys and checks the host's.
async fn shake_hands(
    endpoint: &Arc<Endpoint>,
    via: Option<&Arc<Session>>,
    options: &Options,
) -> Result<Shaken, NotConnected> {
    let known = known_hosts::read(endpoint).await?;
    let (ended_tx, ended) = watch::channel(None);
    let checked = Arc::new(Mutex::new(None));
    let client = Client {
        endpoint: endpoint.clone(),
        known: known.clone(),
        clock: options.clock.clone(),
        checked: checked.clone(),
        ended: ended_tx,
    };
    let limit = options.connect_timeout;
    let deadline = tokio::time::Instant::now() + limit;
    let line = dial::open(endpoint, via, limit, deadline).await?;
    let heard = Heard { bytes: line.heard, to: line.to, said: line.said };
    let shaking = client::connect_stream(config(&known, options, line.round_trip), line.stream, client);
    let connected = match tokio::time::timeout_at(deadline, shaking).await {
        Ok(connected) => connected,
        Err(_) => return Err(heard.nothing_in_time(endpoint, limit).await.into()),
    };
    let checked = lock(&checked).take();
    match (connected, checked) {
        (_, Some(Err(error))) => Err(error.into()),
        (Ok(handle), key) => Ok((handle, ended, key.and_then(Result::ok))),
        (Err(e), _) if is_closed(&e) => Err(heard.closed(endpoint, &e).await),
        (Err(e), _) => Err(handshake_error(endpoint, &e).into()),
    }
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether the other side has hung up.
fn is_closed(e: &russh::Error) -> bool {
    use std::io::ErrorKind::{BrokenPipe, ConnectionReset, UnexpectedEof};
    match e {
        russh::Error::Disconnect | russh::Error::HUP | russh::Error::SendError => true,
        russh::Error::IO(e) => matches!(e.kind(), UnexpectedEof | ConnectionReset | BrokenPipe),
        _ => false,
    }
}

fn handshake_error(endpoint: &Endpoint, error: &russh::Error) -> Error {
    match error {
        russh::Error::NoCommonAlgo { kind: russh::AlgorithmKind::Key, theirs, .. } => {
            let theirs = escape(theirs.join(", ").as_bytes(), 200);
            let offers = format!("offers only kinds of host keys that are not taken here ({theirs})");
            let hint = "give the host an Ed25519 key: `ssh-keygen -A` there, then restart its sshd";
            match theirs.split(", ").any(|name| name == "ssh-rsa") {
                true => unreachable(endpoint, offers).hint(format!(
                    "`ssh-rsa` is RSA with SHA-1, which proves nothing any more (OpenSSH before 7.2 has no other RSA): {hint}"
                )),
                false => unreachable(endpoint, offers).hint(hint),
            }
        }
        russh::Error::NoCommonAlgo { kind, theirs, .. } => {
            let theirs = escape(theirs.join(", ").as_bytes(), 200);
            unreachable(endpoint, format!("offers no {} that is taken here ({theirs})", agreed(kind))).hint(
                "its sshd is too old, or KexAlgorithms, Ciphers and MACs in its sshd_config leave nothing that is safe",
            )
        }
        e => unreachable(endpoint, format!("no SSH connection: {}", describe(e)))
            .hint("is it really an SSH server that listens there?"),
    }
}

/// What two sides have to agree on.
fn agreed(kind: &russh::AlgorithmKind) -> &'static str {
    match kind {
        russh::AlgorithmKind::Kex => "key exchange",
        russh::AlgorithmKind::Key => "kind of host key",
        russh::AlgorithmKind::Cipher => "cipher",
        russh::AlgorithmKind::Compression => "compression",
        russh::AlgorithmKind::Mac => "message authentication",
    }
}

fn config(known: &Known, options: &Options, round_trip: Duration) -> Arc<client::Config> {
    Arc::new(client::Config {
        limits: Limits::new(REKEY_BYTES, REKEY_BYTES, REKEY_TIME),
        window_size: window(round_trip),
        channel_buffer_size: CHANNEL_BUFFER,
        preferred: Preferred {
            key: Cow::Owned(known.algorithms()),
            host_key_certificates: Cow::Owned(known.certificate_algorithms()),
            cipher: Cow::Borrowed(ciphers()),
            ..Preferred::DEFAULT
        },
        keepalive_interval: Some(options.keepalive),
        // russh gives up when one more than this many are unanswered.
        keepalive_max: options.keepalive_max.saturating_sub(1),
        // Keepalives cannot be sent while a write is stuck: this ends the connection then.
        inactivity_timeout: Some(
            options.keepalive.saturating_mul(u32::try_from(options.keepalive_max + 1).unwrap_or(4)),
        ),
        ..client::Config::default()
    })
}

fn window(round_trip: Duration) -> u32 {
    let bytes = round_trip.as_secs_f64() * WINDOW_RATE;
    (bytes as u32).clamp(*WINDOW.start(), *WINDOW.end())
}

pub(super) fn unreachable(endpoint: &Endpoint, what: String) -> Error {
    Error::new(endpoint.to_string(), Kind::Unreachable, what)
}

pub(super) fn io_reason(e: &std::io::Error) -> String {
    match e.kind() {
        std::io::ErrorKind::ConnectionRefused => "connection refused".to_owned(),
        std::io::ErrorKind::UnexpectedEof | std::io::ErrorKind::ConnectionReset | std::io::ErrorKind::BrokenPipe => {
            "the connection was closed".to_owned()
        }
        _ => escape(e.to_string().as_bytes(), 200),
    }
}

/// What a russh error means to people.
pub(super) fn describe(e: &russh::Error) -> String {
    match e {
        russh::Error::KeepaliveTimeout | russh::Error::InactivityTimeout => "the host stopped answering".to_owned(),
        russh::Error::Disconnect | russh::Error::HUP | russh::Error::SendError => {
            "the connection was closed".to_owned()
        }
        russh::Error::IO(e) => io_reason(e),
        e => escape(e.to_string().as_bytes(), 200),
    }
}
