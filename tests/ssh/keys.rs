//! Keys and certificates of users: which are offered, who signs, and what is said when none is taken.

use std::process::Command as Process;

use crate::lab::sshd::make_key;
use insta::assert_snapshot;

use super::login::{Agent, encrypt};
use super::*;

/// A certificate authority.
pub struct Authority {
    dir: tempfile::TempDir,
}

impl Authority {
    pub fn new(kind: &str) -> Self {
        let authority = Self { dir: tempfile::tempdir().unwrap() };
        make_key(&authority.key(), kind, "authority");
        authority
    }

    pub fn key(&self) -> PathBuf {
        self.dir.path().join("ca")
    }

    /// A line for `sshd_config`.
    fn trusted(&self) -> String {
        format!("TrustedUserCAKeys {}.pub", self.key().display())
    }

    /// Signs `key` into `KEY-cert.pub`.
    pub fn sign(&self, key: &Path, args: &[&str]) -> PathBuf {
        let out = Process::new("ssh-keygen")
            .args(["-q", "-s"])
            .arg(self.key())
            .args(["-I", "deploy key"])
            .args(args)
            .arg(format!("{}.pub", key.display()))
            .output()
            .unwrap();
        assert!(out.status.success(), "{}", text(&out.stderr));
        PathBuf::from(format!("{}-cert.pub", key.display()))
    }

    /// A certificate for who logs in to the lab.
    fn sign_for_user(&self, key: &Path) -> PathBuf {
        self.sign(key, &["-n", &crate::lab::sshd::user()])
    }
}

/// A key in one of the formats of `ssh-keygen -m`.
fn reformat(key: &Path, format: &str) {
    let out = Process::new("ssh-keygen")
        .args(["-q", "-p", "-P", "", "-N", "", "-m", format, "-f"])
        .arg(key)
        .output()
        .unwrap();
    assert!(out.status.success(), "{}", text(&out.stderr));
}

#[tokio::test]
async fn rsa_keys_log_in_from_files_of_every_format() {
    for format in ["RFC4716", "PEM", "PKCS8"] {
        let mut lab = lab();
        let key = lab.key("rsa", "rsa");
        lab.authorize(&key);
        reformat(&key, format);
        lab.host.ssh.key = Some(key);
        assert_eq!(text(&lab.run("echo in").await.stdout), "in\n", "{format}");
        assert!(lab.sshd.log_text().contains("Accepted publickey"), "{format}");
    }
}

#[tokio::test]
async fn rsa_keys_sign_by_the_hash_that_the_server_takes() {
    for taken in ["rsa-sha2-256", "rsa-sha2-512"] {
        let mut lab = lab_with(&[&format!("PubkeyAcceptedAlgorithms {taken}")], Options::default());
        let (key, agent) = (lab.key("rsa", "rsa"), Agent::start(lab.dir.path()));
        lab.authorize(&key);
        lab.host.ssh.key = Some(key.clone());
        assert_eq!(text(&lab.run("echo in").await.stdout), "in\n", "{taken}, from the file");
        agent.add(&key);
        encrypt(&key);
        lab.use_agent(&agent);
        assert_eq!(text(&lab.run("echo in").await.stdout), "in\n", "{taken}, from the agent");
        lab.pool.close().await;
        // Keys that are refused by both leave tries for others.
        lab.host.ssh.key = None;
        agent.add(&lab.key("wrong", "rsa"));
        agent.add(&lab.key("other", "rsa"));
        assert_eq!(text(&lab.run("echo in").await.stdout), "in\n", "{taken}, one of three");
    }
}

