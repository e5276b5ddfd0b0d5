//! What the tests of all databases have in common: two hosts, and a plan that moves what the first has to the second.

use std::fs;
use std::net::IpAddr;
use std::path::PathBuf;
use std::process::Command;

use super::super::command::Migrate;
use super::super::sshd::{self, Sshd};

/// Names of the hosts, and of the directories with what is on them.
pub const NAMES: [&str; 2] = ["old", "new"];

/// The hosts, and a directory for all files of a test.
pub struct Pair {
    // Hosts end before their files.
    pub hosts: [Sshd; 2],
    dir: tempfile::TempDir,
}

impl Pair {
    /// Both hosts run. The directory's name begins with `prefix`.
    pub fn start(prefix: &str) -> Self {
        let dir = tempfile::Builder::new().prefix(prefix).tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        let hosts = NAMES.map(|name| Sshd::start(&root.join(name), name));
        Self { hosts, dir }
    }

    pub fn root(&self) -> PathBuf {
        self.dir.path().canonicalize().unwrap()
    }

    /// Where a host has its files.
    pub fn home(&self, host: usize) -> PathBuf {
        self.root().join(NAMES[host])
    }

    pub fn ip(&self, host: usize) -> IpAddr {
        self.hosts[host].addr().ip()
    }

    /// The words of ssh that log in to a host.
    pub fn ssh(&self, host: usize) -> String {
        let (at, key, known) =
            (self.hosts[host].addr(), self.hosts[host].client_key(), self.root().join("known_hosts"));
        let (key, known) = (key.display(), known.display());
        format!(
            "ssh -F none -o BatchMode=yes -o UserKnownHostsFile={known} -i {key} -p {} {}@{}",
            at.port(),
            sshd::user(),
            at.ip()
        )
    }

    /// Writes the inventory, with the variables of each host, and the plan.
    pub fn write_files(&self, plan: &str, vars: impl Fn(usize) -> String) {
        let root = self.root();
        let known: String = self.hosts.iter().map(|h| fs::read_to_string(h.known_hosts()).unwrap()).collect();
        fs::write(root.join("known_hosts"), known).unwrap();
        let mut inventory = "hosts:\n".to_owned();
        for (n, host) in self.hosts.iter().enumerate() {
            let (at, key, known) = (host.addr(), host.client_key(), root.join("known_hosts"));
            let (user, port, key, known) = (sshd::user(), at.port(), key.display(), known.display());
            let ssh = format!("{{user: {user}, port: {port}, key: {key}, known_hosts: {known}}}");
            inventory += &format!("  {}: {{address: {}, ssh: {ssh}, vars: {{{}}}}}\n", NAMES[n], at.ip(), vars(n));
        }
        fs::write(root.join("inventory.yaml"), inventory).unwrap();
        fs::write(root.join("plan.yaml"), plan).unwrap();
    }

    /// Puts something in the place of all that is `from` in the plan.
    #[track_caller]
    pub fn edit_plan(&self, from: &str, to: &str) {
        let path = self.root().join("plan.yaml");
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.contains(from), "the plan does not hold {from:?}");
        fs::write(path, text.replace(from, to)).unwrap();
    }

    pub fn migrate(&self) -> Migrate {
        // Examples have no program beside them.
        let Some(program) = option_env!("CARGO_BIN_EXE_migrate") else { panic!("it is built with tests and benches") };
        Migrate::at(program, &self.root())
    }

    /// No file of any run holds this.
    #[track_caller]
    pub fn assert_no_secret(&self, secret: &str) {
        let found = Command::new("grep").args(["-rl", secret]).arg(self.root().join("state")).output().unwrap();
        assert!(found.stdout.is_empty(), "{}", String::from_utf8_lossy(&found.stdout));
    }
}
