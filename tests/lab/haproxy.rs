//! A real HAProxy: its backends from a few words, its runtime API on every kind of socket, and reloads.

use std::fmt::Write as _;
use std::io::{Read, Write as _};
use std::net::{IpAddr, Shutdown, SocketAddr};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use super::packages::program;
use super::process::{Daemon, free_port};
use super::sshd::next_address;

/// A backend and the frontend that feeds it.
#[derive(Debug, Clone)]
pub struct Backend {
    /// Name of the backend; the frontend is called `in-NAME`.
    pub name: String,
    /// `http` or `tcp`.
    pub mode: &'static str,
    /// `roundrobin`, `static-rr`, …
    pub balance: &'static str,
    /// Its servers in order.
    pub servers: Vec<Server>,
}

/// A server line.
#[derive(Debug, Clone)]
pub struct Server {
    pub name: String,
    pub addr: SocketAddr,
    pub weight: u16,
    /// Whatever else the line needs: `check inter 100ms`, `disabled`, …
    pub options: String,
}

impl Backend {
    /// An HTTP backend with round robin.
    pub fn http(name: &str) -> Self {
        Self { name: name.to_owned(), mode: "http", balance: "roundrobin", servers: Vec::new() }
    }

    /// A TCP backend with round robin.
    pub fn tcp(name: &str) -> Self {
        Self { mode: "tcp", ..Self::http(name) }
    }

    /// The same with one more server.
    pub fn server(mut self, name: &str, addr: SocketAddr, weight: u16) -> Self {
        self.servers.push(Server { name: name.to_owned(), addr, weight, options: String::new() });
        self
    }
}

/// A running HAProxy in master-worker mode. Everything it has lies in one private directory.
pub struct Haproxy {
    daemon: Daemon,
    config: PathBuf,
    frontends: Vec<(String, SocketAddr)>,
    /// Unix socket with level admin.
    pub admin: PathBuf,
    /// Unix socket with level operator: reads, but may not write.
    pub operator: PathBuf,
    /// Unix socket of the master process.
    pub master: PathBuf,
    /// TCP socket with level admin.
    pub tcp: SocketAddr,
    // Last, so that the process is gone before its files.
    _dir: tempfile::TempDir,
}

impl Haproxy {
    /// Starts it on a loopback address of its own.
    pub fn start(backends: &[Backend]) -> Self {
        Self::start_on(next_address(), backends)
    }

    /// Starts it with all its ports on `ip`.
    pub fn start_on(ip: IpAddr, backends: &[Backend]) -> Self {
        let dir = tempfile::Builder::new().prefix("lab-haproxy-").tempdir().expect("a private directory");
        let path = |name: &str| dir.path().join(name);
        let frontends =
            backends.iter().map(|b| (b.name.clone(), SocketAddr::new(ip, free_port(ip)))).collect::<Vec<_>>();
        let tcp = SocketAddr::new(ip, free_port(ip));
        let (admin, operator, master) = (path("admin.sock"), path("operator.sock"), path("master.sock"));
        let config = path("haproxy.cfg");
        std::fs::write(&config, render(&admin, &operator, tcp, backends, &frontends))
            .expect("the configuration is written");
        let args = ["-W", "-db", "-S", text(&master), "-f", text(&config)];
        let daemon = Daemon::start("haproxy", &program("haproxy", "haproxy"), &args, &path("haproxy.log"));
        let mut haproxy = Self { daemon, config, frontends, admin, operator, master, tcp, _dir: dir };
        haproxy.wait_until_it_answers();
        haproxy
    }

    /// Where clients of a backend connect to.
    pub fn frontend(&self, backend: &str) -> SocketAddr {
        let found = self.frontends.iter().find(|(name, _)| name == backend);
        found.unwrap_or_else(|| panic!("the lab's haproxy has no backend {backend}")).1
    }

    /// Its configuration file, to be changed before a [`Haproxy::reload`].
    pub fn config(&self) -> &Path {
        &self.config
    }

    /// Reads the configuration again. The old worker stays as long as it has connections; weights and modes set at
    /// run time are lost.
    pub fn reload(&mut self) {
        let before = self.reloads();
        self.daemon.signal("USR2");
        let master = self.master.clone();
        self.daemon.wait_until("reload", || reloads(&master).is_some_and(|now| now > before));
        self.wait_until_it_answers();
    }

    fn reloads(&self) -> u32 {
        reloads(&self.master).expect("the master answers before a reload")
    }

    /// The ports are open before the processes behind them are ready.
    fn wait_until_it_answers(&mut self) {
        let (master, admin) = (self.master.clone(), self.admin.clone());
        self.daemon.wait_until("master CLI", || reloads(&master).is_some());
        self.daemon.wait_until("runtime API", || ask(&admin, "show info").is_ok_and(|a| a.contains("Uptime")));
    }

    /// One command (or several with `;`) to the admin socket, and what it answers.
    pub fn command(&self, line: &str) -> String {
        ask(&self.admin, line)
            .unwrap_or_else(|e| panic!("haproxy does not answer `{line}`: {e}\n{}", self.daemon.output()))
    }

    /// Process id of the master.
    pub fn pid(&self) -> u32 {
        self.daemon.pid()
    }
}

impl Drop for Haproxy {
    fn drop(&mut self) {
        // The master takes its workers along only when it is asked to end.
        self.daemon.terminate();
    }
}

/// The number of reloads that the master counts, once the newest worker is there.
fn reloads(master: &Path) -> Option<u32> {
    let answer = ask(master, "show proc").ok()?;
    let line = answer.lines().find(|l| l.split_whitespace().nth(1) == Some("master"))?;
    line.split_whitespace().nth(2)?.parse().ok()
}

fn ask(socket: &Path, line: &str) -> std::io::Result<String> {
    let mut stream = UnixStream::connect(socket)?;
    writeln!(stream, "{line}")?;
    stream.shutdown(Shutdown::Write)?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

fn text(path: &Path) -> &str {
    path.to_str().expect("paths of the lab are UTF-8")
}

fn render(
    admin: &Path,
    operator: &Path,
    tcp: SocketAddr,
    backends: &[Backend],
    frontends: &[(String, SocketAddr)],
) -> String {
    let mut out = format!(
        "global
  stats socket {admin} mode 600 level admin expose-fd listeners
  stats socket {operator} mode 600 level operator
  stats socket ipv4@{tcp} level admin
  nbthread 2
  hard-stop-after 60s
defaults
  timeout connect 2s
  timeout client 1h
  timeout server 1h
  timeout http-keep-alive 1h
  retries 3
  option redispatch
",
        admin = admin.display(),
        operator = operator.display(),
    );
    for (backend, (_, bind)) in backends.iter().zip(frontends) {
        let Backend { name, mode, balance, servers } = backend;
        let _ = write!(
            out,
            "frontend in-{name}
  mode {mode}
  bind {bind}
  default_backend {name}
backend {name}
  mode {mode}
  balance {balance}
"
        );
        for Server { name, addr, weight, options } in servers {
            let _ = writeln!(out, "  server {name} {addr} weight {weight} {options}");
        }
    }
    out
}
