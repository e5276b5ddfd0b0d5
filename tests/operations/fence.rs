//! A source that refuses new clients whichever way they come, by real nftables in a network namespace of the test's own.

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;

use super::support::*;
use crate::lab::command::{Migrate, Running};
use crate::lab::haproxy::{Backend, Haproxy};
use crate::lab::namespace;
use crate::lab::packages::program;
use crate::lab::sshd::{Sshd, next_address};

const NAMES: [&str; 4] = ["dal1", "dal2", "fra1", "fra2"];
const TABLE: &str = "migrate_web_1_dal1";

/// Whether this is the process in the namespace, where the test of this name is run.
fn inside(test: &str) -> bool {
    namespace::inside(&format!("operations::fence::{test}"))
}

/// A server that gives back what it gets.
fn echo(addr: SocketAddr) {
    let listener = TcpListener::bind(addr).unwrap();
    std::thread::spawn(move || {
        for client in listener.incoming().flatten() {
            std::thread::spawn(move || std::io::copy(&mut &client, &mut &client));
        }
    });
}

/// Hosts with a service each behind HAProxy, and a plan that fences the sources.
struct Lab {
    dir: tempfile::TempDir,
    hosts: [Sshd; 4],
    source: SocketAddr,
    _haproxy: Haproxy,
}

impl Lab {
    fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        let host = |name: &str| Sshd::start_at(&root.join(name), name, SocketAddr::new(next_address(), 7022), &[]);
        let hosts = NAMES.map(host);
        // All are on one machine here, and the fence is for all of its addresses.
        let at =
            [(0, 7080), (1, 7080), (2, 7081), (3, 7081)].map(|(n, port)| SocketAddr::new(hosts[n].addr().ip(), port));
        at.into_iter().for_each(echo);
        let weights = [100, 100, 0, 0];
        let servers = NAMES.iter().zip(at).zip(weights);
        let web = servers.fold(Backend::tcp("web"), |web, ((name, at), weight)| web.server(name, at, weight));
        let haproxy = Haproxy::start(&[web]);
        fs::create_dir(root.join("data")).unwrap();
        fs::write(root.join("data/file"), "content").unwrap();
        fs::write(root.join("inventory.yaml"), inventory(&hosts, &at, &haproxy.admin)).unwrap();
        let plan = include_str!("plans/fenced.yaml").replace("ROOT", &root.display().to_string());
        fs::write(root.join("fenced.yaml"), plan).unwrap();
        Self { dir, hosts, source: at[0], _haproxy: haproxy }
    }

    fn root(&self) -> PathBuf {
        self.dir.path().canonicalize().unwrap()
    }

    fn migrate(&self) -> Migrate {
        Migrate::at(env!("CARGO_BIN_EXE_migrate"), &self.root())
    }

    fn apply(&self) -> Running {
        self.migrate().start(&["apply", "fenced.yaml", "--yes", "--format", "json"])
    }

    fn go(&self) {
        fs::write(self.root().join("go"), "").unwrap();
    }

    /// A client that comes directly.
    fn connect(&self) -> std::io::Result<TcpStream> {
        TcpStream::connect(self.source)
    }
}

fn inventory(hosts: &[Sshd; 4], at: &[SocketAddr; 4], socket: &Path) -> String {
    let mut text = String::from("hosts:\n");
    for ((host, at), name) in hosts.iter().zip(at).zip(NAMES) {
        let host = host.host();
        let (key, known) = (host.ssh.key.unwrap(), host.ssh.known_hosts.unwrap());
        let ssh = format!(
            "{{ port: 7022, user: {}, key: \"{}\", known_hosts: \"{}\" }}",
            host.ssh.user.unwrap(),
            key.display(),
            known.display()
        );
        let (ip, port) = (at.ip(), at.port());
        text += &format!("  {name}: {{ address: \"{ip}\", ssh: {ssh}, vars: {{ serves: \"{port}\" }} }}\n");
    }
    text + &format!("directors:\n  edge: {{ haproxy: \"unix:{}\" }}\n", socket.display())
}

