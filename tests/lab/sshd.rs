//! A host of the lab: a real OpenSSH server on its own loopback address, with its own keys and its own home directory.
//!
//! Everything it keeps is below one directory: `home/` (what `$HOME` is in its sessions), `etc/` (configuration and keys).
//! A session's working directory is still the user's real home, as sshd has it, so commands use `$HOME` or absolute paths.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU16, Ordering};

use migrate::model::{Host, SshTarget};

use super::packages::program;
use super::process::{Daemon, free_port, freeze};

/// Marks, in their environment, the processes of sessions on a lab host.
const MARK: &str = "MIGRATE_LAB_HOST";

/// A running host. Dropping it ends its server, its sessions and whatever they left running.
pub struct Sshd {
    name: String,
    dir: PathBuf,
    addr: SocketAddr,
    daemon: Option<Daemon>,
    /// Started instead of sshd, with sshd and its arguments behind its own.
    within: Vec<String>,
}

impl Sshd {
    /// A host of this name with all its files below `dir`, on a loopback address and a port of its own.
    pub fn start(dir: &Path, name: &str) -> Self {
        let ip = next_address();
        Self::start_at(dir, name, SocketAddr::new(ip, free_port(ip)), &[])
    }

    /// The same at a given address, with lines for its `sshd_config`, which win over the lab's own.
    pub fn start_at(dir: &Path, name: &str, addr: SocketAddr, options: &[&str]) -> Self {
        Self::start_within(dir, name, addr, options, Vec::new())
    }

    /// The same, with words before the server's own: what it is to run within.
    pub fn start_within(dir: &Path, name: &str, addr: SocketAddr, options: &[&str], within: Vec<String>) -> Self {
        for part in ["home/.ssh", "etc"] {
            fs::create_dir_all(dir.join(part)).unwrap_or_else(|e| panic!("cannot create {}: {e}", dir.display()));
        }
        let dir = dir.canonicalize().expect("the host's directory exists");
        let mut host = Self { name: name.to_owned(), dir, addr, daemon: None, within };
        host.make_key(&host.host_key());
        host.make_key(&host.client_key());
        host.write("home/.ssh/authorized_keys", &public(&host.client_key()));
        host.write("etc/known_hosts", &format!("{} {}", host.known_name(), public(&host.host_key())));
        host.write("etc/sshd_config", &host.config(options));
        host.start_again();
        host
    }

    /// Starts the server, stopped before, with the same keys and the same port.
    pub fn start_again(&mut self) {
        let sshd = program("sshd", "openssh-server");
        if rustix::process::geteuid().is_root() {
            fs::create_dir_all("/run/sshd").expect("/run/sshd, which sshd needs as root, can be created");
        }
        let config = self.dir.join("etc/sshd_config");
        let args = ["-D", "-e", "-f", config.to_str().expect("a UTF-8 path")];
        let mut line: Vec<&str> = self.within.iter().map(String::as_str).collect();
        line.push(sshd.to_str().expect("a UTF-8 path"));
        line.extend(args);
        let mut daemon = Daemon::start(&format!("sshd of {}", self.name), Path::new(line[0]), &line[1..], &self.log());
        daemon.wait_for_port(self.addr);
        self.daemon = Some(daemon);
    }

    /// Takes the host down and up again with a file system of its own at `dir`, with these options (`size=256k`), as everything
    /// that comes by SSH sees it. False where this user may not mount anything, not even for itself.
    pub fn mount_small(&mut self, dir: &Path, options: &str) -> bool {
        let root = rustix::process::geteuid().is_root();
        let mounting: &[&str] = if root { &["unshare", "--mount"] } else { &["unshare", "--map-root-user", "--mount"] };
        if !Command::new(mounting[0]).args(&mounting[1..]).arg("true").status().is_ok_and(|s| s.success()) {
            return false;
        }
        let (uid, gid) = (rustix::process::getuid().as_raw(), rustix::process::getgid().as_raw());
        // Whoever had to become root to mount becomes itself again.
        let back = if root { String::new() } else { format!("unshare --user --map-user={uid} --map-group={gid} ") };
        let script =
            format!("mount -t tmpfs -o {options},mode=755 tmpfs {} && exec {back}\"$0\" \"$@\"", dir.display());
        self.stop();
        self.within = mounting.iter().map(|word| word.to_string()).chain(["sh".into(), "-c".into(), script]).collect();
        self.start_again();
        true
    }

    /// Takes the host down and up again, from then on with a shell script that runs before each command of a session. Keys that are
    /// bound to one command are of no use any more: copies go through the controller.
    pub fn before_every_command(&mut self, script: &str) {
        self.stop();
        let file = self.dir.join("etc/before");
        self.write("etc/before", &format!("{script}\neval \"$SSH_ORIGINAL_COMMAND\"\n"));
        let config = fs::read_to_string(self.dir.join("etc/sshd_config")).expect("the configuration of this host");
        self.write("etc/sshd_config", &format!("ForceCommand sh {}\n{config}", file.display()));
        self.start_again();
    }

