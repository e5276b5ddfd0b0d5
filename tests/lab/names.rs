//! Other name servers than BIND that take signed updates: Knot and PowerDNS, which has an HTTP API besides.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::process::Command;

use super::bind::{Key, Zone};
use super::packages::{file, program};
use super::process::{Daemon, free_port};
use super::sshd::next_address;

/// A running server with one zone. Everything it has lies in one private directory.
pub struct NameServer {
    _daemon: Daemon,
    /// Where it answers, UDP and TCP.
    pub addr: SocketAddr,
    /// Where its HTTP API answers, where it has one.
    pub api: Option<SocketAddr>,
    // Last, so that the process is gone before its files.
    dir: tempfile::TempDir,
}

/// What PowerDNS's API lets in.
pub const API_KEY: &str = "sesame";

impl NameServer {
    /// Knot DNS: the key may update the zone.
    pub fn knot(zone: &Zone, key: &Key) -> Self {
        let (dir, addr) = (private("knot"), address());
        let at = dir.path().display();
        let (name, algorithm, secret) = (&key.name, &key.algorithm, &key.secret);
        let config = format!(
            "server:\n  listen: {}@{}\n  rundir: {at}\ndatabase:\n  storage: {at}\nlog:\n  - target: stderr\n    any: info\n\
             key:\n  - id: {name}\n    algorithm: {algorithm}\n    secret: {secret}\n\
             acl:\n  - id: mover\n    key: {name}\n    action: [update]\n\
             zone:\n  - domain: {}\n    file: {at}/zone.db\n    acl: mover\n    zonefile-sync: -1\n    journal-content: changes\n",
            addr.ip(),
            addr.port(),
            zone.name
        );
        write(dir.path(), "zone.db", &zone.file());
        write(dir.path(), "knot.conf", &config);
        let conf = dir.path().join("knot.conf");
        let log = dir.path().join("log");
        let mut daemon = Daemon::start("knotd", &program("knotd", "knot"), &["-c", text(&conf)], &log);
        daemon.wait_until("zone", || std::fs::read_to_string(&log).is_ok_and(|l| l.contains("] loaded, serial")));
        daemon.wait_for_port(addr);
        Self { _daemon: daemon, addr, api: None, dir }
    }

    /// PowerDNS with SQLite behind it: the key may update the zone, and so may its HTTP API.
    pub fn powerdns(zone: &Zone, key: &Key) -> Self {
        let (dir, addr) = (private("pdns"), address());
        let server = program("pdns_server", "pdns-server");
        let schema = file("/usr/share/pdns-backend-sqlite3/schema/schema.sqlite3.sql", "pdns-backend-sqlite3");
        let api = SocketAddr::new(addr.ip(), free_port(addr.ip()));
        let at = dir.path().display();
        let config = format!(
            "launch=gsqlite3\ngsqlite3-database={at}/pdns.db\ngsqlite3-dnssec=no\nlocal-address={}\nlocal-port={}\nsocket-dir={at}\n\
             daemon=no\nguardian=no\ndnsupdate=yes\nallow-dnsupdate-from=127.0.0.0/8\n\
             cache-ttl=0\nquery-cache-ttl=0\nnegquery-cache-ttl=0\nzone-cache-refresh-interval=0\ndomain-metadata-cache-ttl=0\n\
             api=yes\napi-key={API_KEY}\nwebserver=yes\nwebserver-address={}\nwebserver-port={}\nwebserver-allow-from=127.0.0.0/8\n",
            addr.ip(),
            addr.port(),
            api.ip(),
            api.port()
        );
        write(dir.path(), "pdns.conf", &config);
        write(dir.path(), "zone.db", &zone.file());
        let database = dir.path().join("pdns.db");
        let read = format!(".read {}", schema.display());
        run(Command::new(program("sqlite3", "sqlite3")).arg(&database).arg(read));
        let config_dir = format!("--config-dir={at}");
        let zone_file = dir.path().join("zone.db");
        let meta = ["set-meta", &zone.name, "TSIG-ALLOW-DNSUPDATE", &key.name];
        let serials = ["set-meta", &zone.name, "SOA-EDIT-API", "DEFAULT"];
        for words in [
            &["load-zone", &zone.name, text(&zone_file)][..],
            &["import-tsig-key", &key.name, &key.algorithm, &key.secret],
            &meta,
            &serials,
        ] {
            run(Command::new(program("pdnsutil", "pdns-server")).arg(&config_dir).args(words));
        }
        let log = dir.path().join("log");
        let mut daemon = Daemon::start("pdns_server", &server, &[&config_dir], &log);
        daemon.wait_for_port(addr);
        daemon.wait_for_port(api);
        daemon.wait_until("threads", || std::fs::read_to_string(&log).is_ok_and(|l| l.contains("ready to distribute")));
        Self { _daemon: daemon, addr, api: Some(api), dir }
    }

    /// Says something of PowerDNS's zone.
    pub fn set_meta(&self, zone: &str, words: &[&str]) {
        let config_dir = format!("--config-dir={}", self.dir.path().display());
        run(Command::new(program("pdnsutil", "pdns-server")).args([&config_dir, "set-meta", zone]).args(words));
    }
}

fn private(name: &str) -> tempfile::TempDir {
    tempfile::Builder::new().prefix(&format!("lab-{name}-")).tempdir().expect("a private directory")
}

fn address() -> SocketAddr {
    let ip: IpAddr = next_address();
    SocketAddr::new(ip, free_port(ip))
}

fn write(dir: &Path, name: &str, content: &str) {
    std::fs::write(dir.join(name), content).expect("a file is written");
}

fn run(command: &mut Command) {
    let out = command.output().expect("a program of the lab runs");
    assert!(out.status.success(), "{command:?} failed: {}", String::from_utf8_lossy(&out.stderr));
}

fn text(path: &Path) -> &str {
    path.to_str().expect("paths of the lab are UTF-8")
}
