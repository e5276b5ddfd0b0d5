//! Real BIND servers: a primary that takes signed updates, secondaries, and a resolver that caches.

use std::fmt::Write as _;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use super::packages::program;
use super::process::Daemon;

/// A TSIG key as `tsig-keygen` makes it.
#[derive(Debug, Clone)]
pub struct Key {
    pub name: String,
    /// `hmac-sha256`, …
    pub algorithm: String,
    /// Base64.
    pub secret: String,
}

impl Key {
    /// A fresh key.
    pub fn generate(name: &str, algorithm: &str) -> Self {
        let out = Command::new(program("tsig-keygen", "bind9")).args(["-a", algorithm, name]).output();
        let text = String::from_utf8(out.expect("tsig-keygen runs").stdout).expect("tsig-keygen writes ASCII");
        let secret = text.split('"').nth(3).unwrap_or_else(|| panic!("tsig-keygen said: {text}"));
        Self { name: name.to_owned(), algorithm: algorithm.to_owned(), secret: secret.to_owned() }
    }

    fn clause(&self) -> String {
        format!("key \"{}\" {{ algorithm {}; secret \"{}\"; }};\n", self.name, self.algorithm, self.secret)
    }
}

/// A zone to serve.
#[derive(Debug, Clone)]
pub struct Zone {
    pub name: String,
    /// Record lines in zone file syntax, besides SOA and NS: `www 5 IN A 127.0.0.1`.
    pub records: Vec<String>,
    /// What the key may do: `None` everything (`allow-update`), else the lines of an `update-policy`, in which `KEY` stands for
    /// the key's name.
    pub policy: Option<String>,
    /// Tell the secondaries about changes at once; without it they lag until they are asked to look.
    pub notify: bool,
}

impl Zone {
    /// A zone with these records, open to the key, that tells its secondaries about changes.
    pub fn new(name: &str, records: &[&str]) -> Self {
        let records = records.iter().map(|r| (*r).to_owned()).collect();
        Self { name: name.to_owned(), records, policy: None, notify: true }
    }

    /// What a zone file says of it.
    pub fn file(&self) -> String {
        let mut out = format!(
            "$ORIGIN {}.\n$TTL 5\n@ IN SOA ns1 hostmaster 1 3600 3600 86400 5\n@ IN NS ns1\nns1 IN A 127.0.0.1\n",
            self.name
        );
        for record in &self.records {
            let _ = writeln!(out, "{record}");
        }
        out
    }
}

/// One running `named`. Everything it has lies in one private directory.
pub struct Bind {
    daemon: Daemon,
    /// Where it answers, UDP and TCP.
    pub addr: SocketAddr,
    control: SocketAddr,
    dir: tempfile::TempDir,
}

impl Bind {
    /// A primary and `secondaries` servers that copy its zone.
    pub fn cluster(zone: &Zone, key: &Key, secondaries: usize) -> (Self, Vec<Self>) {
        // Primary and secondaries must know each other's address before any of them starts.
        let copies: Vec<SocketAddr> = (0..secondaries).map(|_| free_addr()).collect();
        let primary = Self::primary(zone, key, &copies);
        let copies = copies.into_iter().map(|addr| Self::secondary(addr, &zone.name, primary.addr)).collect();
        (primary, copies)
    }

    fn primary(zone: &Zone, key: &Key, secondaries: &[SocketAddr]) -> Self {
        let updates = match &zone.policy {
            None => format!("allow-update {{ key \"{}\"; }};", key.name),
            Some(lines) => format!("update-policy {{ {} }};", lines.replace("KEY", &format!("\"{}\"", key.name))),
        };
        let notified: String = secondaries.iter().map(|a| format!("{} port {}; ", a.ip(), a.port())).collect();
        let notify = match zone.notify && !secondaries.is_empty() {
            true => format!("notify explicit; notify-delay 0; also-notify {{ {notified}}};"),
            false => "notify no;".to_owned(),
        };
        let config = format!(
            "{}zone \"{}\" {{ type primary; file \"zone.db\"; {updates} {notify} allow-transfer {{ any; }}; }};\n",
            key.clause(),
            zone.name
        );
        Self::start(free_addr(), "recursion no;", &config, &[("zone.db", &zone.file())])
    }

