//! Reaching a host: every address of its name, the tunnel of a jump host, or a `ProxyCommand`.
//!
//! Owns what is under an SSH connection, and what the other side said before it spoke SSH. Must never wait for one address while another
//! one answers.

use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::config::Endpoint;
use super::proxy::{Proxy, Said};
use super::session::{NotConnected, Session, describe, io_reason, lock, unreachable};
use super::stream::Stream;
use crate::outside::Error;
use crate::text::{duration, escape, list};

/// How long an address may be silent before the next one is tried beside it (RFC 8305).
const STAGGER: Duration = Duration::from_millis(250);
/// What is kept of what the other side says before it speaks SSH.
const MAX_HEARD: usize = 1024;
/// What the window of a connection through a command is made for: nobody knows how far the host is.
const PROXIED_ROUND_TRIP: Duration = Duration::from_millis(20);

const THE_HOST: &str = "the host";

/// Bytes in both directions.
trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

/// A way to a host that is open.
pub(super) struct Line {
    pub stream: Listening,
    pub heard: Arc<Mutex<Vec<u8>>>,
    /// The time there and back, as far as it is known.
    pub round_trip: Duration,
    /// To what it leads, for people.
    pub to: String,
    /// What the `ProxyCommand` says.
    pub said: Option<Said>,
}

impl Line {
    fn new(stream: impl Duplex + 'static, round_trip: Duration, to: String, said: Option<Said>) -> Self {
        let heard = Arc::new(Mutex::new(Vec::new()));
        Self {
            stream: Listening { inner: Box::new(stream), heard: heard.clone(), enough: false },
            heard,
            round_trip,
            to,
            said,
        }
    }
}

/// Opens the way to a host, until `deadline`.
pub(super) async fn open(
    endpoint: &Endpoint,
    via: Option<&Arc<Session>>,
    limit: Duration,
    deadline: Instant,
) -> Result<Line, Error> {
    let start = Instant::now();
    match (via, &endpoint.proxy) {
        (Some(via), _) => {
            let tunnel = tokio::time::timeout_at(deadline, tunnel(endpoint, via)).await.unwrap_or_else(|_| {
                let what = format!("its jump host {} has not reached it within {}", via.label, duration(limit));
                Err(unreachable(endpoint, what).hint("can the jump host reach this address and port?"))
            })?;
            Ok(Line::new(tunnel, start.elapsed(), THE_HOST.to_owned(), None))
        }
        (None, Some(command)) => {
            let (proxy, said) = Proxy::start(command).map_err(|e| {
                let what = format!("its ProxyCommand cannot be run: {}", escape(e.to_string().as_bytes(), 200));
                unreachable(endpoint, what)
            })?;
            Ok(Line::new(proxy, PROXIED_ROUND_TRIP, THE_HOST.to_owned(), Some(said)))
        }
        (None, None) => {
            let reached = dial(endpoint, limit, deadline).await?;
            let to = match endpoint.address.parse::<IpAddr>() {
                // The address stands before the error.
                Ok(_) => THE_HOST.to_owned(),
                Err(_) => format!("{THE_HOST} at {}", reached.address.ip()),
            };
            Ok(Line::new(reached.socket, reached.took, to, None))
        }
    }
}

/// An address that answered.
struct Reached {
    socket: TcpStream,
    address: SocketAddr,
    took: Duration,
}

async fn dial(endpoint: &Endpoint, limit: Duration, deadline: Instant) -> Result<Reached, Error> {
    let addresses = addresses(endpoint, limit, deadline).await?;
    let mut waiting: VecDeque<SocketAddr> = addresses.iter().copied().collect();
    let mut failed: Vec<(SocketAddr, io::Error)> = Vec::new();
    let mut attempts = JoinSet::new();
    loop {
        if let Some(address) = waiting.pop_front() {
            attempts.spawn(connect(address));
        }
        let next = if waiting.is_empty() { deadline } else { deadline.min(Instant::now() + STAGGER) };
        match tokio::time::timeout_at(next, attempts.join_next()).await {
            Ok(Some(Ok((_, Ok(reached))))) => return Ok(reached),
            Ok(Some(Ok((address, Err(e))))) => failed.push((address, e)),
            // An attempt that was stopped from outside: this whole process ends.
            Ok(Some(Err(_))) => {}
            Ok(None) => return Err(none_answers(endpoint, &addresses, &failed, limit)),
            Err(_) if Instant::now() >= deadline => return Err(none_answers(endpoint, &addresses, &failed, limit)),
            Err(_) => {}
        }
    }
}