    /// Takes the host down: server, sessions and all they run end at once.
    pub fn stop(&mut self) {
        // A session may start a process while they are being listed.
        while self.signal("KILL", &self.processes()) {}
        self.daemon = None;
    }

    /// Ends the server and its connections, so that new ones are refused; detached processes go on.
    pub fn stop_server(&mut self) {
        let connections = self.connections();
        self.daemon = None;
        self.signal("KILL", &connections);
    }

    /// Cuts every connection at once; the server and detached processes go on.
    pub fn cut_connections(&self) {
        self.signal("KILL", &self.connections());
    }

    /// Stops the whole host without ending it: nothing answers until [`Self::thaw`].
    pub fn freeze(&self) {
        freeze(&self.processes());
    }

    /// Lets a frozen host go on.
    pub fn thaw(&self) {
        self.signal("CONT", &self.processes());
    }

    /// The host as an inventory has it.
    pub fn host(&self) -> Host {
        let address = self.addr.ip().to_string();
        let vars = [("name", &self.name), ("address", &address)].map(|(k, v)| (k.to_owned(), v.clone()));
        Host {
            name: self.name.clone(),
            site: None,
            ssh: SshTarget {
                user: Some(user()),
                port: Some(self.addr.port()),
                key: Some(self.client_key()),
                known_hosts: Some(self.known_hosts()),
                ..SshTarget::default()
            },
            address,
            tags: BTreeSet::new(),
            capacity: 100,
            cost_per_month: None,
            vars: BTreeMap::from(vars),
        }
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// `$HOME` in its sessions.
    pub fn home(&self) -> PathBuf {
        self.dir.join("home")
    }

    /// The private key that logs in.
    pub fn client_key(&self) -> PathBuf {
        self.dir.join("etc/client_key")
    }

    /// The server's private key.
    pub fn host_key(&self) -> PathBuf {
        self.dir.join("etc/host_key")
    }

    /// A `known_hosts` file with just this host.
    pub fn known_hosts(&self) -> PathBuf {
        self.dir.join("etc/known_hosts")
    }

    /// The name it has in `known_hosts`.
    pub fn known_name(&self) -> String {
        format!("[{}]:{}", self.addr.ip(), self.addr.port())
    }

    /// What the server has logged.
    pub fn log_text(&self) -> String {
        fs::read_to_string(self.log()).unwrap_or_default()
    }

    /// Processes that serve connections of this host's server, right now.
    pub fn connections(&self) -> Vec<u32> {
        let Some(daemon) = &self.daemon else { return Vec::new() };
        let parents = parents();
        let mut found = vec![daemon.pid()];
        let mut n = 0;
        while let Some(&parent) = found.get(n) {
            found.extend(parents.iter().filter(|(_, p)| **p == parent).map(|(pid, _)| *pid));
            n += 1;
        }
        // Commands of sessions are their descendants too, but not what is meant by a connection.
        found.into_iter().skip(1).filter(|pid| program_name(*pid).starts_with("sshd")).collect()
    }

    /// Processes that sessions on this host started and that still run, detached ones too.
    pub fn session_processes(&self) -> Vec<u32> {
        let mark = format!("{MARK}={}", self.dir.display());
        let marked = |pid: &u32| {
            let environ = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
            environ.split(|b| *b == 0).any(|entry| entry == mark.as_bytes())
        };
        parents().into_keys().filter(marked).collect()
    }

    fn processes(&self) -> Vec<u32> {
        let server = self.daemon.iter().map(Daemon::pid).filter(|pid| !state(*pid).is_empty() && state(*pid) != "Z");
        server.chain(self.connections()).chain(self.session_processes()).collect()
    }

    /// Whether there was any process to signal.
    fn signal(&self, signal: &str, pids: &[u32]) -> bool {
        if !pids.is_empty() {
            let pids: Vec<String> = pids.iter().map(u32::to_string).collect();
            let _ = Command::new("kill").args(["-s", signal, "--"]).args(pids).output();
        }
        !pids.is_empty()
    }

    fn config(&self, options: &[&str]) -> String {
        let dir = self.dir.display();
        // sshd takes the first value of an option, of MaxStartups the last.
        let mut lines: Vec<String> = options.iter().map(|line| line.to_string()).collect();
        let own = [
            format!("ListenAddress {}:{}", self.addr.ip(), self.addr.port()),
            format!("HostKey {}", self.host_key().display()),
            format!("AuthorizedKeysFile {dir}/home/.ssh/authorized_keys"),
            format!("SetEnv \"HOME={dir}/home\" \"{MARK}={dir}\""),
            format!("UsePAM {}", if root_is_locked() { "yes" } else { "no" }),
            "PidFile none".to_owned(),
            "StrictModes no".to_owned(),
            "PermitRootLogin prohibit-password".to_owned(),
            "PasswordAuthentication no".to_owned(),
            "KbdInteractiveAuthentication no".to_owned(),
            "UseDNS no".to_owned(),
            "MaxStartups 100".to_owned(),
            "PrintMotd no".to_owned(),
            "LogLevel VERBOSE".to_owned(),
        ];
        let keyword = |line: &str| line.split(' ').next().unwrap_or_default().to_owned();
        lines.extend(own.into_iter().filter(|line| {
            keyword(line) == "HostKey" || !options.iter().any(|option| keyword(option) == keyword(line))
        }));
        lines.extend(self.supported("PerSourcePenalties no"));
        lines.join("\n") + "\n"
    }

    /// `line`, if this version of sshd knows the option.
    fn supported(&self, line: &str) -> Option<String> {
        let sshd = program("sshd", "openssh-server");
        let key = self.host_key();
        let test = Command::new(sshd).args(["-t", "-f", "/dev/null", "-o", line, "-h"]).arg(key).output();
        let unknown = test.is_ok_and(|out| String::from_utf8_lossy(&out.stderr).contains("Bad configuration option"));
        (!unknown).then(|| line.to_owned())
    }

    fn make_key(&self, path: &Path) {
        if !path.exists() {
            make_key(path, "ed25519", &self.name);
        }
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.dir.join(name);
        fs::write(&path, text).unwrap_or_else(|e| panic!("cannot write {}: {e}", path.display()));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("the mode of an own file can be set");
    }

    /// Waits, wherever it is called, until the server serves nobody.
    pub fn idle(&self) -> impl FnOnce() + Send + use<> {
        let pid = self.daemon.as_ref().map(Daemon::pid);
        move || {
            while parents().values().any(|parent| Some(*parent) == pid) {
                std::thread::sleep(std::time::Duration::from_millis(10));
            }
        }
    }

    fn log(&self) -> PathBuf {
        self.dir.join("etc/sshd.log")
    }
}

impl Drop for Sshd {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Makes a key pair without passphrase: `path` and `path.pub`.
pub fn make_key(path: &Path, kind: &str, comment: &str) {
    let out = Command::new(program("ssh-keygen", "openssh-client"))
        .args(["-q", "-t", kind, "-N", "", "-C", comment, "-f"])
        .arg(path)
        .output()
        .expect("ssh-keygen runs");
    assert!(out.status.success(), "ssh-keygen failed: {}", String::from_utf8_lossy(&out.stderr));
}

/// The public half of a private key file, as a line.
pub fn public(key: &Path) -> String {
    let path = PathBuf::from(format!("{}.pub", key.display()));
    fs::read_to_string(&path).unwrap_or_else(|e| panic!("cannot read {}: {e}", path.display()))
}

/// The user that the lab runs as and logs in as.
pub fn user() -> String {
    let out = Command::new("id").arg("-un").output().expect("id runs");
    String::from_utf8_lossy(&out.stdout).trim().to_owned()
}

/// A loopback address that no other host of this process has.
pub fn next_address() -> IpAddr {
    static NEXT: AtomicU16 = AtomicU16::new(1);
    let [high, low] = NEXT.fetch_add(1, Ordering::Relaxed).to_be_bytes();
    let net = u8::try_from(16 + std::process::id() % 200).unwrap_or(16);
    IpAddr::V4(Ipv4Addr::new(127, net, high, low))
}

/// sshd refuses accounts whose password starts with `!`, except by PAM.
fn root_is_locked() -> bool {
    let shadow = fs::read_to_string("/etc/shadow").unwrap_or_default();
    rustix::process::geteuid().is_root() && shadow.lines().any(|line| line.starts_with("root:!"))
}

/// The parent of every process.
fn parents() -> BTreeMap<u32, u32> {
    let pids = fs::read_dir("/proc").expect("/proc is there").flatten();
    pids.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter_map(|pid| Some((pid, stat(pid).get(1)?.parse().ok()?)))
        .collect()
}

/// `R`, `S`, `Z`…; empty when there is no such process.
fn state(pid: u32) -> String {
    stat(pid).first().cloned().unwrap_or_default()
}

fn program_name(pid: u32) -> String {
    fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default()
}

/// The fields of `/proc/PID/stat` behind the name, which may hold anything.
fn stat(pid: u32) -> Vec<String> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    text.rsplit(')').next().unwrap_or_default().split_whitespace().map(str::to_owned).collect()
}
