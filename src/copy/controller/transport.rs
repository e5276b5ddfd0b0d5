//! How the controller starts programs on hosts: over SSH, or as child processes where the host is this machine.
//!
//! Must never run anything through a shell that it did not name itself.

use std::process::Stdio;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::BoxFuture;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};

use crate::copy::failure::failed;
use crate::copy::wire::task::Dial;
use crate::host::{Command, Output};
use crate::model::Host;
use crate::outside::{Certainty, Error};
use crate::ssh::config::Endpoint;
use crate::ssh::shared_connection::SharedConnection;
use crate::ssh::{OrHere, Pool, Remote, Stream};
use crate::text;

/// Addresses of a target that its source tries at most.
const MOST_ADDRESSES: usize = 4;
/// What is kept of standard error.
const STDERR_KEPT: usize = 16 << 10;

/// Starts programs on hosts.
#[async_trait]
pub trait Transport: Send + Sync {
    /// Starts `argv` and gives its streams.
    async fn open(&self, host: &Host, argv: &[&str]) -> Result<Channel, Error>;

    /// How another host could log in to this one by itself, or why it cannot.
    async fn dial(&self, _host: &Host) -> Result<Dial, String> {
        Err("the target is this machine".to_owned())
    }
}

/// A program under way. Dropping it ends the program or at least its input.
pub struct Channel {
    /// Its standard output.
    pub reader: Box<dyn AsyncRead + Send + Unpin>,
    /// Its standard input.
    pub writer: Box<dyn AsyncWrite + Send + Unpin>,
    /// Its end.
    pub ended: BoxFuture<'static, Result<Ended, Error>>,
    /// The connection that it uses; none where the host is this machine.
    pub connection: Option<Box<dyn Connection>>,
}

/// A connection on which more programs can be started.
#[async_trait]
pub trait Connection: Send + Sync {
    /// The time to the host and back; `None` when it does not answer.
    async fn round_trip(&self) -> Option<Duration>;
    /// Starts `argv` and gives its streams; `None` when the connection takes no more of them.
    async fn open(&self, argv: &[&str]) -> Option<Channel>;
}

/// How a program ended.
#[derive(Debug, Clone, Default)]
pub struct Ended {
    /// Exit status, 128 + n for signal n; `None` where nobody says.
    pub status: Option<i32>,
    /// The end of its standard error, escaped.
    pub stderr: String,
}

#[async_trait]
impl Transport for Pool {
    async fn open(&self, host: &Host, argv: &[&str]) -> Result<Channel, Error> {
        Pool::open(self, host, argv).await.map(|stream| channel(host, stream)).map_err(|e| ssh_failed(host, e))
    }

    async fn dial(&self, host: &Host) -> Result<Dial, String> {
        let endpoint = self.endpoint(host).await.map_err(|e| e.what)?;
        if let Some(why) = keeps_from_direct(host) {
            return Err(why);
        }
        // Another host may not use the controller's way through a jump host.
        if let Some(jump) = &endpoint.via {
            return Err(format!("{} is behind the jump host {}", host.name, jump.name));
        }
        if endpoint.proxy.is_some() {
            return Err(format!("{} is behind a ProxyCommand of this machine", host.name));
        }
        let keys = self.host_keys(&endpoint).await.map_err(|e| e.what)?;
        let host_keys: Vec<String> = keys.iter().filter_map(|key| key.to_openssh().ok()).collect();
        let Endpoint { address, port, user, .. } = endpoint.as_ref().clone();
        if host_keys.is_empty() {
            return Err(format!("no host key of {} is known that it could be recognised by", host.name));
        }
        let found = tokio::net::lookup_host((address.as_str(), port)).await;
        let found = found.map_err(|e| format!("the address of {} cannot be found: {e}", host.name))?;
        let addresses = found.map(|found| found.ip()).take(MOST_ADDRESSES).collect();
        Ok(Dial { addresses, port, user, host_keys })
    }
}

/// What in the way that programs become another user on the target keeps the source from starting one there itself.
fn keeps_from_direct(target: &Host) -> Option<String> {
    let name = &target.name;
    match target.ssh.becomes.as_ref()? {
        becomes if becomes.password().is_some() => {
            Some(format!("sudo on {name} is told a password, and no other host is"))
        }
        // Only root can put a key into the login's authorized_keys.
        becomes if becomes.user().is_some_and(|user| user != "root") => {
            Some(format!("programs on {name} run as neither root nor the login"))
        }
        _ => None,
    }
}

