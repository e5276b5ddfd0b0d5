//! Who is let in, who is trusted, and what is said when not.

use std::os::unix::fs::PermissionsExt;
use std::process::{Child, Command as Process, Stdio};
use std::sync::Arc;
use std::time::Duration;

use crate::lab::sshd::{make_key, public};
use insta::assert_snapshot;

use super::*;

/// A real ssh-agent, ended when dropped.
pub struct Agent {
    child: Child,
    socket: PathBuf,
}

impl Agent {
    pub fn start(dir: &Path) -> Self {
        let socket = dir.join("agent.sock");
        let child = Process::new("ssh-agent").args(["-D", "-a"]).arg(&socket).stdout(Stdio::null()).spawn().unwrap();
        // The file is there before anybody listens.
        while std::os::unix::net::UnixStream::connect(&socket).is_err() {
            std::thread::sleep(Duration::from_millis(10));
        }
        Self { child, socket }
    }

    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// As `ssh-add -x` does, which asks for its password at a terminal.
    pub async fn lock(&self) {
        let mut client = russh::keys::agent::client::AgentClient::connect_uds(&self.socket).await.unwrap();
        client.lock(b"hunter2").await.unwrap();
    }

    pub fn add(&self, key: &Path) {
        let out = Process::new("ssh-add").arg(key).env("SSH_AUTH_SOCK", &self.socket).output().unwrap();
        assert!(out.status.success(), "{}", text(&out.stderr));
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Lab {
    pub fn use_agent(&mut self, agent: &Agent) {
        let env = Environment { ssh_auth_sock: Some(agent.socket.clone()), ..environment(self.dir.path()) };
        self.pool = Pool::new(env, BTreeMap::new(), Options::default());
    }

    /// Reads an OpenSSH configuration file.
    pub fn use_config(&mut self, config: &str) {
        let file = self.dir.path().join("config");
        std::fs::write(&file, config).unwrap();
        let env = Environment { config_file: Some(file), ..environment(self.dir.path()) };
        self.pool = Pool::new(env, BTreeMap::new(), Options::default());
    }

    pub fn key(&self, name: &str, kind: &str) -> PathBuf {
        let path = self.dir.path().join(name);
        make_key(&path, kind, name);
        path
    }

    /// The host, but at the port of something else.
    pub fn at_port_of(&self, listener: &std::net::TcpListener) -> Host {
        let mut host = self.host.clone();
        host.ssh.port = Some(listener.local_addr().unwrap().port());
        host
    }

    pub fn authorize(&self, key: &Path) {
        std::fs::write(self.sshd.home().join(".ssh/authorized_keys"), public(key)).unwrap();
    }
}

#[tokio::test]
async fn a_key_file_logs_in() {
    let lab = lab();
    let home = lab.sshd.home();
    assert_eq!(text(&lab.run("echo hello; echo $HOME").await.stdout), format!("hello\n{}\n", home.display()));
}

#[tokio::test]
async fn every_common_kind_of_key_logs_in_from_the_agent() {
    for kind in ["ed25519", "ecdsa", "rsa"] {
        let mut lab = lab();
        let (key, agent) = (lab.key("other", kind), Agent::start(lab.dir.path()));
        lab.authorize(&key);
        agent.add(&key);
        lab.use_agent(&agent);
        lab.host.ssh.key = None;
        assert_eq!(text(&lab.run("echo in").await.stdout), "in\n", "{kind}");
    }
}

#[tokio::test]
async fn a_named_key_that_is_encrypted_is_used_through_the_agent() {
    let mut lab = lab();
    let (key, agent) = (lab.key("locked", "ed25519"), Agent::start(lab.dir.path()));
    lab.authorize(&key);
    agent.add(&key);
    encrypt(&key);
    lab.host.ssh.key = Some(key);
    assert_snapshot!(lab.shown(&lab.error(&lab.host).await), @r#"
    LoginRefused: dal-1 (USER@ADDRESS:PORT): there is no key to log in with: $DIR/locked: it is encrypted
    hint: add it to the ssh-agent: ssh-add $DIR/locked
    "#);
    lab.use_agent(&agent);
    assert_eq!(text(&lab.run("echo in").await.stdout), "in\n");
}

pub fn encrypt(key: &Path) {
    let out = Process::new("ssh-keygen").args(["-q", "-p", "-P", "", "-N", "hunter2", "-f"]).arg(key).output().unwrap();
    assert!(out.status.success(), "{}", text(&out.stderr));
}

#[tokio::test]
async fn keys_that_cannot_be_used_say_why() {
    let mut lab = lab();
    let open = lab.key("open", "ed25519");
    std::fs::set_permissions(&open, std::fs::Permissions::from_mode(0o644)).unwrap();
    lab.host.ssh.key = Some(open);
    assert_snapshot!(lab.shown(&lab.error(&lab.host).await), @r#"
    LoginRefused: dal-1 (USER@ADDRESS:PORT): there is no key to log in with: $DIR/open: others can read it (mode 0644), so it is not used
    hint: chmod 600 $DIR/open
    "#);
    lab.host.ssh.key = Some(lab.dir.path().join("missing"));
    assert_snapshot!(lab.shown(&lab.error(&lab.host).await), @r#"
    LoginRefused: dal-1 (USER@ADDRESS:PORT): there is no key to log in with: $DIR/missing does not exist
    hint: name a key by `key` under `ssh` in the inventory, or add one to the ssh-agent (ssh-add)
    "#);
    lab.host.ssh.key = Some(lab.sshd.known_hosts());
    assert_snapshot!(lab.shown(&lab.error(&lab.host).await), @r#"
    LoginRefused: dal-1 (USER@ADDRESS:PORT): there is no key to log in with: $DIR/dal-1/etc/known_hosts: it is not a private key that can be read (Could not read key)
    hint: make a key with: ssh-keygen -t ed25519
    "#);
}

#[tokio::test]
async fn a_refused_login_lists_what_was_tried() {
    let mut lab = lab();
    let wrong = lab.key("wrong", "ed25519");
    lab.host.ssh.key = Some(wrong.clone());
    assert_snapshot!(lab.shown(&lab.error(&lab.host).await), @r#"
    LoginRefused: dal-1 (USER@ADDRESS:PORT): refused the login of `USER` (it takes publickey): $DIR/wrong refused
    hint: put the public key into ~USER/.ssh/authorized_keys on the host, or name the right key by `key` under `ssh` in the inventory
    "#);
    let agent = Agent::start(lab.dir.path());
    for n in 0..7 {
        agent.add(&lab.key(&format!("key-{n}"), "ed25519"));
    }
    lab.use_agent(&agent);
    lab.host.ssh.key = None;
    assert_snapshot!(lab.shown(&lab.error(&lab.host).await), @r#"
    LoginRefused: dal-1 (USER@ADDRESS:PORT): refused the login of `USER` (it takes publickey): key key-0 of the ssh-agent (FINGERPRINT) refused; key key-1 of the ssh-agent (FINGERPRINT) refused; key key-2 of the ssh-agent (FINGERPRINT) refused; key key-3 of the ssh-agent (FINGERPRINT) refused; key key-4 of the ssh-agent (FINGERPRINT) refused; key key-5 of the ssh-agent (FINGERPRINT) refused; the server hung up
    hint: name the right key by `key` under `ssh` in the inventory, so that it is tried first: servers hang up after a few refused keys (MaxAuthTries)
    "#);
}

#[tokio::test]
async fn an_unknown_host_key_is_refused_and_nothing_is_written() {
    let mut lab = lab();
    let file = lab.dir.path().join("empty");
    std::fs::write(&file, "").unwrap();
    lab.host.ssh.known_hosts = Some(file.clone());
    assert_snapshot!(lab.shown(&lab.error(&lab.host).await), @r#"
    UnknownHostKey: dal-1 (USER@ADDRESS:PORT): its ssh-ed25519 key FINGERPRINT is unknown: it is not in $DIR/empty
    hint: compare the fingerprint with the host's own (`ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub` on its console); if it is the same, add it: ssh-keyscan -p PORT -t ed25519 ADDRESS >> $DIR/empty
    "#);
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "");
    lab.host.ssh.known_hosts = Some(lab.dir.path().join("missing"));
    assert_snapshot!(lab.shown(&lab.error(&lab.host).await), @r#"
    UnknownHostKey: dal-1 (USER@ADDRESS:PORT): its ssh-ed25519 key FINGERPRINT is unknown: it is not in $DIR/missing (does not exist)
    hint: compare the fingerprint with the host's own (`ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub` on its console); if it is the same, add it: ssh-keyscan -p PORT -t ed25519 ADDRESS >> $DIR/missing
    "#);
    assert!(!lab.dir.path().join("missing").exists());
}

#[tokio::test]
async fn a_changed_host_key_is_refused_and_both_fingerprints_are_told() {
    let lab = lab();
    let other = lab.key("other_host_key", "ed25519");
    let line = format!("# a comment\n{} {}", lab.sshd.known_name(), public(&other));
    std::fs::write(lab.sshd.known_hosts(), line).unwrap();
    assert_snapshot!(lab.shown(&lab.error(&lab.host).await), @r#"
    ChangedHostKey: dal-1 (USER@ADDRESS:PORT): offers another key than the known one: ssh-ed25519 key FINGERPRINT, but $DIR/dal-1/etc/known_hosts:2 has ssh-ed25519 FINGERPRINT
    hint: someone may be in between, or the host was installed anew: compare with the host's own `ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub` on its console before anything is trusted
    "#);
}

#[tokio::test]
async fn a_known_key_of_another_kind_that_is_gone_is_a_changed_key() {
    let lab = lab();
    let other = lab.key("ecdsa_host_key", "ecdsa");
    std::fs::write(lab.sshd.known_hosts(), format!("{} {}", lab.sshd.known_name(), public(&other))).unwrap();
    assert_eq!(lab.error(&lab.host).await.kind, migrate::outside::Kind::ChangedHostKey);
}

#[tokio::test]
async fn a_revoked_host_key_is_refused() {
    let lab = lab();
    let line = format!("{} {}", lab.sshd.known_name(), public(&lab.sshd.host_key()));
    std::fs::write(lab.sshd.known_hosts(), format!("{line}@revoked * {}", public(&lab.sshd.host_key()))).unwrap();
    assert_snapshot!(lab.shown(&lab.error(&lab.host).await), @r#"
    ChangedHostKey: dal-1 (USER@ADDRESS:PORT): its ssh-ed25519 key FINGERPRINT was revoked by $DIR/dal-1/etc/known_hosts:2
    hint: whoever holds this key must not be trusted: give the host a new key
    "#);
}

#[tokio::test]
async fn hashed_names_and_wildcards_are_known() {
    let lab = lab();
    let out = Process::new("ssh-keygen").args(["-H", "-f"]).arg(lab.sshd.known_hosts()).output().unwrap();
    assert!(out.status.success());
    assert!(std::fs::read_to_string(lab.sshd.known_hosts()).unwrap().starts_with("|1|"));
    lab.run("true").await;
    lab.pool.close().await;
    std::fs::write(lab.sshd.known_hosts(), format!("[127.*]:* {}", public(&lab.sshd.host_key()))).unwrap();
    lab.run("true").await;
}

#[tokio::test]
async fn the_kind_of_host_key_that_is_known_is_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let ecdsa = dir.path().join("ecdsa");
    make_key(&ecdsa, "ecdsa", "host");
    let host_key = format!("HostKey {}", ecdsa.display());
    // A second HostKey line beside the lab's own Ed25519 one, which would be preferred.
    let lab = lab_with(&[&host_key], Options::default());
    std::fs::write(lab.sshd.known_hosts(), format!("{} {}", lab.sshd.known_name(), public(&ecdsa))).unwrap();
    assert_eq!(text(&lab.run("echo in").await.stdout), "in\n");
}

#[tokio::test]
async fn a_host_that_cannot_be_reached_says_why() {
    let clock = Arc::new(reach::Pauses::default());
    let options = Options { connect_timeout: Duration::from_millis(300), ..reach::options(&clock) };
    let mut lab = lab_with(&[], options);
    lab.sshd.stop();
    assert_snapshot!(lab.shown(&lab.error(&lab.host).await), @r#"
    Unreachable: dal-1 (USER@ADDRESS:PORT): cannot connect: connection refused
    hint: is sshd running there, and is `port` under `ssh` in the inventory right?
    "#);
    let silent = std::net::TcpListener::bind((lab.sshd.addr().ip(), 0)).unwrap();
    assert_snapshot!(lab.shown(&lab.error(&lab.at_port_of(&silent)).await), @r#"
    Unreachable: dal-1 (USER@ADDRESS:PORT): the host took the connection, but there was no SSH answer within 300 ms
    hint: is it really an SSH server that listens there? A host that is overloaded or stopped does so, too
    "#);
    let rude = std::net::TcpListener::bind((lab.sshd.addr().ip(), 0)).unwrap();
    let host = lab.at_port_of(&rude);
    std::thread::spawn(move || rude.incoming().for_each(drop));
    assert_snapshot!(lab.shown(&lab.error(&host).await), @r#"
    Unreachable: dal-1 (USER@ADDRESS:PORT): the host closed the connection before it spoke SSH (tried 6 times, with growing pauses)
    hint: sshd does so while too many have not logged in yet (MaxStartups, PerSourceMaxStartups: a host whose password is guessed at), and, since OpenSSH 9.8, to addresses from which logins have failed (PerSourcePenalties: up to 10 minutes): look for `drop connection` in its log, raise MaxStartups, or name this machine in PerSourcePenaltyExemptList. Without such a line: is it really an SSH server that listens there?
    "#);
    let mut nowhere = lab.host.clone();
    nowhere.address = "no-such-host.invalid".to_owned();
    assert_eq!(lab.error(&nowhere).await.kind, migrate::outside::Kind::Unreachable);
}

#[tokio::test]
async fn names_that_look_like_options_are_refused() {
    let mut lab = lab();
    lab.host.address = "-oProxyCommand=touch /tmp/x".to_owned();
    assert_snapshot!(lab.shown(&lab.error(&lab.host).await), @r#"
    Config: dal-1: its address `-oProxyCommand=touch /tmp/x` starts with `-`, which could be taken for an option
    hint: -
    "#);
    lab.host.address = "a\u{1b}[2Jb".to_owned();
    assert_snapshot!(lab.shown(&lab.error(&lab.host).await), @r#"
    Config: dal-1: its address `a\u{1b}[2Jb` holds a space or a control character
    hint: -
    "#);
    lab.host.address = "localhost".to_owned();
    lab.host.ssh.user = Some("-l".to_owned());
    assert_snapshot!(lab.shown(&lab.error(&lab.host).await), @r#"
    Config: dal-1: its user `-l` starts with `-`, which could be taken for an option
    hint: -
    "#);
}

#[tokio::test]
async fn a_jump_host_of_the_inventory_leads_to_its_host() {
    let lab = lab();
    let bastion = Sshd::start(&lab.dir.path().join("bastion"), "bastion");
    let hosts = BTreeMap::from([("bastion".to_owned(), bastion.host())]);
    let pool = Pool::new(environment(lab.dir.path()), hosts, Options::default());
    let mut host = lab.host.clone();
    host.ssh.jump = vec!["bastion".to_owned()];
    let command = Command { script: "echo ${SSH_CONNECTION%% *}".to_owned(), ..Command::default() };
    pool.run(&host, &command).await.unwrap();
    assert!(bastion.log_text().contains("Accepted publickey"), "it was used");
    // The jump host's own key is checked, too.
    std::fs::write(bastion.known_hosts(), "").unwrap();
    pool.close().await;
    let error = pool.run(&host, &command).await.unwrap_err();
    assert_eq!(error.kind, migrate::outside::Kind::UnknownHostKey);
    assert!(error.what.starts_with("its jump host bastion ("), "{error}");
    host.ssh.jump = vec!["nowhere".to_owned()];
    assert_snapshot!(lab.shown(&pool.run(&host, &command).await.unwrap_err()), @r#"
    Config: dal-1: its jump host `nowhere` is not in the inventory
    hint: -
    "#);
}

#[tokio::test]
async fn jump_hosts_that_go_in_a_circle_end_in_an_error() {
    let lab = lab();
    let mut host = lab.host.clone();
    host.ssh.jump = vec!["dal-1".to_owned()];
    let hosts = BTreeMap::from([("dal-1".to_owned(), host.clone())]);
    let pool = Pool::new(environment(lab.dir.path()), hosts, Options::default());
    let error = pool.run(&host, &Command::default()).await.unwrap_err();
    assert_snapshot!(lab.shown(&error), @r#"
    Config: dal-1: is behind more than 8 jump hosts; do they go in a circle?
    hint: -
    "#);
}

#[tokio::test]
async fn ssh_config_is_honoured() {
    let mut lab = lab();
    let bastion = Sshd::start(&lab.dir.path().join("bastion"), "bastion");
    let both = lab.dir.path().join("both");
    let known = [&lab.sshd, &bastion].map(|sshd| std::fs::read_to_string(sshd.known_hosts()).unwrap());
    let (alias, plain) = (known[0].replace(&lab.sshd.known_name(), "the-alias"), &known[1]);
    std::fs::write(&both, format!("{alias}{plain}")).unwrap();
    lab.use_config(&format!(
        "Host web1\n HostName {}\n Port {}\n User {user}\n IdentityFile {}\n ProxyJump {user}@hop:{}\n HostKeyAlias the-alias\n\
         Host hop\n HostName {}\n IdentityFile ~/bastion/etc/client_key\n\
         Host *\n IdentityFile none\n IdentitiesOnly yes\n UserKnownHostsFile /nonexistent {}\n",
        lab.sshd.addr().ip(),
        lab.sshd.addr().port(),
        lab.sshd.client_key().display(),
        bastion.addr().port(),
        bastion.addr().ip(),
        both.display(),
        user = crate::lab::sshd::user(),
    ));
    lab.host.address = "web1".to_owned();
    lab.host.ssh = migrate::model::SshTarget::default();
    assert_eq!(text(&lab.run("echo in").await.stdout), "in\n");
    assert!(bastion.log_text().contains("Accepted publickey"), "the jump host was used");
}

#[tokio::test]
async fn what_ssh_config_asks_for_and_cannot_be_done_is_told() {
    let mut lab = lab();
    lab.use_config("Nonsense yes\n");
    assert_snapshot!(lab.shown(&lab.error(&lab.host).await), @r#"
    Config: dal-1: `ssh -G` does not accept the SSH configuration: $DIR/config: line 1: Bad configuration option: nonsense\u{d}⏎$DIR/config: terminating, 1 bad configuration options
    hint: -
    "#);
    lab.use_config("Host *\n IdentityFile ${KEYS}/id\n");
    assert_snapshot!(lab.shown(&lab.error(&lab.host).await), @r#"
    Config: dal-1: ssh_config has the path `${KEYS}/id`: environment variables in paths are not supported
    hint: -
    "#);
}