#[tokio::test]
async fn a_server_that_takes_rsa_only_with_sha_1_is_told() {
    let mut lab = lab_with(&["PubkeyAcceptedAlgorithms ssh-rsa"], Options::default());
    let key = lab.key("rsa", "rsa");
    lab.authorize(&key);
    lab.host.ssh.key = Some(key.clone());
    assert_snapshot!(lab.shown(&lab.error(&lab.host).await), @r#"
    LoginRefused: dal-1 (USER@ADDRESS:PORT): refused the login of `USER` (it takes publickey): $DIR/rsa refused
    hint: put the public key into ~USER/.ssh/authorized_keys on the host, or name the right key by `key` under `ssh` in the inventory; an RSA key that is there is refused where sshd takes RSA only with SHA-1: use an Ed25519 key
    "#);
    let agent = Agent::start(lab.dir.path());
    agent.add(&key);
    lab.use_agent(&agent);
    assert_snapshot!(lab.shown(&lab.error(&lab.host).await), @r#"
    LoginRefused: dal-1 (USER@ADDRESS:PORT): refused the login of `USER` (it takes publickey): key rsa of the ssh-agent (FINGERPRINT) refused
    hint: put the public key into ~USER/.ssh/authorized_keys on the host, or name the right key by `key` under `ssh` in the inventory; an RSA key that is there is refused where sshd takes RSA only with SHA-1: use an Ed25519 key
    "#);
}

#[tokio::test]
async fn an_rsa_key_that_is_too_short_says_so() {
    let mut lab = lab_with(&["RequiredRSASize 1024"], Options::default());
    let key = lab.dir.path().join("short");
    let out =
        Process::new("ssh-keygen").args(["-q", "-t", "rsa", "-b", "1024", "-N", "", "-f"]).arg(&key).output().unwrap();
    assert!(out.status.success(), "{}", text(&out.stderr));
    lab.authorize(&key);
    lab.host.ssh.key = Some(key);
    assert_snapshot!(lab.shown(&lab.error(&lab.host).await), @r#"
    LoginRefused: dal-1 (USER@ADDRESS:PORT): refused the login of `USER`: $DIR/short: this RSA key cannot be used (TooSmall)
    hint: use an Ed25519 or ECDSA key, or an RSA key of at least 2048 bits
    "#);
}

#[tokio::test]
async fn a_public_key_file_selects_the_key_of_the_agent() {
    let mut lab = lab();
    let (key, agent) = (lab.key("yubi", "ed25519"), Agent::start(lab.dir.path()));
    // More keys in the agent than a server has patience for.
    for n in 0..6 {
        agent.add(&lab.key(&format!("other-{n}"), "ed25519"));
    }
    agent.add(&key);
    lab.authorize(&key);
    std::fs::remove_file(&key).unwrap();
    lab.use_agent(&agent);
    lab.host.ssh.key = Some(lab.dir.path().join("yubi.pub"));
    assert_eq!(text(&lab.run("echo in").await.stdout), "in\n", "named by its public file");
    lab.host.ssh.key = Some(key);
    assert_eq!(text(&lab.run("echo in").await.stdout), "in\n", "named by the private file that is not there");
}

#[tokio::test]
async fn a_public_key_file_in_ssh_config_selects_the_key_of_the_agent() {
    let mut lab = lab();
    let (key, agent) = (lab.key("yubi", "ed25519"), Agent::start(lab.dir.path()));
    agent.add(&key);
    lab.authorize(&key);
    lab.use_config(&format!(
        "Host *\n IdentitiesOnly yes\n IdentityFile ~/yubi.pub\n IdentityAgent {}\n UserKnownHostsFile {}\n Port {}\n",
        agent.socket().display(),
        lab.sshd.known_hosts().display(),
        lab.sshd.addr().port()
    ));
    lab.host.ssh = migrate::model::SshTarget::default();
    assert_eq!(text(&lab.run("echo in").await.stdout), "in\n");
}

#[tokio::test]
async fn a_public_key_file_without_its_private_key_says_what_is_missing() {
    let mut lab = lab();
    lab.key("yubi", "ed25519");
    lab.host.ssh.key = Some(lab.dir.path().join("yubi.pub"));
    assert_snapshot!(lab.shown(&lab.error(&lab.host).await), @r#"
    LoginRefused: dal-1 (USER@ADDRESS:PORT): there is no key to log in with: $DIR/yubi.pub is a public key, and there is no ssh-agent that could hold its private key
    hint: add the private key to the ssh-agent (ssh-add -l shows what it holds), or name the private key's file
    "#);
    let agent = Agent::start(lab.dir.path());
    agent.add(&lab.key("other", "ed25519"));
    lab.use_agent(&agent);
    assert_snapshot!(lab.shown(&lab.error(&lab.host).await), @r#"
    LoginRefused: dal-1 (USER@ADDRESS:PORT): there is no key to log in with: $DIR/yubi.pub is a public key, and the ssh-agent does not hold its private key
    hint: add the private key to the ssh-agent (ssh-add -l shows what it holds), or name the private key's file
    "#);
}

#[tokio::test]
async fn a_locked_agent_is_told_from_an_empty_one() {
    let mut lab = lab();
    let (key, agent) = (lab.key("locked", "ed25519"), Agent::start(lab.dir.path()));
    lab.authorize(&key);
    agent.add(&key);
    encrypt(&key);
    lab.use_agent(&agent);
    lab.host.ssh.key = Some(key);
    agent.lock().await;
    assert_snapshot!(lab.shown(&lab.error(&lab.host).await), @r#"
    LoginRefused: dal-1 (USER@ADDRESS:PORT): there is no key to log in with: the ssh-agent shows no key: it holds none, or it is locked; $DIR/locked: it is encrypted
    hint: unlock the ssh-agent (ssh-add -X), or add the key to it (ssh-add)
    "#);
    lab.host.ssh.key = None;
    assert_snapshot!(lab.shown(&lab.error(&lab.host).await), @r#"
    LoginRefused: dal-1 (USER@ADDRESS:PORT): there is no key to log in with: the ssh-agent shows no key: it holds none, or it is locked
    hint: unlock the ssh-agent (ssh-add -X), or add the key to it (ssh-add)
    "#);
}

#[tokio::test]
async fn an_agent_that_is_gone_is_named() {
    let mut lab = lab();
    let agent = Agent::start(lab.dir.path());
    lab.use_agent(&agent);
    drop(agent);
    lab.host.ssh.key = None;
    assert_snapshot!(lab.shown(&lab.error(&lab.host).await), @r#"
    LoginRefused: dal-1 (USER@ADDRESS:PORT): there is no key to log in with: no ssh-agent answers at $DIR/agent.sock (Connection refused (os error 111))
    hint: name a key by `key` under `ssh` in the inventory, or add one to the ssh-agent (ssh-add)
    "#);
}

#[tokio::test]
async fn a_certificate_beside_the_key_logs_in() {
    for kind in ["ed25519", "ecdsa", "rsa"] {
        let authority = Authority::new(kind);
        let mut lab = lab_with(&[&authority.trusted()], Options::default());
        let key = lab.key("id", kind);
        authority.sign_for_user(&key);
        lab.host.ssh.key = Some(key.clone());
        assert_eq!(text(&lab.run("echo in").await.stdout), "in\n", "{kind}, from the file");
        assert!(lab.sshd.log_text().contains("ID deploy key"), "{kind}");
        let agent = Agent::start(lab.dir.path());
        agent.add(&key);
        encrypt(&key);
        lab.use_agent(&agent);
        assert_eq!(text(&lab.run("echo in").await.stdout), "in\n", "{kind}, from the agent");
    }
}

#[tokio::test]
async fn a_certificate_is_signed_for_by_an_agent_that_holds_only_the_key() {
    let authority = Authority::new("ed25519");
    let mut lab = lab_with(&[&authority.trusted()], Options::default());
    let (key, agent) = (lab.key("id", "rsa"), Agent::start(lab.dir.path()));
    // The agent takes up a certificate only if it is there when the key is added.
    agent.add(&key);
    let certificate = authority.sign_for_user(&key);
    std::fs::remove_file(&key).unwrap();
    lab.use_agent(&agent);
    lab.host.ssh.key = Some(key);
    assert_eq!(text(&lab.run("echo in").await.stdout), "in\n", "beside the key");
    lab.host.ssh.key = Some(certificate);
    lab.pool.close().await;
    assert_eq!(text(&lab.run("echo in").await.stdout), "in\n", "named itself");
}

#[tokio::test]
async fn certificate_file_in_ssh_config_is_used() {
    let authority = Authority::new("ed25519");
    let mut lab = lab_with(&[&authority.trusted()], Options::default());
    let key = lab.key("id", "ed25519");
    let certificate = authority.sign_for_user(&key);
    std::fs::rename(certificate, lab.dir.path().join("elsewhere.pub")).unwrap();
    lab.use_config(&format!("Host *\n IdentityFile {}\n CertificateFile ~/elsewhere.pub\n", key.display()));
    lab.host.ssh.key = None;
    assert_eq!(text(&lab.run("echo in").await.stdout), "in\n");
    lab.use_config("Host *\n IdentityFile none\n CertificateFile ~/elsewhere.pub\n");
    assert_snapshot!(lab.shown(&lab.error(&lab.host).await), @r#"
    LoginRefused: dal-1 (USER@ADDRESS:PORT): there is no key to log in with: $DIR/elsewhere.pub: neither a key file nor the ssh-agent has its private key
    hint: name a key by `key` under `ssh` in the inventory, or add one to the ssh-agent (ssh-add)
    "#);
    lab.use_config("Host *\n IdentityFile none\n CertificateFile ~/id.pub\n CertificateFile ~/nowhere\n");
    assert_snapshot!(lab.shown(&lab.error(&lab.host).await), @r#"
    LoginRefused: dal-1 (USER@ADDRESS:PORT): there is no key to log in with: $DIR/id.pub: it is a public key, and no certificate; $DIR/nowhere: does not exist
    hint: name a key by `key` under `ssh` in the inventory, or add one to the ssh-agent (ssh-add)
    "#);
}

#[tokio::test]
async fn a_certificate_that_is_refused_says_what_is_wrong_with_it() {
    let authority = Authority::new("ed25519");
    let mut lab = lab_with(&[&authority.trusted()], Options::default());
    let key = lab.key("id", "ed25519");
    lab.host.ssh.key = Some(key.clone());
    let user = crate::lab::sshd::user();
    authority.sign(&key, &["-n", &user, "-V", "20200101000000Z:20200102000000Z"]);
    assert_snapshot!(lab.shown(&lab.error(&lab.host).await), @r#"
    LoginRefused: dal-1 (USER@ADDRESS:PORT): refused the login of `USER` (it takes publickey): $DIR/id refused; certificate $DIR/id-cert.pub refused (ID deploy key, for USER; it expired on 2020-01-02T00:00:00Z)
    hint: the certificate expired on 2020-01-02T00:00:00Z: have a new one signed
    "#);
    authority.sign(&key, &["-n", &user, "-V", "20990101000000Z:20990102000000Z"]);
    assert_snapshot!(lab.shown(&lab.error(&lab.host).await), @r#"
    LoginRefused: dal-1 (USER@ADDRESS:PORT): refused the login of `USER` (it takes publickey): $DIR/id refused; certificate $DIR/id-cert.pub refused (ID deploy key, for USER; it is not valid before 2099-01-01T00:00:00Z)
    hint: the certificate is not valid before 2099-01-01T00:00:00Z: have a new one signed
    "#);
    authority.sign(&key, &["-n", "deploy,backup"]);
    assert_snapshot!(lab.shown(&lab.error(&lab.host).await), @r#"
    LoginRefused: dal-1 (USER@ADDRESS:PORT): refused the login of `USER` (it takes publickey): $DIR/id refused; certificate $DIR/id-cert.pub refused (ID deploy key, for deploy and backup)
    hint: the certificate is for deploy and backup, not for USER: have one signed with `-n USER`, or let the host map its principals (AuthorizedPrincipalsFile)
    "#);
    authority.sign(&key, &["-h", "-n", "dal-1"]);
    assert_snapshot!(lab.shown(&lab.error(&lab.host).await), @r#"
    LoginRefused: dal-1 (USER@ADDRESS:PORT): refused the login of `USER` (it takes publickey): $DIR/id-cert.pub is a certificate for a host, not for a user; $DIR/id refused
    hint: have the user's key signed without `-h`: ssh-keygen -s CA -I ID -n USER KEY.pub
    "#);
    Authority::new("ed25519").sign_for_user(&key);
    assert_snapshot!(lab.shown(&lab.error(&lab.host).await), @r#"
    LoginRefused: dal-1 (USER@ADDRESS:PORT): refused the login of `USER` (it takes publickey): $DIR/id refused; certificate $DIR/id-cert.pub refused (ID deploy key, for USER)
    hint: the host has to trust the CA that signed the certificate (FINGERPRINT): its public key belongs into the file that TrustedUserCAKeys names in sshd_config; the host's log says what it does not like
    "#);
}

#[tokio::test]
async fn a_server_without_keys_says_how_it_lets_people_in() {
    let lab = lab_with(&["PubkeyAuthentication no", "PasswordAuthentication yes"], Options::default());
    assert_snapshot!(lab.shown(&lab.error(&lab.host).await), @r#"
    LoginRefused: dal-1 (USER@ADDRESS:PORT): refused the login of `USER` (it takes password): $DIR/dal-1/etc/client_key refused; the server takes no keys
    hint: let its sshd take keys for this account: PubkeyAuthentication and AuthenticationMethods in sshd_config
    "#);
}

#[tokio::test]
async fn a_server_that_wants_two_proofs_is_told() {
    let lab = lab_with(&["AuthenticationMethods publickey,password", "PasswordAuthentication yes"], Options::default());
    assert_snapshot!(lab.shown(&lab.error(&lab.host).await), @r#"
    LoginRefused: dal-1 (USER@ADDRESS:PORT): refused the login of `USER`: $DIR/dal-1/etc/client_key accepted, but the server asks for a second proof as well (password)
    hint: a second proof is not supported: `AuthenticationMethods publickey` for this account in its sshd_config
    "#);
}