async fn connect(address: SocketAddr) -> (SocketAddr, io::Result<Reached>) {
    let start = Instant::now();
    let connected = TcpStream::connect(address).await.map(|socket| {
        // Small messages go out at once: every command is a few of them.
        let _ = socket.set_nodelay(true);
        Reached { socket, address, took: start.elapsed() }
    });
    (address, connected)
}

/// The addresses of a name, the families by turns, so that a family that is broken does not hold up the other.
async fn addresses(endpoint: &Endpoint, limit: Duration, deadline: Instant) -> Result<Vec<SocketAddr>, Error> {
    const HINT: &str =
        "look at `address` in the inventory (or HostName in ssh_config), /etc/hosts and the name servers";
    let name = escape(endpoint.address.as_bytes(), 80);
    let lookup = tokio::net::lookup_host((endpoint.address.as_str(), endpoint.port));
    let found = match tokio::time::timeout_at(deadline, lookup).await {
        Err(_) => {
            let what = format!("the name servers gave no address of {name} within {}", duration(limit));
            return Err(unreachable(endpoint, what).hint(HINT));
        }
        Ok(Err(e)) => {
            let why = escape(e.to_string().as_bytes(), 200);
            return Err(unreachable(endpoint, format!("no address of {name} is known: {why}")).hint(HINT));
        }
        Ok(Ok(found)) => found.filter(|address| endpoint.family.takes(address.ip())),
    };
    let addresses = by_turns(found);
    match addresses.is_empty() {
        true => Err(unreachable(endpoint, format!("{name} has no address of the family that AddressFamily asks for"))
            .hint(HINT)),
        false => Ok(addresses),
    }
}

fn by_turns(found: impl Iterator<Item = SocketAddr>) -> Vec<SocketAddr> {
    let mut all: Vec<SocketAddr> = Vec::new();
    for address in found {
        if !all.contains(&address) {
            all.push(address);
        }
    }
    let first_is_v6 = all.first().is_some_and(SocketAddr::is_ipv6);
    let (mut first, mut second): (VecDeque<_>, VecDeque<_>) =
        all.into_iter().partition(|address| address.is_ipv6() == first_is_v6);
    let mut ordered = Vec::new();
    while !first.is_empty() || !second.is_empty() {
        ordered.extend(first.pop_front());
        ordered.extend(second.pop_front());
    }
    ordered
}

fn none_answers(
    endpoint: &Endpoint,
    addresses: &[SocketAddr],
    failed: &[(SocketAddr, io::Error)],
    limit: Duration,
) -> Error {
    let said = |address: &SocketAddr| match failed.iter().find(|(failed, _)| failed == address) {
        Some((_, e)) => io_reason(e),
        None => format!("no answer within {}", duration(limit)),
    };
    let all_refuse = addresses.iter().all(|address| {
        failed.iter().any(|(failed, e)| failed == address && e.kind() == io::ErrorKind::ConnectionRefused)
    });
    let hint = match all_refuse {
        true => "is sshd running there, and is `port` under `ssh` in the inventory right?",
        false => "check the address, and that a route and the firewalls let this machine through",
    };
    let what = match addresses {
        // The address stands before the error.
        [address] if endpoint.address.parse::<IpAddr>().is_ok() => said(address),
        addresses => {
            let each: Vec<String> =
                addresses.iter().map(|address| format!("{} ({})", address.ip(), said(address))).collect();
            format!("tried {}", list(&each))
        }
    };
    unreachable(endpoint, format!("cannot connect: {what}")).hint(hint)
}

async fn tunnel(endpoint: &Endpoint, via: &Arc<Session>) -> Result<Stream, Error> {
    match via.open_tcp(&endpoint.address, endpoint.port).await {
        Ok(channel) => Ok(Stream::new(via.clone(), channel, ())),
        Err(russh::Error::ChannelOpenFailure(russh::ChannelOpenFailure::AdministrativelyProhibited)) => {
            Err(unreachable(endpoint, format!("its jump host {} does not allow forwarding", via.label))
                .hint("set `AllowTcpForwarding yes` in its sshd_config, and look at PermitOpen and the options of the login key"))
        }
        Err(russh::Error::ChannelOpenFailure(_)) => {
            Err(unreachable(endpoint, format!("its jump host {} cannot connect to it", via.label))
                .hint("is sshd running there, and can the jump host reach this address and port?"))
        }
        Err(e) => Err(unreachable(endpoint, format!("its jump host {}: {}", via.label, describe(&e)))
            .hint("look at the jump host: the connection to it broke")),
    }
}

/// A stream of bytes of which the first that come in are kept, until the other side speaks SSH.
pub(super) struct Listening {
    inner: Box<dyn Duplex>,
    heard: Arc<Mutex<Vec<u8>>>,
    enough: bool,
}

