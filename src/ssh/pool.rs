//! Connections, made when they are needed, kept, and shared.
//!
//! Owns how many there are. Must never send a command twice: only what surely did not start is tried on a new connection.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use russh::client::Msg;
use russh::keys::PublicKey;
use russh::{Channel, ChannelOpenFailure};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::config::{self, Endpoint, Environment};
use super::idle;
use super::known_hosts;
use super::launch::Launch;
use super::privileges::{Passwords, Question, Turn};
use super::session::{NotConnected, Session, describe};
use super::stream::Stream;
use crate::clock::{Clock, SystemClock};
use crate::model::{Host, SshTarget};
use crate::outside::{Error, Kind};
use crate::retry::{Policy, Retry};
use crate::secret::{Secret, SecretError, SecretRef, Secrets};
use crate::text::{duration, escape};

/// How often a slot is asked for again when the server refuses the only session on a connection.
const LAST_SLOT_TRIES: u32 = 20;
const LAST_SLOT_PAUSE: Duration = Duration::from_millis(100);

/// For connections that a server dropped before it spoke SSH: about 15 s in all.
const DROPPED: Policy = Policy::new(6, Duration::from_millis(500), Duration::from_secs(8));

/// Limits and times.
#[derive(Clone)]
pub struct Options {
    /// What time it is, and how long pauses are.
    pub clock: Arc<dyn Clock>,
    /// From dialling to the checked host key; 10 s.
    pub connect_timeout: Duration,
    /// Logging in, a confirmation at the ssh-agent included; 30 s.
    pub login_timeout: Duration,
    /// Silence after which the host is asked whether it is there; 15 s.
    pub keepalive: Duration,
    /// Unanswered questions after which the connection counts as lost; 3.
    pub keepalive_max: usize,
    /// Commands at once on one connection; 10, OpenSSH's `MaxSessions`. Lowered by itself where the server takes fewer.
    pub max_sessions: usize,
    /// Connections being set up at once, over all hosts; 16.
    pub max_setups: usize,
    /// Connections that are kept though nobody uses them; 400.
    pub max_idle: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            clock: Arc::new(SystemClock),
            connect_timeout: Duration::from_secs(10),
            login_timeout: Duration::from_secs(30),
            keepalive: Duration::from_secs(15),
            keepalive_max: 3,
            max_sessions: 10,
            max_setups: 16,
            max_idle: 400,
        }
    }
}

/// Connections to hosts. Clones share them.
#[derive(Clone)]
pub struct Pool {
    inner: Arc<Inner>,
}

struct Inner {
    env: Environment,
    options: Options,
    hosts: BTreeMap<String, Host>,
    endpoints: Mutex<HashMap<Wanted, Arc<Endpoint>>>,
    places: Mutex<HashMap<(Arc<Endpoint>, Lane), Place>>,
    /// Connections that have a stream.
    streams: Mutex<HashMap<Arc<Endpoint>, BTreeSet<usize>>>,
    setups: Semaphore,
    passwords: Passwords,
}

/// For pools whose hosts need no secrets.
struct NoSecrets;

impl Secrets for NoSecrets {
    fn resolve(&self, _: &SecretRef) -> Result<Secret, SecretError> {
        Err(SecretError { from: "nowhere".to_owned(), why: "this connection was given no secrets".to_owned() })
    }
}

type Wanted = (String, String, SshTarget);
pub(super) type Place = Arc<tokio::sync::Mutex<Connection>>;

/// A stream whose reader is slow stops everything else on its connection, so each has one of its own while it lasts, and commands share
/// another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Lane {
    Commands,
    Stream(usize),
}

/// The use of a connection for one stream.
struct Exclusive {
    inner: Arc<Inner>,
    endpoint: Arc<Endpoint>,
    nth: usize,
}

impl Exclusive {
    /// The first connection that has no stream.
    fn take(inner: &Arc<Inner>, endpoint: &Arc<Endpoint>) -> Self {
        let mut streams = lock(&inner.streams);
        let taken = streams.entry(endpoint.clone()).or_default();
        let nth = (0..).find(|nth| !taken.contains(nth)).unwrap_or_default();
        taken.insert(nth);
        Self { inner: inner.clone(), endpoint: endpoint.clone(), nth }
    }
}

impl Drop for Exclusive {
    fn drop(&mut self) {
        if let Some(taken) = lock(&self.inner.streams).get_mut(&self.endpoint) {
            taken.remove(&self.nth);
        }
    }
}