fn channel(host: &Host, stream: Stream) -> Channel {
    let connection = Box::new(Shared { host: host.clone(), connection: stream.connection() });
    let (reader, writer, ending) = stream.into_parts();
    let host = host.clone();
    let ended = Box::pin(async move {
        let exit = ending.wait().await.map_err(|e| ssh_failed(&host, e))?;
        Ok(Ended { status: exit.status, stderr: text::escape(&exit.stderr, 2000) })
    });
    Channel { reader: Box::new(reader), writer: Box::new(writer), ended, connection: Some(connection) }
}

/// The connection of a stream to a host.
struct Shared {
    host: Host,
    connection: SharedConnection,
}

#[async_trait]
impl Connection for Shared {
    async fn round_trip(&self) -> Option<Duration> {
        self.connection.round_trip().await
    }

    async fn open(&self, argv: &[&str]) -> Option<Channel> {
        self.connection.open(&self.host, argv).await.map(|stream| channel(&self.host, stream))
    }
}

fn ssh_failed(host: &Host, e: Error) -> Error {
    Error { at: host.name.clone(), ..e }.certainty(Certainty::NotDone)
}

/// Every host is this machine.
#[derive(Debug, Clone, Copy, Default)]
pub struct Local;

#[async_trait]
impl Transport for Local {
    async fn open(&self, host: &Host, argv: &[&str]) -> Result<Channel, Error> {
        let (program, args) = argv.split_first().ok_or_else(|| failed(&host.name, "no program was named"))?;
        let mut child = tokio::process::Command::new(program)
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            // A Ctrl-C on the terminal is for the controller, which ends its agents in its own time.
            .process_group(0)
            .spawn()
            .map_err(|e| failed(&host.name, format!("cannot start {program}: {e}")))?;
        let streams = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let (Some(stdin), Some(stdout), Some(stderr)) = streams else {
            return Err(failed(&host.name, format!("{program} was started without its streams")));
        };
        let host = host.clone();
        let ended = Box::pin(async move {
            let stderr = tail(stderr).await;
            let status =
                child.wait().await.map_err(|e| failed(&host.name, format!("cannot wait for a child process: {e}")))?;
            let signal = std::os::unix::process::ExitStatusExt::signal(&status).map(|n| 128 + n);
            Ok(Ended { status: status.code().or(signal), stderr })
        });
        Ok(Channel { reader: Box::new(stdout), writer: Box::new(stdin), ended, connection: None })
    }
}

/// Starts programs as children where the host is this machine, else over SSH.
pub struct LocalOrSsh {
    pool: Pool,
    here: String,
    commands: OrHere,
}

impl LocalOrSsh {
    /// `here` is the name of the host that is this machine.
    pub fn new(pool: Pool, here: &str) -> Self {
        Self { commands: OrHere::new(pool.clone(), here), pool, here: here.to_owned() }
    }

    fn on(&self, host: &Host) -> &dyn Transport {
        if host.name == self.here { &Local } else { &self.pool }
    }
}

#[async_trait]
impl Transport for LocalOrSsh {
    async fn open(&self, host: &Host, argv: &[&str]) -> Result<Channel, Error> {
        Transport::open(self.on(host), host, argv).await
    }

    async fn dial(&self, host: &Host) -> Result<Dial, String> {
        self.on(host).dial(host).await
    }
}

/// What is asked of this machine needs no SSH.
#[async_trait]
impl Remote for LocalOrSsh {
    async fn run(&self, host: &Host, command: &Command) -> Result<Output, Error> {
        self.commands.run(host, command).await
    }
}

/// The end of a stream, escaped.
async fn tail(mut stream: impl AsyncRead + Unpin) -> String {
    let mut kept = Vec::new();
    let mut buf = [0; 4096];
    while let Ok(n @ 1..) = stream.read(&mut buf).await {
        kept.extend_from_slice(buf.get(..n).unwrap_or_default());
        let over = kept.len().saturating_sub(STDERR_KEPT);
        kept.drain(..over);
    }
    text::escape(&kept, 2000)
}