    /// A primary with two views of a zone: whoever signs with the key gets the outer one, and everybody else here the inner one.
    pub fn in_views(inside: &Zone, outside: &Zone, key: &Key) -> Self {
        let name = &key.name;
        let view = |view: &str, clients: &str, zone: &str, updates: &str| {
            format!(
                "view \"{view}\" {{ match-clients {{ {clients} }}; \
                 zone \"{zone}\" {{ type primary; file \"{view}.db\"; {updates} notify no; }}; }};\n"
            )
        };
        let inner = view("inside", &format!("!key \"{name}\"; 127.0.0.0/8;"), &inside.name, "");
        let outer = view("outside", "any;", &outside.name, &format!("allow-update {{ key \"{name}\"; }};"));
        let config = format!("{}{inner}{outer}", key.clause());
        let files = [("inside.db", inside.file()), ("outside.db", outside.file())];
        let files = files.each_ref().map(|(name, text)| (*name, text.as_str()));
        Self::start(free_addr(), "recursion no;", &config, &files)
    }

    fn secondary(addr: SocketAddr, zone: &str, primary: SocketAddr) -> Self {
        let from = format!("{} port {}", primary.ip(), primary.port());
        let config = format!(
            "zone \"{zone}\" {{ type secondary; file \"copy.db\"; primaries {{ {from}; }}; notify no; masterfile-format text; }};\n"
        );
        let mut secondary = Self::start(addr, "recursion no;", &config, &[]);
        let copy = secondary.dir.path().join("copy.db");
        secondary.daemon.wait_until("first transfer", || copy.exists());
        secondary
    }

    /// A caching resolver for one zone, which asks `upstream`.
    pub fn resolver(zone: &str, upstream: SocketAddr) -> Self {
        Self::resolver_at(free_addr(), zone, upstream)
    }

    /// The same, there.
    pub fn resolver_at(addr: SocketAddr, zone: &str, upstream: SocketAddr) -> Self {
        let forward = format!("{} port {}", upstream.ip(), upstream.port());
        let config = format!("zone \"{zone}\" {{ type forward; forward only; forwarders {{ {forward}; }}; }};\n");
        Self::start(addr, "recursion yes; allow-recursion { any; }; qname-minimization off;", &config, &[])
    }

    fn start(addr: SocketAddr, options: &str, config: &str, files: &[(&str, &str)]) -> Self {
        let dir = tempfile::Builder::new().prefix("lab-bind-").tempdir().expect("a private directory");
        let control = free_addr();
        for (name, content) in files {
            write(dir.path(), name, content);
        }
        let rndc = Key::generate("rndc", "hmac-sha256");
        write(dir.path(), "named.conf", &render(dir.path(), addr, control, &rndc, options, config));
        write(dir.path(), "rndc.conf", &rndc.clause());
        let conf = dir.path().join("named.conf");
        let args = ["-f", "-g", "-n", "1", "-c", conf.to_str().expect("paths of the lab are UTF-8")];
        let daemon = Daemon::start("named", &program("named", "bind9"), &args, &dir.path().join("named.log"));
        let mut bind = Self { daemon, addr, control, dir };
        let log = bind.dir.path().join("named.log");
        bind.daemon.wait_until("running", || {
            std::fs::read_to_string(&log).is_ok_and(|l| l.contains(" running\n")) && answers(addr)
        });
        bind
    }

    /// `rndc` with these words: `freeze ZONE`, `thaw ZONE`, `refresh ZONE`, `flush`, …
    pub fn rndc(&self, words: &[&str]) -> String {
        let conf = self.dir.path().join("rndc.conf");
        let out = Command::new(program("rndc", "bind9"))
            .arg("-c")
            .arg(conf)
            .args(["-y", "rndc", "-s", &self.control.ip().to_string(), "-p", &self.control.port().to_string()])
            .args(words)
            .output()
            .expect("rndc runs");
        let text = String::from_utf8_lossy(&[out.stdout, out.stderr].concat()).into_owned();
        assert!(out.status.success(), "rndc {words:?} failed: {text}");
        text
    }

