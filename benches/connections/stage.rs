//! Two hosts with the service, HAProxy before them, clients on the old one, and the way in which they leave it.

use std::fmt;
use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::Speaks;
use super::clients::{Clients, Seen};
use super::server::Service;
use crate::lab::haproxy::{Backend, Haproxy};
use crate::lab::process::free_port;
use crate::lab::sshd::Sshd;

/// How long everybody may take to come back: who has not by then is lost in a service that goes round in circles.
const LONGEST: Duration = Duration::from_secs(60);

/// How the clients leave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// As `shutdown sessions server` does it.
    AllAtOnce,
    /// `by: close`, as the new side lets it.
    Governed,
    /// `by: hint`.
    Hint,
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::AllAtOnce => "all at once",
            Self::Governed => "`by: close`, governed",
            Self::Hint => "`by: hint`, 300/s",
        })
    }
}

pub struct Stage {
    clients: Clients,
    haproxy: Haproxy,
    way: Way,
    count: usize,
    _services: [Service; 2],
    _hosts: [Sshd; 2],
    dir: tempfile::TempDir,
}

impl Stage {
    pub fn start(speaks: Speaks, count: usize, login: Duration, way: Way) -> Self {
        let dir = tempfile::Builder::new().prefix("connections-bench-").tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        let hosts = ["dal1", "fra1"].map(|name| Sshd::start(&root.join(name), name));
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        // The old side greets everybody at once, and the new one has a core that it shares with nobody of ours but the kernel's choice.
        let services = [(&hosts[0], Duration::ZERO), (&hosts[1], login)].map(|(host, login)| {
            let ip = host.addr().ip();
            let at = SocketAddr::new(ip, free_port(ip));
            Service::start(speaks, at, login, cores - 1, &root.join(format!("shed-{}", host.host().name)))
        });
        let backend = if speaks == Speaks::Tcp { Backend::tcp("chat") } else { Backend::http("chat") };
        let backend = backend.server("dal1", services[0].at, 100).server("fra1", services[1].at, 0);
        let haproxy = Haproxy::start(&[backend]);
        let at = [services[0].at, services[1].at];
        fs::write(root.join("inventory.yaml"), inventory(&hosts, at, &haproxy)).unwrap();
        fs::write(root.join("chat.yaml"), plan(way, &root)).unwrap();
        let clients = Clients::start(speaks, count, haproxy.frontend("chat"));
        Self { clients, haproxy, way, count, _services: services, _hosts: hosts, dir }
    }

    /// Moves everybody, and waits until they are back or it is clear that they will not be.
    pub fn run(self) -> Seen {
        let began = Instant::now();
        match self.way {
            Way::AllAtOnce => {
                for command in [
                    "set server chat/fra1 weight 100",
                    "set server chat/dal1 state drain",
                    "shutdown sessions server chat/dal1",
                ] {
                    self.haproxy.command(command);
                }
            }
            Way::Governed | Way::Hint => self.apply(),
        }
        let end = Instant::now() + LONGEST;
        while self.clients.back() < self.count && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(50));
        }
        self.clients.seen(began)
    }

    fn apply(&self) {
        let mut apply = Command::new(env!("CARGO_BIN_EXE_migrate"));
        apply.args(["apply", "chat.yaml", "--yes"]).current_dir(self.dir.path());
        apply.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default()).env("HOME", self.dir.path());
        let said = apply.stdin(Stdio::null()).output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        assert!(said.status.success(), "{}{}", text(&said.stdout), text(&said.stderr));
    }
}

fn plan(way: Way, root: &std::path::Path) -> String {
    let shed: PathBuf = root.join("shed-{{ name }}");
    let how = match way {
        Way::AllAtOnce | Way::Governed => "by: close, pace: 50/s, after: 0s, govern: [accept_queue, away]".to_owned(),
        Way::Hint => {
            let run = format!("echo \"$MIGRATE_COUNT $MIGRATE_WITHIN\" >> {}", shed.display());
            format!("by: hint, pace: 300/s, after: 0s, run: '{run}'")
        }
    };
    format!(
        "migration: chat\ninventory: inventory.yaml\nservices:\n  chat:\n    strategy: ramp\n    move: {{from: [dal1], to: [fra1]}}\n    \
         traffic: {{director: edge, pool: chat, port: \"{{{{ serves }}}}\"}}\n    persist: ignore\n    \
         drain: {{deadline: 600s, interval: 100ms, connections: {{{how}}}}}\n    shift: {{steps: [100%], hold: 0s}}\n"
    )
}

fn inventory(hosts: &[Sshd; 2], at: [SocketAddr; 2], haproxy: &Haproxy) -> String {
    let mut text = String::from("hosts:\n");
    for ((host, at), name) in hosts.iter().zip(at).zip(["dal1", "fra1"]) {
        let (port, ssh) = (host.addr().port(), host.host().ssh);
        let (key, known, user) = (ssh.key.unwrap(), ssh.known_hosts.unwrap(), ssh.user.unwrap());
        let (key, known, ip, serves) = (key.display(), known.display(), at.ip(), at.port());
        let ssh = format!("{{ port: {port}, user: {user}, key: \"{key}\", known_hosts: \"{known}\" }}");
        text += &format!("  {name}: {{ address: \"{ip}\", ssh: {ssh}, vars: {{ serves: \"{serves}\" }} }}\n");
    }
    text + &format!("directors:\n  edge: {{ haproxy: \"unix:{}\" }}\n", haproxy.master.display())
}