/// What came from the other side before there was an SSH connection.
pub(super) struct Heard {
    pub bytes: Arc<Mutex<Vec<u8>>>,
    /// Who it is, for people.
    pub to: String,
    /// What the `ProxyCommand` says.
    pub said: Option<Said>,
}

/// What sshd says when it drops a connection at once; since 9.8 it is the second.
const DROPS: [&str; 2] = ["Exceeded MaxStartups", "Not allowed at this time"];

impl Heard {
    /// The other side hung up.
    pub async fn closed(self, endpoint: &Endpoint, e: &russh::Error) -> NotConnected {
        let heard = lock(&self.bytes).clone();
        if speaks_ssh(&heard) {
            let what = format!("{} spoke SSH, and then {}", self.to, describe(e));
            return unreachable(endpoint, what).hint("the log of its sshd says why").into();
        }
        let first = heard.trim_ascii().split(|byte| *byte == b'\n').next().unwrap_or_default();
        let words = escape(first, 120);
        let dropped = words.is_empty() || DROPS.iter().any(|drop| words.starts_with(drop));
        if let Some(mut said) = self.said {
            let what = format!("its ProxyCommand{}", said.told().await);
            let error = unreachable(endpoint, what).hint(format!("run it by hand: {}", said.command()));
            let dropped = dropped && said.was_dropped_on_the_way();
            return if dropped { NotConnected::Dropped(error) } else { error.into() };
        }
        if !dropped {
            let what = format!("{} answers `{words}`, which is not SSH", self.to);
            return unreachable(endpoint, what)
                .hint(
                    "is it really an SSH server that listens there, and is `port` under `ssh` in the inventory right?",
                )
                .into();
        }
        let words = if words.is_empty() { String::new() } else { format!(" and said `{words}`") };
        let what = format!("{} closed the connection before it spoke SSH{words}", self.to);
        NotConnected::Dropped(unreachable(endpoint, what).hint(
            "sshd does so while too many have not logged in yet (MaxStartups, PerSourceMaxStartups: a host whose password is guessed \
             at), and, since OpenSSH 9.8, to addresses from which logins have failed (PerSourcePenalties: up to 10 minutes): look for \
             `drop connection` in its log, raise MaxStartups, or name this machine in PerSourcePenaltyExemptList. Without such a line: \
             is it really an SSH server that listens there?",
        ))
    }

    /// There was no SSH connection until the end of the time.
    pub async fn nothing_in_time(self, endpoint: &Endpoint, limit: Duration) -> Error {
        let limit = duration(limit);
        if let Some(mut said) = self.said {
            let what = format!("no SSH answer within {limit}; its ProxyCommand{}", said.told().await);
            return unreachable(endpoint, what).hint(format!("run it by hand: {}", said.command()));
        }
        unreachable(endpoint, format!("{} took the connection, but there was no SSH answer within {limit}", self.to))
            .hint("is it really an SSH server that listens there? A host that is overloaded or stopped does so, too")
    }
}

/// Whether the other side has said that it speaks SSH.
fn speaks_ssh(heard: &[u8]) -> bool {
    heard.starts_with(b"SSH-") || heard.windows(5).any(|window| window == b"\nSSH-")
}

impl Listening {
    fn keep(&mut self, new: &[u8]) {
        let mut heard = lock(&self.heard);
        let room = MAX_HEARD.saturating_sub(heard.len()).min(new.len());
        heard.extend_from_slice(new.get(..room).unwrap_or_default());
        self.enough = heard.len() >= MAX_HEARD || speaks_ssh(&heard);
    }
}

impl AsyncRead for Listening {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let polled = Pin::new(&mut self.inner).poll_read(cx, buf);
        if !self.enough {
            self.keep(buf.filled().get(before..).unwrap_or_default());
        }
        polled
    }
}

impl AsyncWrite for Listening {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_take_turns_and_no_address_comes_twice() {
        let all = ["[::1]:22", "[::2]:22", "10.0.0.1:22", "[::1]:22", "10.0.0.2:22", "10.0.0.3:22"];
        let ordered = by_turns(all.iter().map(|address| address.parse().unwrap()));
        let shown: Vec<String> = ordered.iter().map(SocketAddr::to_string).collect();
        assert_eq!(shown, ["[::1]:22", "10.0.0.1:22", "[::2]:22", "10.0.0.2:22", "10.0.0.3:22"]);
    }

    #[test]
    fn what_comes_before_the_version_is_no_version() {
        assert!(speaks_ssh(b"SSH-2.0-x"));
        assert!(speaks_ssh(b"welcome\r\nSSH-2.0-x"));
        assert!(!speaks_ssh(b"no SSH-2.0 here"));
    }
}
