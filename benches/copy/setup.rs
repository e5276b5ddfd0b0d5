//! Two hosts behind real sshds, our engine and the peers' command lines.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use migrate::copy::controller::{Agents, Engine};
use migrate::copy::{Copier, CopyJob, PassReport, VerifyMode, VerifyReport};
use migrate::model::{Host, TreeRules};
use migrate::ssh::{self, Pool};
use tempfile::TempDir;

use crate::lab::far::{Far, Link};
use crate::lab::sshd::{Sshd, user};

pub struct Setup {
    pub dir: TempDir,
    source: Sshd,
    target: Sshd,
    far: OnceLock<(Far, Host)>,
    runtime: tokio::runtime::Runtime,
    /// Looks at everything.
    engine: Engine,
    /// Watches the source.
    watching: Engine,
}

impl Setup {
    pub fn start() -> Self {
        let dir = tempfile::Builder::new().prefix("copy-bench-").tempdir().unwrap();
        let source = Sshd::start(&dir.path().join("a"), "old");
        let target = Sshd::start(&dir.path().join("b"), "new");
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        let hosts = [source.host(), target.host()].map(|host| (host.name.clone(), host));
        let environment = ssh::Environment {
            home: Some(dir.path().to_owned()),
            ssh_auth_sock: None,
            user: None,
            ssh_program: None,
            config_file: None,
        };
        let pool = Arc::new(Pool::new(environment, BTreeMap::from(hosts), ssh::Options::default()));
        let agents = Agents::of_this_program(PathBuf::from(env!("CARGO_BIN_EXE_migrate")));
        let engine = || Engine::new(pool.clone(), agents.clone());
        let (far, watching) = (OnceLock::new(), engine());
        Self { dir, source, target, far, runtime, engine: engine().sweeping(), watching }
    }

    /// From now on everyone reaches the target over a link with this round trip.
    pub fn move_away(&self, round_trip: Duration) {
        let far = Far::start(self.target.addr(), Link { round_trip, rate: None });
        let host = far.host(&self.target);
        assert!(self.far.set((far, host)).is_ok());
    }

    fn target(&self) -> Host {
        self.far.get().map_or_else(|| self.target.host(), |(_, host)| host.clone())
    }

