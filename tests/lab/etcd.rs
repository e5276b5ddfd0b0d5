//! A cluster of the lab: real etcd servers, and etcdctl, which asks them as people do.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::certificates::Authority;
use super::namespace::{Apart, bridge};
use super::packages::program;
use super::process::{Daemon, PATIENCE, free_port};
use super::sshd::next_address;

const SERVER: &str = "etcd-server";

/// A running cluster. Everything it has lies in one private directory.
pub struct Etcd {
    nodes: Vec<Node>,
    scheme: &'static str,
    authority: Option<Authority>,
    login: Option<String>,
    dir: tempfile::TempDir,
}

struct Node {
    daemon: Option<Daemon>,
    client: SocketAddr,
    args: Vec<String>,
    /// Its network, if it has one of its own.
    host: Option<Apart>,
}

/// Where a server listens.
struct At {
    clients: Vec<SocketAddr>,
    peer: SocketAddr,
    host: Option<Apart>,
}

impl At {
    /// In the network of the test.
    fn here() -> Self {
        let ip = next_address();
        let port = || SocketAddr::new(ip, free_port(ip));
        Self { clients: vec![port()], peer: port(), host: None }
    }

    /// In a network of its own, as the nth host on [`BRIDGE`].
    fn apart(n: u8) -> Self {
        let ips = NETS.map(|net| Ipv4Addr::new(10, 77, net, n));
        let host =
            Apart::on(BRIDGE, &format!("{BRIDGE}{n}"), &ips.map(|ip| ip.to_string()).each_ref().map(String::as_str));
        let clients = ips.map(|ip| SocketAddr::from((ip, 2379))).to_vec();
        Self { clients, peer: SocketAddr::from((ips[0], 2380)), host: Some(host) }
    }
}

const BRIDGE: &str = "lab";
/// Two ways to each server.
const NETS: [u8; 2] = [0, 1];
/// The last part of the test's own addresses there.
const TEST: u8 = 254;

impl Etcd {
    /// One server.
    pub fn single() -> Self {
        Self::start(1, false, &[])
    }

    /// Three servers.
    pub fn cluster() -> Self {
        Self::start(3, false, &[])
    }

    /// Three servers with networks of their own, each with two addresses. For tests that are [`super::namespace::inside`] one.
    pub fn apart() -> Self {
        let here = NETS.map(|net| Ipv4Addr::new(10, 77, net, TEST).to_string());
        bridge(BRIDGE, &here.each_ref().map(String::as_str));
        Self::start_at((1..=3).map(At::apart).collect(), false, &[])
    }

    /// The other way to the servers of one that is [`Etcd::apart`].
    pub fn other_servers(&self) -> Vec<SocketAddr> {
        let other = |node: &Node| match node.client {
            SocketAddr::V4(at) => {
                let [a, b, _, n] = at.ip().octets();
                SocketAddr::from((Ipv4Addr::new(a, b, NETS[1], n), at.port()))
            }
            SocketAddr::V6(_) => panic!("none of them has such an address"),
        };
        self.nodes.iter().map(other).collect()
    }

    /// Cuts one server off from the others. Clients reach all of them.
    pub fn part(&self, n: usize) {
        let others: Vec<String> = (0..self.nodes.len())
            .filter(|other| *other != n)
            .map(|other| self.nodes[other].client.ip().to_string())
            .collect();
        self.nodes[n].host.as_ref().expect("it has a network").cut_off_from(&others);
    }

    /// Ends that.
    pub fn heal(&self, n: usize) {
        self.nodes[n].host.as_ref().expect("it has a network").heal();
    }

    /// One server that speaks TLS, and wants a certificate from clients: `me.pem` with `me.key`, by `ca.pem`.
    pub fn with_tls() -> Self {
        Self::start(1, true, &[])
    }

    /// One server with no more room than this.
    pub fn with_quota(bytes: u64) -> Self {
        Self::start(1, false, &[format!("--quota-backend-bytes={bytes}")])
    }

    fn start(nodes: usize, tls: bool, options: &[String]) -> Self {
        Self::start_at((0..nodes).map(|_| At::here()).collect(), tls, options)
    }