/// The connection to one host, or how the last attempt went.
pub(super) struct Connection {
    pub(super) session: Option<Arc<Session>>,
    failed: Option<(Instant, Error)>,
    /// When somebody last asked for it.
    pub(super) used: Instant,
}

impl Default for Connection {
    fn default() -> Self {
        Self { session: None, failed: None, used: Instant::now() }
    }
}

/// Why a channel could not be opened.
enum NotOpened {
    /// The connection is gone, or does not answer: nothing was started.
    Gone(String),
    Refused(ChannelOpenFailure),
}

impl From<russh::Error> for NotOpened {
    fn from(e: russh::Error) -> Self {
        match e {
            russh::Error::ChannelOpenFailure(why) => Self::Refused(why),
            e => Self::Gone(describe(&e)),
        }
    }
}

impl Pool {
    /// A pool without connections. `hosts` are those that `jump` may name.
    pub fn new(env: Environment, hosts: BTreeMap<String, Host>, options: Options) -> Self {
        Self::with_secrets(env, hosts, options, Arc::new(NoSecrets))
    }

    /// The same, where hosts may ask for passwords for sudo.
    pub fn with_secrets(
        env: Environment,
        hosts: BTreeMap<String, Host>,
        options: Options,
        secrets: Arc<dyn Secrets>,
    ) -> Self {
        let setups = Semaphore::new(options.max_setups.max(1));
        let (endpoints, places, streams) = Default::default();
        let passwords = Passwords::new(secrets);
        let inner = Inner { env, options, hosts, endpoints, places, streams, setups, passwords };
        Self { inner: Arc::new(inner) }
    }

    /// Runs `argv` on a host and gives its input and output. It is not run by a shell; the words arrive as they are.
    ///
    /// The reader must keep reading: see [`super::stream`].
    pub async fn open(&self, host: &Host, argv: &[&str]) -> Result<Stream, Error> {
        let launch = Launch::new(host, argv)?;
        let endpoint = self.endpoint(host).await?;
        let alone = Exclusive::take(&self.inner, &endpoint);
        self.open_channel(host, Some(alone), Request::Program(&launch)).await
    }

    /// Connects to a unix socket on a host.
    pub async fn open_unix(&self, host: &Host, path: &str) -> Result<Stream, Error> {
        self.open_channel(host, None, Request::Unix(path)).await
    }

    /// Connects to a TCP port that the host can reach.
    pub async fn open_tcp(&self, host: &Host, address: &str, port: u16) -> Result<Stream, Error> {
        self.open_channel(host, None, Request::Tcp(address, port)).await
    }

    /// How a host is reached.
    pub async fn endpoint(&self, host: &Host) -> Result<Arc<Endpoint>, Error> {
        let wanted: Wanted = (host.name.clone(), host.address.clone(), host.ssh.clone());
        let known = |inner: &Inner| lock(&inner.endpoints).get(&wanted).cloned();
        if let Some(endpoint) = known(&self.inner) {
            return Ok(endpoint);
        }
        let _turn = self.inner.setups.acquire().await;
        if let Some(endpoint) = known(&self.inner) {
            return Ok(endpoint);
        }
        let lookup = |name: &str| self.inner.hosts.get(name).cloned();
        let endpoint = Arc::new(config::resolve(&self.inner.env, host, &lookup).await?);
        lock(&self.inner.endpoints).insert(wanted, endpoint.clone());
        Ok(endpoint)
    }

    /// Keys that show somebody else whether a host is the right one: those in known_hosts, and those that were checked here.
    pub async fn host_keys(&self, endpoint: &Arc<Endpoint>) -> Result<Vec<PublicKey>, Error> {
        let places: Vec<Place> = lock(&self.inner.places)
            .iter()
            .filter(|((of, _), _)| of == endpoint)
            .map(|(_, place)| place.clone())
            .collect();
        let mut keys = known_hosts::read(endpoint).await?.trusted();
        for place in places {
            let connection = place.lock().await;
            let checked = connection.session.as_ref().and_then(|session| session.host_key.clone());
            keys.extend(checked.filter(|checked| !keys.contains(checked)));
        }
        Ok(keys)
    }

    /// Closes all connections; what runs on them is interrupted.
    pub async fn close(&self) {
        let places: Vec<Place> = lock(&self.inner.places).drain().map(|(_, place)| place).collect();
        for place in places {
            if let Some(session) = place.lock().await.session.take() {
                session.disconnect().await;
            }
        }
    }