    fn target_addr(&self) -> SocketAddr {
        self.far.get().map_or(self.target.addr(), |(far, _)| far.addr())
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn job(&self, id: &str, to: &str) -> CopyJob {
        CopyJob {
            id: id.to_owned(),
            source: self.source.host(),
            target: self.target(),
            from: self.path("data").to_str().unwrap().to_owned(),
            to: self.path(to).to_str().unwrap().to_owned(),
            rules: TreeRules { delete: true, ..TreeRules::default() },
            bandwidth: None,
            path: Default::default(),
            checksum: false,
            listed: false,
            fresh: true,
        }
    }

    pub fn pass(&self, job: &CopyJob) -> PassReport {
        self.runtime.block_on(self.engine.pass(job, &|_| {})).unwrap_or_else(|e| panic!("{e:?}"))
    }

    pub fn watched_pass(&self, job: &CopyJob) -> PassReport {
        self.runtime.block_on(self.watching.pass(job, &|_| {})).unwrap_or_else(|e| panic!("{e:?}"))
    }

    pub fn verify(&self, job: &CopyJob) -> VerifyReport {
        self.runtime.block_on(self.engine.verify(job, VerifyMode::Frozen, &|_| {})).unwrap_or_else(|e| panic!("{e:?}"))
    }

    /// Puts the agents on the hosts and opens the connections, which a migration does once.
    pub fn warm_up(&self) {
        std::fs::create_dir_all(self.path("nothing")).unwrap();
        let mut job = self.job("warm-up", "nothing-there");
        job.from = self.path("nothing").to_str().unwrap().to_owned();
        self.pass(&job);
    }

    /// The same start for everyone: nothing left to write, and everything that a copy to `to` looks at in memory.
    pub fn ready(&self, to: &str, content: bool) {
        rustix::fs::sync();
        for tree in ["data", to].map(|name| self.path(name)).iter().filter(|tree| tree.exists()) {
            crate::trees::hold(tree, content);
        }
    }

    /// The `ssh` of the peers, to `port` of the target.
    fn ssh(&self, port: u16) -> Vec<String> {
        let option = |text: String| ["-o".to_owned(), text];
        let mut ssh: Vec<String> = ["ssh", "-F", "none"].map(str::to_owned).to_vec();
        ssh.extend(option("BatchMode=yes".into()));
        ssh.extend(option("LogLevel=ERROR".into()));
        ssh.extend(option("IdentitiesOnly=yes".into()));
        ssh.extend(option("StrictHostKeyChecking=no".into()));
        ssh.extend(option(format!("UserKnownHostsFile={}", self.path("peer_hosts").display())));
        ssh.extend(["-i".to_owned(), self.target.client_key().display().to_string()]);
        ssh.extend(["-p".to_owned(), port.to_string()]);
        ssh
    }

    pub fn rsync(&self, to: &str, more: &[&str]) {
        let addr = self.target_addr();
        let status = Command::new("rsync")
            .arg("-a")
            .args(more)
            .args(["-e", &self.ssh(addr.port()).join(" ")])
            .arg(format!("{}/", self.path("data").display()))
            .arg(format!("{}@{}:{}/", user(), addr.ip(), self.path(to).display()))
            .status()
            .unwrap();
        assert!(status.success());
    }

    /// `migrate copy` from host to host, from prompt to prompt.
    pub fn command(&self, to: &str) {
        let inventory = self.path("inventory.yaml");
        let lines: String = [&self.source, &self.target].map(inventory_line).concat();
        std::fs::write(&inventory, format!("hosts:\n{lines}")).unwrap();
        let place = |host: &str, path: PathBuf| format!("{host}:{}", path.display());
        let status = Command::new(env!("CARGO_BIN_EXE_migrate"))
            .args(["copy", "--delete", "-i"])
            .arg(&inventory)
            .arg(place("old", self.path("data")) + "/")
            .arg(place("new", self.path(to)))
            .env("HOME", self.path("home"))
            .env("MIGRATE_STATE_DIR", self.path("state"))
            .env_remove("SSH_AUTH_SOCK")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .status()
            .unwrap();
        assert!(status.success());
    }

    /// Does something while another program writes to the same disk as fast as it can.
    pub fn beside_a_writer<T>(&self, run: impl FnOnce() -> T) -> T {
        let (path, over) = (self.path("neighbour"), AtomicBool::new(false));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let file = std::fs::File::create(&path).unwrap();
                let piece = vec![7; 1 << 20];
                let mut offsets = (0..4096).map(|n| n << 20).cycle();
                while !over.load(Ordering::Relaxed) {
                    file.write_all_at(&piece, offsets.next().unwrap()).unwrap();
                }
            });
            // So long that the disk has more to write than it can.
            std::thread::sleep(Duration::from_secs(10));
            let done = run();
            over.store(true, Ordering::Relaxed);
            done
        })
    }

    pub fn tar(&self, to: &str) {
        std::fs::create_dir_all(self.path(to)).unwrap();
        let mut pack = Command::new("tar")
            .args(["-C", self.path("data").to_str().unwrap(), "-cf", "-", "."])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let ssh = self.ssh(self.target_addr().port());
        let status = Command::new(&ssh[0])
            .args(&ssh[1..])
            .arg(format!("{}@{}", user(), self.target_addr().ip()))
            .arg(format!("tar -C {} -xf -", self.path(to).display()))
            .stdin(pack.stdout.take().unwrap())
            .status()
            .unwrap();
        assert!(status.success() && pack.wait().unwrap().success());
    }
}

fn inventory_line(sshd: &Sshd) -> String {
    let host = sshd.host();
    format!(
        "  {}: {{ address: {}, ssh: {{ user: {}, port: {}, key: {}, known_hosts: {} }} }}\n",
        host.name,
        host.address,
        host.ssh.user.unwrap(),
        host.ssh.port.unwrap(),
        sshd.client_key().display(),
        sshd.known_hosts().display()
    )
}

pub fn has(program: &str) -> bool {
    crate::lab::process::find_program(program).is_some()
}

/// Moves a tree away until the end: ext4 is slow to make files for a minute after very many were removed, which is nobody's fault
/// who is measured then.
pub fn set_aside(path: &Path) {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let aside = path.with_extension(NEXT.fetch_add(1, Ordering::Relaxed).to_string());
    assert!(!path.exists() || std::fs::rename(path, aside).is_ok());
}

pub fn remove(path: &Path) {
    if path.exists() {
        std::fs::remove_dir_all(path).unwrap();
    }
    // Writing back what was removed belongs to nobody's measurement.
    rustix::fs::sync();
}
