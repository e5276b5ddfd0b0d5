//! A real Prometheus that scrapes exporters whose numbers the test sets.

use std::io::{BufRead, BufReader, Write};
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use super::certificates::Authority;
use super::packages::program;
use super::process::{Daemon, free_port};
use super::sshd::next_address;

/// What one target of Prometheus says; it falls silent when it is dropped.
pub struct Exporter {
    pub addr: SocketAddr,
    text: Arc<Mutex<String>>,
    ended: Arc<AtomicBool>,
}

impl Exporter {
    /// Says this from the start.
    pub fn start(text: &str) -> Self {
        let listener = TcpListener::bind((IpAddr::from([127, 0, 0, 1]), 0)).expect("a loopback port");
        let addr = listener.local_addr().expect("its address");
        let (text, ended) = (Arc::new(Mutex::new(text.to_owned())), Arc::new(AtomicBool::new(false)));
        let (says, over) = (Arc::clone(&text), Arc::clone(&ended));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if over.load(Ordering::SeqCst) {
                    return;
                }
                let Ok(mut stream) = stream else { continue };
                let mut request = BufReader::new(&stream).lines();
                while request.next().is_some_and(|line| line.is_ok_and(|line| !line.is_empty())) {}
                let body = says.lock().unwrap_or_else(|e| e.into_inner()).clone();
                let head = "HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4\r\nConnection: close\r\n";
                let _ = write!(stream, "{head}Content-Length: {}\r\n\r\n{body}", body.len());
            }
        });
        Self { addr, text, ended }
    }

    /// Says this from now on.
    pub fn say(&self, text: &str) {
        text.clone_into(&mut self.text.lock().unwrap_or_else(|e| e.into_inner()));
    }
}

impl Drop for Exporter {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::SeqCst);
        // Wakes it up, so that its port is free again.
        let _ = std::net::TcpStream::connect(self.addr);
    }
}

/// A running Prometheus. Everything it has lies in one private directory.
pub struct Prometheus {
    daemon: Daemon,
    pub addr: SocketAddr,
    dir: tempfile::TempDir,
}

/// The user that a guarded one lets in, and the password.
pub const USER: (&str, &str) = ("migrate", "secret");

impl Prometheus {
    /// One that scrapes these every half a second.
    pub fn start(targets: &[SocketAddr]) -> Self {
        Self::with(targets, &[], |_, _| ())
    }

    /// The same over TLS, for [`USER`] alone.
    pub fn guarded(targets: &[SocketAddr]) -> Self {
        Self::with(targets, &["--web.config.file=web.yml"], |dir, ip| {
            Authority::start(dir).issue("web", &format!("IP:{ip}"), 10);
            // `secret`, at the lowest cost there is.
            let hash = "$2b$04$ifLV6Up4QeFEHFSfN5mR5.sD5lDhvA64qT1F.92Yy/.fvLkZ.kjNq";
            let web = format!(
                "tls_server_config: {{cert_file: web.pem, key_file: web.key}}\nbasic_auth_users: {{{}: {hash}}}\n",
                USER.0
            );
            std::fs::write(dir.join("web.yml"), web).expect("a file is written");
        })
    }

    fn with(targets: &[SocketAddr], more: &[&str], prepare: impl FnOnce(&Path, IpAddr)) -> Self {
        let prometheus = program("prometheus", "prometheus");
        let dir = tempfile::Builder::new().prefix("lab-prometheus-").tempdir().expect("a private directory");
        let ip = next_address();
        prepare(dir.path(), ip);
        let targets: Vec<String> = targets.iter().map(|t| format!("\"{t}\"")).collect();
        let config = format!(
            "global: {{scrape_interval: 500ms, scrape_timeout: 400ms}}\nscrape_configs:\n- job_name: lab\n  static_configs: [{{targets: [{}]}}]\n",
            targets.join(", ")
        );
        std::fs::write(dir.path().join("prometheus.yml"), config).expect("a file is written");
        let addr = SocketAddr::new(ip, free_port(ip));
        let path = |name: &str| dir.path().join(name).display().to_string();
        let mut args = vec![
            format!("--config.file={}", path("prometheus.yml")),
            format!("--storage.tsdb.path={}", path("data")),
            format!("--web.listen-address={addr}"),
        ];
        args.extend(more.iter().map(|arg| arg.replace('=', &format!("={}/", dir.path().display()))));
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let mut daemon = Daemon::start("prometheus", &prometheus, &args, &dir.path().join("log"));
        daemon.wait_for_port(addr);
        let mut prometheus = Self { daemon, addr, dir };
        prometheus.daemon.wait_until("start", {
            let log = prometheus.dir.path().join("log");
            move || std::fs::read_to_string(&log).is_ok_and(|log| log.contains("ready to receive"))
        });
        prometheus
    }

    /// The CA of one that is guarded.
    pub fn ca(&self) -> PathBuf {
        self.dir.path().join("ca.pem")
    }

    /// Stops it in its tracks: it accepts connections, and answers nothing.
    pub fn freeze(&self) {
        self.daemon.freeze();
    }
}