fn nft(args: &[&str]) -> bool {
    Command::new(program("nft", "nftables")).args(args).output().unwrap().status.success()
}

fn is_fenced() -> bool {
    nft(&["list", "table", "inet", TABLE])
}

fn echoes(client: &mut TcpStream) -> bool {
    let mut got = [0];
    client.write_all(b"x").is_ok() && client.read(&mut got).is_ok_and(|n| n == 1)
}

#[test]
fn clients_that_come_directly_are_refused_while_those_that_are_there_go_on() {
    if !inside("clients_that_come_directly_are_refused_while_those_that_are_there_go_on") {
        return;
    }
    let lab = Lab::start();
    let mut there = lab.connect().unwrap();
    assert!(echoes(&mut there));
    let planned = lab.migrate().run(&["plan", "fenced.yaml"]).expect(0).stdout;
    assert!(planned.contains("nftables on dal1 refuses new connections to port 7080"), "{planned}");
    assert!(!is_fenced() && lab.connect().is_ok(), "plan sets nothing");
    let mut running = lab.apply();
    wait_for_words(&mut running, "web/dal1/empty", "1 connection");
    assert!(is_fenced());
    assert_eq!(lab.connect().unwrap_err().kind(), ErrorKind::ConnectionRefused);
    assert!(echoes(&mut there), "who is there goes on");
    drop(there);
    wait_for_intent(&mut running, "web/dal1/freeze", false);
    lab.go();
    running.finish().expect(0);
    assert!(!is_fenced() && lab.connect().is_ok());
    assert_eq!(fs::read_to_string(lab.root().join("copy-fra1/file")).unwrap(), "content");
}

#[test]
fn a_fence_that_is_gone_before_the_last_pass_is_found() {
    if !inside("a_fence_that_is_gone_before_the_last_pass_is_found") {
        return;
    }
    let lab = Lab::start();
    let mut running = lab.apply();
    wait_for_intent(&mut running, "web/dal1/freeze", false);
    assert!(nft(&["delete", "table", "inet", TABLE]));
    lab.go();
    let ended = running.finish().expect(3);
    let said = lab.migrate().run(&["status", "web"]).expect(0).stdout;
    assert!(said.contains("dal1 does not refuse new connections to port 7080 any more"), "{said}{}", ended.stderr);
    lab.migrate().run(&["apply", "fenced.yaml", "--yes"]).expect(3);
    lab.migrate().run(&["set", "web", "on_drift=restore"]).expect(0);
    let ended = lab.migrate().run(&["apply", "fenced.yaml", "--yes"]).expect(0);
    assert!(ended.stdout.contains("web/dal1/unfence"), "{}", ended.stdout);
    assert!(!is_fenced());
}

#[test]
fn going_back_lets_clients_in_again() {
    if !inside("going_back_lets_clients_in_again") {
        return;
    }
    let lab = Lab::start();
    let mut running = lab.apply();
    wait_for_intent(&mut running, "web/dal1/freeze", false);
    running.kill();
    assert!(is_fenced(), "it outlasts the controller");
    lab.go();
    lab.migrate().run(&["rollback", "web", "--yes"]).expect(0);
    assert!(!is_fenced() && lab.connect().is_ok());
}

#[test]
fn a_host_whose_login_may_not_use_nftables_is_refused_in_the_plan() {
    if !inside("a_host_whose_login_may_not_use_nftables_is_refused_in_the_plan") {
        return;
    }
    let mut lab = Lab::start();
    let weak = "exec setpriv --bounding-set=-net_admin --inh-caps=-net_admin sh -c \"$SSH_ORIGINAL_COMMAND\"";
    lab.hosts[0].before_every_command(weak);
    let planned = lab.migrate().run(&["plan", "fenced.yaml"]).stdout;
    assert!(planned.contains("cannot refuse new connections"), "{planned}");
    lab.migrate().run(&["apply", "fenced.yaml", "--yes"]).expect(1);
}