    /// Runs `argv` in a session of its own, on the connection for commands.
    pub(super) async fn start(&self, host: &Host, argv: &[&str]) -> Result<Stream, Error> {
        let launch = Launch::new(host, argv)?;
        self.open_channel(host, None, Request::Program(&launch)).await
    }

    /// Opens a channel; when the pooled connection turns out to be gone, on a new one.
    async fn open_channel(&self, host: &Host, alone: Option<Exclusive>, request: Request<'_>) -> Result<Stream, Error> {
        let endpoint = self.endpoint(host).await?;
        let lane = alone.as_ref().map_or(Lane::Commands, |alone| Lane::Stream(alone.nth));
        let mut turn = match request {
            Request::Program(_) => self.inner.passwords.turn(&endpoint, host).await?,
            Request::Unix(_) | Request::Tcp(..) => None,
        };
        let mut last = String::new();
        for _ in 0..2 {
            let session = self.session(&endpoint, lane).await?;
            match request.open(&session, self.inner.options.connect_timeout).await {
                Ok((channel, slot)) => {
                    let place = (slot, alone);
                    return match request {
                        Request::Program(launch) => started(launch, turn.take(), session, channel, place).await,
                        Request::Unix(_) | Request::Tcp(..) => Ok(Stream::new(session, channel, place)),
                    };
                }
                Err(NotOpened::Refused(why)) => return Err(request.refused(&endpoint, &why)),
                Err(NotOpened::Gone(why)) => {
                    self.forget(&endpoint, lane, &session).await;
                    last = why;
                }
            }
        }
        let what = format!("connections end as soon as they are used: {last}");
        Err(Error::new(endpoint.to_string(), Kind::Unreachable, what))
    }

    /// The connection of this lane, made if there is none.
    fn session<'a>(&'a self, endpoint: &'a Arc<Endpoint>, lane: Lane) -> BoxFuture<'a, Result<Arc<Session>, Error>> {
        Box::pin(async move {
            let place = lock(&self.inner.places).entry((endpoint.clone(), lane)).or_default().clone();
            let asked = Instant::now();
            let mut connection = place.lock().await;
            connection.used = Instant::now();
            if let Some(session) = connection.session.as_ref().filter(|session| session.is_alive()) {
                return Ok(session.clone());
            }
            // Whoever waited while an attempt failed shares its outcome: a host that is down costs one timeout, not one each.
            if let Some((_, error)) = connection.failed.as_ref().filter(|(at, _)| *at >= asked) {
                return Err(error.clone());
            }
            let made = self.connect(endpoint, lane).await;
            match made {
                Ok(session) => {
                    *connection = Connection { session: Some(session.clone()), ..Connection::default() };
                    self.close_idle().await;
                    Ok(session)
                }
                Err(error) => {
                    *connection = Connection { failed: Some((Instant::now(), error.clone())), ..Connection::default() };
                    Err(error)
                }
            }
        })
    }

    async fn close_idle(&self) {
        let idle = idle::take(&mut lock(&self.inner.places), self.inner.options.max_idle);
        for session in idle {
            session.disconnect().await;
        }
    }

    async fn connect(&self, endpoint: &Arc<Endpoint>, lane: Lane) -> Result<Arc<Session>, Error> {
        let via = match &endpoint.via {
            Some(via) => Some(self.session(via, lane).await.map_err(|e| Error {
                at: endpoint.to_string(),
                what: format!("its jump host {}: {}", e.at, e.what),
                ..e
            })?),
            None => None,
        };
        let mut retry = Retry::new(self.inner.options.clock.as_ref(), DROPPED);
        loop {
            let turn = self.inner.setups.acquire().await;
            let connected = Session::connect(endpoint, via.as_ref(), &self.inner.options).await;
            // Others may try meanwhile.
            drop(turn);
            match connected {
                Ok(session) => return Ok(Arc::new(session)),
                Err(NotConnected::Other(error)) => return Err(error),
                Err(NotConnected::Dropped(error)) => retry.after(error, |_| {}).await.map_err(|e| {
                    let what = format!("{} (tried {} times, with growing pauses)", e.what, DROPPED.tries);
                    Error { what, ..e }
                })?,
            }
        }
    }