    /// Changes the zone as somebody else would: lines for `nsupdate`.
    pub fn nsupdate(&self, key: &Key, lines: &[&str]) {
        let script = self.dir.path().join("nsupdate");
        let server = format!("server {} {}", self.addr.ip(), self.addr.port());
        std::fs::write(&script, format!("{server}\n{}\nsend\n", lines.join("\n"))).expect("the script is written");
        let signed = format!("{}:{}:{}", key.algorithm, key.name, key.secret);
        let out = Command::new(program("nsupdate", "bind9-dnsutils")).args(["-y", &signed]).arg(script).output();
        let out = out.expect("nsupdate runs");
        assert!(out.status.success(), "nsupdate failed: {}", String::from_utf8_lossy(&out.stderr));
    }

    /// Stops it as if its machine hung: it is there and does not answer.
    pub fn pause(&self) {
        self.daemon.freeze();
    }

    /// Lets it go on after [`Bind::pause`].
    pub fn resume(&self) {
        self.daemon.signal("CONT");
    }

    /// Ends it.
    pub fn stop(&mut self) {
        self.daemon.kill();
    }

    /// Answers to `dig +short NAME TYPE` from this server, sorted.
    pub fn dig(&self, name: &str, rtype: &str) -> Vec<String> {
        let mut lines: Vec<String> = self.run_dig(&["+short", name, rtype]).lines().map(str::to_owned).collect();
        lines.sort();
        lines
    }

    /// The TTL that this server answers with.
    pub fn ttl(&self, name: &str, rtype: &str) -> Option<u32> {
        self.run_dig(&["+noall", "+answer", name, rtype]).split_whitespace().nth(1)?.parse().ok()
    }

    fn run_dig(&self, args: &[&str]) -> String {
        let server = format!("@{}", self.addr.ip());
        let port = self.addr.port().to_string();
        let out = Command::new(program("dig", "bind9-dnsutils"))
            .args([server.as_str(), "-p", &port, "+norecurse", "+time=2", "+tries=2"])
            .args(args)
            .output();
        String::from_utf8_lossy(&out.expect("dig runs").stdout).into_owned()
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        self.daemon.output()
    }
}

/// A port of 127.0.0.1, the only loopback address that `named` listens on by itself, below those that clients get.
fn free_addr() -> SocketAddr {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let first = 10_000 + u16::try_from(std::process::id() % 100).unwrap_or(0) * 200;
    loop {
        let port = first + NEXT.fetch_add(1, Ordering::Relaxed) % 10_000;
        let addr = SocketAddr::from(([127, 0, 0, 1], port));
        if TcpListener::bind(addr).is_ok() && UdpSocket::bind(addr).is_ok() {
            return addr;
        }
    }
}

/// Whether anything comes back to a query for the root.
fn answers(addr: SocketAddr) -> bool {
    let ask = || -> std::io::Result<usize> {
        let socket = UdpSocket::bind(("127.0.0.1", 0))?;
        socket.set_read_timeout(Some(Duration::from_millis(200)))?;
        socket.send_to(&[0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 1], addr)?;
        socket.recv(&mut [0; 512])
    };
    ask().is_ok_and(|n| n > 0)
}

fn write(dir: &Path, name: &str, content: &str) {
    std::fs::write(dir.join(name), content).unwrap_or_else(|e| panic!("cannot write {name}: {e}"));
}

fn render(dir: &Path, addr: SocketAddr, control: SocketAddr, rndc: &Key, options: &str, config: &str) -> String {
    format!(
        "options {{
  directory \"{dir}\";
  managed-keys-directory \"{dir}\";
  pid-file none;
  session-keyfile \"{dir}/session.key\";
  listen-on port {port} {{ {ip}; }};
  listen-on-v6 {{ none; }};
  dnssec-validation no;
  empty-zones-enable no;
  {options}
}};
{key}controls {{ inet {control_ip} port {control_port} allow {{ 127.0.0.0/8; }} keys {{ rndc; }}; }};
{config}",
        dir = dir.display(),
        port = addr.port(),
        ip = addr.ip(),
        key = rndc.clause(),
        control_ip = control.ip(),
        control_port = control.port(),
    )
}