    fn start_at(places: Vec<At>, tls: bool, options: &[String]) -> Self {
        let dir = tempfile::Builder::new().prefix("lab-etcd-").tempdir().expect("a private directory");
        let authority = tls.then(|| {
            let authority = Authority::start(dir.path());
            authority.issue("node", &format!("IP:{}", places[0].clients[0].ip()), 365);
            authority.issue("me", "DNS:me", 365);
            authority
        });
        let scheme = if tls { "https" } else { "http" };
        let cluster: Vec<String> =
            places.iter().enumerate().map(|(n, at)| format!("n{n}=http://{}", at.peer)).collect();
        let nodes = places.into_iter().enumerate().map(|(n, At { clients, peer, host })| {
            let urls: Vec<String> = clients.iter().map(|client| format!("{scheme}://{client}")).collect();
            let mut args = vec![
                format!("--name=n{n}"),
                format!("--data-dir={}", dir.path().join(format!("n{n}")).display()),
                format!("--listen-client-urls={}", urls.join(",")),
                format!("--advertise-client-urls={}", urls[0]),
                format!("--listen-peer-urls=http://{peer}"),
                format!("--initial-advertise-peer-urls=http://{peer}"),
                format!("--initial-cluster={}", cluster.join(",")),
            ];
            args.extend(options.iter().cloned());
            if let Some(authority) = &authority {
                let file = |name: &str| authority.path(name).display().to_string();
                args.extend([
                    format!("--cert-file={}", file("node.pem")),
                    format!("--key-file={}", file("node.key")),
                    format!("--trusted-ca-file={}", file("ca.pem")),
                    "--client-cert-auth".to_owned(),
                ]);
            }
            Node { daemon: None, client: clients[0], args, host }
        });
        let mut etcd = Self { nodes: nodes.collect(), scheme, authority, login: None, dir };
        (0..etcd.nodes.len()).for_each(|n| etcd.launch(n));
        etcd.wait_until_it_serves();
        etcd
    }

    fn launch(&mut self, n: usize) {
        let log = self.dir.path().join(format!("n{n}.log"));
        let node = &mut self.nodes[n];
        let server = program("etcd", SERVER).display().to_string();
        let enter = node.host.as_ref().map(Apart::enter).unwrap_or_default();
        let mut words = enter.split_whitespace().chain([server.as_str()]).chain(node.args.iter().map(String::as_str));
        let first = words.next().map(PathBuf::from).unwrap_or_default();
        node.daemon = Some(Daemon::start("etcd", &first, &words.collect::<Vec<_>>(), &log));
    }

    fn wait_until_it_serves(&self) {
        let began = Instant::now();
        while !self.try_etcdctl(&["endpoint", "health"]).0 {
            assert!(began.elapsed() < PATIENCE, "the cluster does not come up");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// What `--store` takes.
    pub fn address(&self) -> String {
        format!("etcd://{}/migrate", self.servers().join(","))
    }

    /// Its servers.
    pub fn servers(&self) -> Vec<String> {
        self.nodes.iter().map(|node| node.client.to_string()).collect()
    }

    /// A file of its certificates.
    pub fn certificate(&self, name: &str) -> PathBuf {
        self.authority.as_ref().expect("it speaks TLS").path(name)
    }

    /// A directory for what goes with it.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Who asks from now on: `USER:PASSWORD`.
    pub fn log_in(&mut self, login: &str) {
        self.login = Some(login.to_owned());
    }

    fn try_etcdctl(&self, args: &[&str]) -> (bool, String) {
        let endpoints: Vec<String> = self.servers().iter().map(|at| format!("{}://{at}", self.scheme)).collect();
        let mut command = Command::new(program("etcdctl", "etcd-client"));
        command.arg(format!("--endpoints={}", endpoints.join(","))).env_clear().env("ETCDCTL_API", "3");
        if let Some(login) = &self.login {
            command.args(["--user", login]);
        }
        if self.authority.is_some() {
            for (option, file) in [("--cacert", "ca.pem"), ("--cert", "me.pem"), ("--key", "me.key")] {
                command.arg(option).arg(self.certificate(file));
            }
        }
        let out = command.args(args).output().expect("etcdctl runs");
        let said = [out.stdout, out.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
        (out.status.success(), said)
    }

    /// What etcdctl answers.
    #[track_caller]
    pub fn etcdctl(&self, args: &[&str]) -> String {
        let (well, said) = self.try_etcdctl(args);
        assert!(well, "etcdctl {args:?}: {said}");
        said
    }

    /// Which of its servers leads.
    pub fn leader(&self) -> usize {
        let began = Instant::now();
        loop {
            // Those that are dead fail the whole command, and the others are told.
            let (_, said) = self.try_etcdctl(&["endpoint", "status", "--write-out=json"]);
            let status: Value = serde_json::from_str(said.lines().next().unwrap_or_default()).unwrap_or_default();
            let leads = |at: &&Value| {
                let status = &at["Status"];
                status["leader"].is_u64() && status["leader"] == status["header"]["member_id"]
            };
            let found = status.as_array().and_then(|all| all.iter().find(leads));
            let is_it =
                |node: &Node| found.is_some_and(|at| at["Endpoint"] == format!("{}://{}", self.scheme, node.client));
            if let Some(n) = self.nodes.iter().position(is_it) {
                return n;
            }
            assert!(began.elapsed() < PATIENCE, "nobody leads");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// `kill -9` for one server.
    pub fn kill(&mut self, n: usize) {
        self.nodes[n].daemon = None;
    }

    /// Starts one again with what is on its disk.
    pub fn start_again(&mut self, n: usize) {
        self.launch(n);
        self.wait_until_it_serves();
    }

    /// Stops one as if its machine hung.
    pub fn freeze(&self, n: usize) {
        self.nodes[n].daemon.as_ref().expect("it runs").freeze();
    }

    /// Lets it go on.
    pub fn thaw(&self, n: usize) {
        self.nodes[n].daemon.as_ref().expect("it runs").signal("CONT");
    }
}