    /// Drops a connection that turned out to be gone, unless someone has replaced it.
    async fn forget(&self, endpoint: &Arc<Endpoint>, lane: Lane, gone: &Arc<Session>) {
        let place = lock(&self.inner.places).get(&(endpoint.clone(), lane)).cloned();
        if let Some(place) = place {
            let mut connection = place.lock().await;
            if connection.session.as_ref().is_some_and(|session| Arc::ptr_eq(session, gone)) {
                connection.session = None;
            }
        }
    }
}

/// The stream of a program, once nobody asks for a password any more.
async fn started(
    launch: &Launch,
    turn: Option<Turn>,
    session: Arc<Session>,
    mut channel: Channel<Msg>,
    place: impl Send + 'static,
) -> Result<Stream, Error> {
    let mut start = launch.start();
    if let Some(turn) = turn {
        let (prompt, label) = (launch.prompt.as_str(), session.label.as_str());
        turn.answer(Question { channel: &mut channel, start: &mut start, prompt, label }).await?;
    }
    Ok(Stream::of_program(session, channel, place, start))
}

type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// What a channel is for.
#[derive(Clone, Copy)]
enum Request<'a> {
    Program(&'a Launch),
    Unix(&'a str),
    Tcp(&'a str, u16),
}

impl Request<'_> {
    async fn open(
        self,
        session: &Session,
        limit: Duration,
    ) -> Result<(Channel<Msg>, Option<OwnedSemaphorePermit>), NotOpened> {
        match self {
            Self::Program(launch) => {
                open_session(session, limit, &launch.line).await.map(|(channel, slot)| (channel, Some(slot)))
            }
            Self::Unix(path) => Ok((within(limit, session.open_unix(path)).await?, None)),
            Self::Tcp(address, port) => Ok((within(limit, session.open_tcp(address, port)).await?, None)),
        }
    }

    /// What it means that the server opens no such channel.
    fn refused(self, endpoint: &Endpoint, why: &ChannelOpenFailure) -> Error {
        let (to, setting) = match self {
            Self::Program(_) => {
                return failed(endpoint, format!("does not start a session ({why:?})"))
                    .hint("look at `MaxSessions` in its sshd_config, and into its log");
            }
            Self::Unix(path) => {
                (format!("the unix socket {}", escape(path.as_bytes(), 200)), "AllowStreamLocalForwarding")
            }
            Self::Tcp(address, port) => (format!("{}:{port}", escape(address.as_bytes(), 200)), "AllowTcpForwarding"),
        };
        match why {
            ChannelOpenFailure::AdministrativelyProhibited => {
                failed(endpoint, format!("does not allow connections to {to}"))
                    .hint(format!("set `{setting} yes` in its sshd_config, and look at the options of the login key"))
            }
            _ => failed(endpoint, format!("cannot connect to {to}"))
                .hint(format!("does it exist there, and may `{}` use it?", endpoint.user)),
        }
    }
}

/// Opens a session channel in a free slot and asks for the command. A server that takes fewer sessions than thought lowers the
/// number of slots.
async fn open_session(
    session: &Session,
    limit: Duration,
    line: &str,
) -> Result<(Channel<Msg>, OwnedSemaphorePermit), NotOpened> {
    let mut tries = 0;
    loop {
        let gone = || NotOpened::Gone(session.reason());
        let slot = session.slots.clone().acquire_owned().await.map_err(|_| gone())?;
        match within(limit, session.open_session()).await {
            Ok(channel) => {
                channel.exec(true, line).await.map_err(|_| gone())?;
                return Ok((channel, slot));
            }
            Err(NotOpened::Refused(_)) if session.give_up_slot() => slot.forget(),
            Err(NotOpened::Refused(why)) => {
                tries += 1;
                if tries > LAST_SLOT_TRIES {
                    return Err(NotOpened::Refused(why));
                }
                drop(slot);
                tokio::time::sleep(LAST_SLOT_PAUSE).await;
            }
            Err(gone) => return Err(gone),
        }
    }
}

/// A connection that does not open a channel in time is as good as gone.
async fn within<T>(
    limit: Duration,
    open: impl Future<Output = Result<T, russh::Error>> + Send,
) -> Result<T, NotOpened> {
    match tokio::time::timeout(limit, open).await {
        Ok(opened) => Ok(opened?),
        Err(_) => Err(NotOpened::Gone(format!("no answer within {}", duration(limit)))),
    }
}

fn failed(endpoint: &Endpoint, what: String) -> Error {
    Error::new(endpoint.to_string(), Kind::Refused, what)
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
