//! Hosts of the lab with accounts of their own: logins that are not root, with sudo, doas, odd shells and greetings.
//!
//! Such a host has its own mount namespace. `/etc`, `/home`, `/root` and `/srv` are its own there; the rest is this machine's. Needs root.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;

use migrate::model::{Become, Host, SshTarget};

use super::packages::program;
use super::process::free_port;
use super::sshd::{Sshd, next_address};

/// The one login of these hosts beside root, and its user and group id.
pub const LOGIN: &str = "deploy";
pub const UID: u32 = 1500;
/// Its password, for sudo.
pub const PASSWORD: &str = "correct horse";

/// What is particular about a host.
#[derive(Clone)]
pub struct Accounts<'a> {
    /// Rules for sudo, without those of the lab.
    pub sudoers: &'a str,
    /// Rules for doas; there is none without them.
    pub doas: Option<&'a str>,
    /// The login shell.
    pub shell: &'a str,
    /// Its `.bashrc`.
    pub bashrc: &'a str,
    /// Lines for `sshd_config`.
    pub sshd: &'a [&'a str],
    /// A script that runs as root in the host before its server starts.
    pub before: &'a str,
}

impl Default for Accounts<'_> {
    fn default() -> Self {
        let sudoers = "deploy ALL=(ALL) NOPASSWD: ALL";
        Self { sudoers, doas: None, shell: "/bin/bash", bashrc: "", sshd: &[], before: "" }
    }
}

/// A running host with accounts of its own.
pub struct Guarded {
    pub sshd: Sshd,
    private: PathBuf,
}

impl Guarded {
    /// Starts one with all its files below `dir`.
    pub fn start(dir: &Path, name: &str, accounts: &Accounts<'_>) -> Self {
        assert!(rustix::process::geteuid().is_root(), "hosts with accounts of their own need root");
        // Before /etc is copied: they bring users.
        for (name, package) in [("sshd", "openssh-server"), ("sudo", "sudo"), ("doas", "opendoas")] {
            program(name, package);
        }
        let private = dir.join("private");
        for part in ["home/deploy/.ssh", "root", "srv", "run"] {
            fs::create_dir_all(private.join(part)).expect("a directory of the host");
        }
        let copied = Command::new("cp").args(["-a", "/etc"]).arg(&private).output().expect("cp runs");
        assert!(copied.status.success(), "cannot copy /etc: {}", String::from_utf8_lossy(&copied.stderr));
        let private = private.canonicalize().expect("the host's directory exists");
        write_accounts(&private, accounts);
        let ip = next_address();
        let addr = (ip, free_port(ip)).into();
        let mark = format!("SetEnv \"MIGRATE_LAB_HOST={}\"", dir.canonicalize().expect("it exists").display());
        let options = [accounts.sshd, &[mark.as_str(), "AuthorizedKeysFile .ssh/authorized_keys"]].concat();
        let within = ["unshare", "--mount", "sh", "-c", &mounts(&private, accounts.before)].map(str::to_owned);
        let sshd = Sshd::start_within(dir, name, addr, &options, within.to_vec());
        let host = Self { sshd, private };
        let key = fs::read(host.sshd.home().join(".ssh/authorized_keys")).expect("the lab's key");
        for home in ["home/deploy", "root"] {
            fs::create_dir_all(host.path(home).join(".ssh")).expect("a directory of the host");
            fs::write(host.path(home).join(".ssh/authorized_keys"), &key).expect("a file of the host");
        }
        host.give(&["home/deploy", "home/deploy/.ssh", "home/deploy/.ssh/authorized_keys", "home/deploy/.bashrc"]);
        host
    }

    fn give(&self, paths: &[&str]) {
        for path in paths {
            chown(self.path(path), Some(UID), Some(UID)).expect("root may give files away");
        }
    }

    /// A path of the host, as this machine sees it: `srv/data`, `root/.migrate`.
    pub fn path(&self, path: &str) -> PathBuf {
        self.private.join(path)
    }

    /// The host as an inventory has it, with its plain login.
    pub fn host(&self) -> Host {
        let host = self.sshd.host();
        Host { ssh: SshTarget { user: Some(LOGIN.to_owned()), ..host.ssh }, ..host }
    }

    /// The same, where programs run by `becomes`.
    pub fn becoming(&self, becomes: Become) -> Host {
        let host = self.host();
        Host { ssh: SshTarget { becomes: Some(becomes), ..host.ssh }, ..host }
    }

    /// Its line in an inventory; `ssh` holds more settings: `become: sudo`.
    pub fn inventory_line(&self, ssh: &str) -> String {
        let host = self.host();
        format!(
            "  {}: {{ address: {}, ssh: {{ user: {LOGIN}, port: {}, key: {}, known_hosts: {}, {ssh} }} }}\n",
            host.name,
            host.address,
            self.sshd.addr().port(),
            self.sshd.client_key().display(),
            self.sshd.known_hosts().display()
        )
    }
}

fn write_accounts(private: &Path, accounts: &Accounts<'_>) {
    let own = |name: &str, mode: u32, text: &str| {
        let path = private.join(name);
        fs::write(&path, text).expect("a file of the host");
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("its mode");
    };
    let hash = Command::new(program("openssl", "openssl")).args(["passwd", "-6", PASSWORD]).output().expect("openssl");
    let hash = String::from_utf8(hash.stdout).expect("a hash");
    let and = |file: &str, line: String| fs::read_to_string(file).expect("accounts of this machine") + &line + "\n";
    let shell = accounts.shell;
    own("etc/passwd", 0o644, &and("/etc/passwd", format!("{LOGIN}:x:{UID}:{UID}::/home/deploy:{shell}")));
    own("etc/group", 0o644, &and("/etc/group", format!("{LOGIN}:x:{UID}:")));
    own("etc/shadow", 0o600, &and("/etc/shadow", format!("{LOGIN}:{}:19000:0:99999:7:::", hash.trim())));
    // By this the lab finds the processes of its hosts again.
    let rules = "Defaults env_reset\nDefaults env_keep += \"MIGRATE_LAB_HOST\"\nroot ALL=(ALL:ALL) ALL\n";
    own("etc/sudoers", 0o440, &format!("{rules}{}\n", accounts.sudoers));
    own("etc/doas.conf", 0o600, &format!("{}\n", accounts.doas.unwrap_or_default()));
    own("home/deploy/.bashrc", 0o644, accounts.bashrc);
}

/// Mounts what is the host's own, then becomes the server.
fn mounts(private: &Path, before: &str) -> String {
    let root = private.display();
    let mut script = "set -e\nmount --make-rprivate /\n".to_owned();
    for dir in ["etc", "home", "root", "srv"] {
        script.push_str(&format!("mount --bind {root}/{dir} /{dir}\n"));
    }
    // What sudo remembers of who gave a password.
    script.push_str(&format!("mkdir -p /run/sudo\nmount --bind {root}/run /run/sudo\n{before}\nexec \"$0\" \"$@\"\n"));
    script
}
