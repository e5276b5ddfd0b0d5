//! A real BIRD with static routes that nobody but its own table gets.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::packages::program;
use super::process::Daemon;

/// A running BIRD with one static protocol. Everything it has lies in one private directory.
pub struct Bird {
    daemon: Daemon,
    dir: tempfile::TempDir,
}

impl Bird {
    /// Starts it with a protocol of this name and these routes.
    pub fn start(protocol: &str, routes: &[&str]) -> Self {
        let bird = program("bird", "bird2");
        let dir = tempfile::Builder::new().prefix("lab-bird-").tempdir().expect("a private directory");
        let file = |name: &str| dir.path().join(name);
        let lines: String = routes.iter().map(|route| format!("route {route} blackhole;\n")).collect();
        let included = file(&format!("{protocol}.routes"));
        let config = format!(
            "router id 192.0.2.255;\nprotocol device {{}}\nprotocol static {protocol} {{\n ipv4;\n include \"{}\";\n}}\n",
            included.display()
        );
        std::fs::write(&included, lines).expect("the routes are written");
        std::fs::write(file("bird.conf"), config).expect("the configuration is written");
        let (conf, socket, log) = (file("bird.conf"), file("bird.ctl"), file("bird.log"));
        let daemon = Daemon::start("bird", &bird, &["-f", "-c", text(&conf), "-s", text(&socket)], &log);
        let mut bird = Self { daemon, dir };
        let there = bird.socket();
        bird.daemon.wait_until("control socket", || birdc(&there, &["show", "status"]).contains("up and running"));
        bird
    }

    /// Its control socket.
    pub fn socket(&self) -> PathBuf {
        self.dir.path().join("bird.ctl")
    }

    /// Where its configuration is.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// What `birdc` says.
    pub fn ask(&self, words: &[&str]) -> String {
        birdc(&self.socket(), words)
    }
}

fn birdc(socket: &Path, words: &[&str]) -> String {
    let out = Command::new(program("birdc", "bird2")).args(["-s", text(socket)]).args(words).output();
    String::from_utf8_lossy(&out.expect("birdc runs").stdout).into_owned()
}

fn text(path: &Path) -> &str {
    path.to_str().expect("paths of the lab are UTF-8")
}
