//! A real Alertmanager, and amtool, which asks it as people do.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use super::packages::program;
use super::process::{Daemon, free_port};
use super::sshd::next_address;

const PACKAGE: &str = "prometheus-alertmanager";

/// A running one. Everything it has lies in one private directory.
pub struct Alertmanager {
    daemon: Daemon,
    pub addr: SocketAddr,
    dir: tempfile::TempDir,
}

impl Alertmanager {
    /// One without anybody to tell.
    pub fn start() -> Self {
        let dir = tempfile::Builder::new().prefix("lab-alertmanager-").tempdir().expect("a private directory");
        let config = "route: {receiver: nobody}\nreceivers: [{name: nobody}]\n";
        std::fs::write(dir.path().join("alertmanager.yml"), config).expect("a file is written");
        let ip = next_address();
        let addr = SocketAddr::new(ip, free_port(ip));
        Self { daemon: start(dir.path(), addr), addr, dir }
    }

    /// Ends it. What it has is on its disk.
    pub fn stop(&mut self) {
        self.daemon.terminate();
    }

    /// Starts it again.
    pub fn start_again(&mut self) {
        self.daemon = start(self.dir.path(), self.addr);
    }

    /// What amtool answers.
    pub fn amtool(&self, args: &[&str]) -> String {
        let out = Command::new(program("amtool", PACKAGE))
            .arg(format!("--alertmanager.url=http://{}", self.addr))
            .args(args)
            .env_clear()
            .output()
            .expect("amtool runs");
        assert!(out.status.success(), "{args:?}: {}", String::from_utf8_lossy(&out.stderr));
        String::from_utf8(out.stdout).expect("text")
    }

    /// The silences in effect.
    pub fn silences(&self) -> Vec<Value> {
        serde_json::from_str(&self.amtool(&["silence", "query", "-o", "json"])).expect("JSON")
    }

    /// How many have ended.
    pub fn ended(&self) -> usize {
        let ended = self.amtool(&["silence", "query", "--expired", "-o", "json"]);
        serde_json::from_str::<Vec<Value>>(&ended).expect("JSON").len()
    }
}

fn start(dir: &Path, addr: SocketAddr) -> Daemon {
    let path = |name: &str| dir.join(name).display().to_string();
    let args = [
        format!("--config.file={}", path("alertmanager.yml")),
        format!("--storage.path={}", path("data")),
        format!("--web.listen-address={addr}"),
        "--cluster.listen-address=".to_owned(),
    ];
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let mut daemon = Daemon::start("alertmanager", &program(PACKAGE, PACKAGE), &args, &dir.join("log"));
    daemon.wait_for_port(addr);
    daemon
}
