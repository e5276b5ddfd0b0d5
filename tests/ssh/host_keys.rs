//! Keys and certificates of hosts: which are trusted, and what is said of others.

use std::process::Command as Process;

use crate::lab::sshd::{make_key, public};
use insta::assert_snapshot;

use super::keys::Authority;
use super::*;

#[tokio::test]
async fn a_host_that_is_known_by_its_rsa_key_is_reached() {
    for taken in ["rsa-sha2-512", "rsa-sha2-256"] {
        let (lab, _dir) = with_rsa_host_key(&[&format!("HostKeyAlgorithms {taken}")]);
        assert_eq!(text(&lab.run("echo in").await.stdout), "in\n", "{taken}");
    }
    // The Ed25519 key, which nobody knows, would be preferred.
    let (lab, _dir) = with_rsa_host_key(&[]);
    assert_eq!(text(&lab.run("echo in").await.stdout), "in\n");
}

#[tokio::test]
async fn a_host_key_that_proves_itself_by_sha_1_is_refused() {
    let (lab, _dir) = with_rsa_host_key(&["HostKeyAlgorithms ssh-rsa"]);
    assert_snapshot!(lab.shown(&lab.error(&lab.host).await), @r#"
    Unreachable: dal-1 (USER@ADDRESS:PORT): offers only kinds of host keys that are not taken here (ssh-rsa)
    hint: `ssh-rsa` is RSA with SHA-1, which proves nothing any more (OpenSSH before 7.2 has no other RSA): give the host an Ed25519 key: `ssh-keygen -A` there, then restart its sshd
    "#);
}

/// A host with an Ed25519 and an RSA key, of which only the latter is known.
fn with_rsa_host_key(options: &[&str]) -> (Lab, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let rsa = dir.path().join("rsa");
    make_key(&rsa, "rsa", "host");
    let host_key = format!("HostKey {}", rsa.display());
    let options: Vec<&str> = options.iter().copied().chain([host_key.as_str()]).collect();
    let lab = lab_with(&options, Options::default());
    std::fs::write(lab.sshd.known_hosts(), format!("{} {}", lab.sshd.known_name(), public(&rsa))).unwrap();
    (lab, dir)
}

impl Authority {
    /// Where the certificate of a lab host lies.
    fn certificate(&self) -> PathBuf {
        self.key().with_file_name("host-cert.pub")
    }

    /// A host that shows the certificate, once there is one, and that is known by the authority alone.
    fn lab(&self) -> Lab {
        let lab = lab_with(&[&format!("HostCertificate {}", self.certificate().display())], Options::default());
        std::fs::write(lab.sshd.known_hosts(), format!("@cert-authority * {}", public(&self.key()))).unwrap();
        lab
    }

    /// Gives the host a certificate.
    fn vouch_for(&self, lab: &mut Lab, args: &[&str]) {
        let args: Vec<&str> = ["-h"].into_iter().chain(args.iter().copied()).collect();
        self.give(lab, &args);
    }

    fn give(&self, lab: &mut Lab, args: &[&str]) {
        let made = self.sign(&lab.sshd.host_key(), args);
        std::fs::rename(made, self.certificate()).unwrap();
        lab.sshd.stop();
        lab.sshd.start_again();
    }
}

impl Lab {
    fn address(&self) -> String {
        self.sshd.addr().ip().to_string()
    }

    fn know(&self, lines: &str) {
        std::fs::write(self.sshd.known_hosts(), lines).unwrap();
    }
}

#[tokio::test]
async fn a_host_certificate_of_a_trusted_authority_is_enough() {
    for kind in ["ed25519", "ecdsa", "rsa"] {
        let authority = Authority::new(kind);
        let mut lab = authority.lab();
        let address = lab.address();
        authority.vouch_for(&mut lab, &["-n", &format!("web.example.org,{address}")]);
        assert_eq!(text(&lab.run("echo in").await.stdout), "in\n", "{kind}");
        lab.pool.close().await;
        // Hosts of a net, by a pattern in the certificate.
        authority.vouch_for(&mut lab, &["-n", "127.*"]);
        assert_eq!(text(&lab.run("echo in").await.stdout), "in\n", "{kind}");
    }
}

#[tokio::test]
async fn an_rsa_host_key_with_a_certificate_is_enough() {
    let authority = Authority::new("rsa");
    let (lab, dir) = with_rsa_host_key(&[&format!("HostCertificate {}", authority.certificate().display())]);
    let made = authority.sign(&dir.path().join("rsa"), &["-h", "-n", &lab.address()]);
    std::fs::rename(made, authority.certificate()).unwrap();
    lab.know(&format!("@cert-authority * {}", public(&authority.key())));
    assert_eq!(text(&lab.run("echo in").await.stdout), "in\n");
}

#[tokio::test]
async fn a_host_certificate_that_does_not_count_says_why() {
    let authority = Authority::new("ed25519");
    let mut lab = authority.lab();
    let address = lab.address();
    authority.vouch_for(&mut lab, &["-n", &address, "-V", "20200101000000Z:20200102000000Z"]);
    assert_snapshot!(lab.shown(&lab.error(&lab.host).await), @r#"
    UnknownHostKey: dal-1 (USER@ADDRESS:PORT): its certificate (ID deploy key, serial 0) expired on 2020-01-02T00:00:00Z; its ssh-ed25519 key FINGERPRINT is unknown: it is not in $DIR/dal-1/etc/known_hosts
    hint: have the host's key signed anew, and look at this machine's clock
    "#);
    authority.vouch_for(&mut lab, &["-n", &address, "-V", "20990101000000Z:20990102000000Z"]);
    assert_snapshot!(lab.shown(&lab.error(&lab.host).await), @r#"
    UnknownHostKey: dal-1 (USER@ADDRESS:PORT): its certificate (ID deploy key, serial 0) is not valid before 2099-01-01T00:00:00Z; its ssh-ed25519 key FINGERPRINT is unknown: it is not in $DIR/dal-1/etc/known_hosts
    hint: have the host's key signed anew, and look at this machine's clock
    "#);
    authority.vouch_for(&mut lab, &["-n", "web1,*.example.org"]);
    assert_snapshot!(lab.shown(&lab.error(&lab.host).await), @r#"
    UnknownHostKey: dal-1 (USER@ADDRESS:PORT): its certificate (ID deploy key, serial 0) is for web1 and *.example.org, not for ADDRESS; its ssh-ed25519 key FINGERPRINT is unknown: it is not in $DIR/dal-1/etc/known_hosts
    hint: connect by a name that it is for (`address` in the inventory, HostName or HostKeyAlias in ssh_config), or have the host's key signed with `-n ADDRESS`
    "#);
    // Before OpenSSH 10.3, this is for every host.
    authority.vouch_for(&mut lab, &[]);
    assert_snapshot!(lab.shown(&lab.error(&lab.host).await), @r#"
    UnknownHostKey: dal-1 (USER@ADDRESS:PORT): its certificate (ID deploy key, serial 0) is for nobody, not for ADDRESS; its ssh-ed25519 key FINGERPRINT is unknown: it is not in $DIR/dal-1/etc/known_hosts
    hint: connect by a name that it is for (`address` in the inventory, HostName or HostKeyAlias in ssh_config), or have the host's key signed with `-n ADDRESS`
    "#);
}

#[tokio::test]
async fn a_users_certificate_is_not_shown_by_hosts_and_vouches_for_none() {
    let authority = Authority::new("ed25519");
    let mut lab = authority.lab();
    let address = lab.address();
    // sshd loads it nevertheless.
    authority.give(&mut lab, &["-n", &address]);
    assert_snapshot!(lab.shown(&lab.error(&lab.host).await), @r#"
    UnknownHostKey: dal-1 (USER@ADDRESS:PORT): its certificate (ID deploy key, serial 0) is one for a user, not for a host; its ssh-ed25519 key FINGERPRINT is unknown: it is not in $DIR/dal-1/etc/known_hosts
    hint: have the host's key signed as one: ssh-keygen -h -s CA -I ID -n ADDRESS KEY.pub
    "#);
}

#[tokio::test]
async fn a_certificate_that_is_signed_with_sha_1_does_not_count() {
    let authority = Authority::new("rsa");
    let mut lab = authority.lab();
    let address = lab.address();
    authority.vouch_for(&mut lab, &["-t", "ssh-rsa", "-n", &address]);
    assert_snapshot!(lab.shown(&lab.error(&lab.host).await), @r#"
    UnknownHostKey: dal-1 (USER@ADDRESS:PORT): its certificate (ID deploy key, serial 0) is signed by ssh-rsa, which is SHA-1; its ssh-ed25519 key FINGERPRINT is unknown: it is not in $DIR/dal-1/etc/known_hosts
    hint: have the host's key signed anew, by `ssh-keygen -t rsa-sha2-512` or an authority with an Ed25519 key
    "#);
}

#[tokio::test]
async fn a_certificate_of_another_authority_does_not_count_but_a_known_key_in_it_does() {
    let authority = Authority::new("ed25519");
    let mut lab = authority.lab();
    let address = lab.address();
    authority.vouch_for(&mut lab, &["-n", &address]);
    let other = format!("@cert-authority * {}", public(&Authority::new("ed25519").key()));
    lab.know(&other);
    assert_snapshot!(lab.shown(&lab.error(&lab.host).await), @r#"
    UnknownHostKey: dal-1 (USER@ADDRESS:PORT): its certificate (ID deploy key, serial 0) is signed by an authority (FINGERPRINT) that no @cert-authority line trusts for this host; its ssh-ed25519 key FINGERPRINT is unknown: it is not in $DIR/dal-1/etc/known_hosts
    hint: compare the fingerprint with that of your authority (`ssh-keygen -lf CA.pub`); if it is the same, add its public key to known_hosts, with `@cert-authority PATTERN ` before it
    "#);
    lab.know(&format!("{other}{} {}", lab.sshd.known_name(), public(&lab.sshd.host_key())));
    assert_eq!(text(&lab.run("echo in").await.stdout), "in\n");
}

#[tokio::test]
async fn authorities_are_trusted_for_the_hosts_of_their_lines_only() {
    let authority = Authority::new("ed25519");
    let mut lab = authority.lab();
    let address = lab.address();
    authority.vouch_for(&mut lab, &["-n", &address]);
    lab.know(&format!("@cert-authority *.example.org {}", public(&authority.key())));
    assert_eq!(lab.error(&lab.host).await.kind, migrate::outside::Kind::UnknownHostKey);
    lab.know(&format!("@cert-authority *,!{address},![{address}]:* {}", public(&authority.key())));
    assert_eq!(lab.error(&lab.host).await.kind, migrate::outside::Kind::UnknownHostKey);
    lab.know(&format!("@cert-authority {address} {}", public(&authority.key())));
    assert_eq!(text(&lab.run("echo in").await.stdout), "in\n", "a line without the port");
}

#[tokio::test]
async fn what_is_revoked_does_not_count_whoever_vouches_for_it() {
    let authority = Authority::new("ed25519");
    let mut lab = authority.lab();
    let address = lab.address();
    authority.vouch_for(&mut lab, &["-n", &address]);
    let trusted = format!("@cert-authority * {}", public(&authority.key()));
    let known = format!("{} {}", lab.sshd.known_name(), public(&lab.sshd.host_key()));
    lab.know(&format!("{trusted}{known}@revoked * {}", public(&authority.key())));
    assert_snapshot!(lab.shown(&lab.error(&lab.host).await), @r#"
    ChangedHostKey: dal-1 (USER@ADDRESS:PORT): its certificate (ID deploy key, serial 0) does not count: its authority was revoked by $DIR/dal-1/etc/known_hosts:3
    hint: have the host's key signed by an authority that is trusted
    "#);
    lab.know(&format!("{trusted}@revoked * {}", public(&lab.sshd.host_key())));
    assert_snapshot!(lab.shown(&lab.error(&lab.host).await), @r#"
    ChangedHostKey: dal-1 (USER@ADDRESS:PORT): its certificate (ID deploy key, serial 0) does not count: its key was revoked by $DIR/dal-1/etc/known_hosts:2
    hint: whoever holds this key must not be trusted: give the host a new key and certificate
    "#);
}

#[tokio::test]
async fn a_host_without_its_certificate_is_told_from_an_unknown_one() {
    let authority = Authority::new("ed25519");
    let lab = authority.lab();
    assert_snapshot!(lab.shown(&lab.error(&lab.host).await), @r#"
    UnknownHostKey: dal-1 (USER@ADDRESS:PORT): its ssh-ed25519 key FINGERPRINT is unknown: it is not in $DIR/dal-1/etc/known_hosts; $DIR/dal-1/etc/known_hosts:1 trusts an authority, but the host shows no certificate
    hint: compare the fingerprint with the host's own (`ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub` on its console); if it is the same, add it: ssh-keyscan -p PORT -t ed25519 ADDRESS >> $DIR/dal-1/etc/known_hosts
    "#);
}

#[tokio::test]
async fn a_certificate_has_to_be_for_the_alias() {
    let authority = Authority::new("ed25519");
    let mut lab = authority.lab();
    authority.vouch_for(&mut lab, &["-n", "cluster"]);
    lab.use_config("Host *\n HostKeyAlias cluster\n");
    assert_eq!(text(&lab.run("echo in").await.stdout), "in\n");
    lab.use_config("Host *\n HostKeyAlias cluster2\n");
    assert!(lab.error(&lab.host).await.what.contains("is for cluster, not for cluster2"));
}

#[tokio::test]
async fn known_hosts_command_is_asked() {
    let mut lab = lab();
    let printed = lab.sshd.known_hosts();
    lab.host.ssh.known_hosts = None;
    let config = |command: &str| {
        format!("Host *\n UserKnownHostsFile /nonexistent\n GlobalKnownHostsFile none\n KnownHostsCommand {command}\n")
    };
    lab.use_config(&config(&format!("/bin/cat {}", printed.display())));
    assert_eq!(text(&lab.run("echo in").await.stdout), "in\n");
    // One that answers only when it is told which key it is about.
    let script = lab.dir.path().join("by key");
    let line = format!(
        "test \"$1\" = HOSTNAME && echo \"$2 $3 $4\" | grep -xF '{} {}'\nexit 0\n",
        lab.sshd.known_name(),
        public_words(&lab)
    );
    std::fs::write(&script, line).unwrap();
    lab.use_config(&config(&format!("/bin/sh \"{}\" %I %H %t %K", script.display())));
    assert_eq!(text(&lab.run("echo in").await.stdout), "in\n");
}

fn public_words(lab: &Lab) -> String {
    public(&lab.sshd.host_key()).split(' ').take(2).collect::<Vec<_>>().join(" ")
}

#[tokio::test]
async fn a_known_hosts_command_that_fails_or_knows_nothing_is_told() {
    let mut lab = lab();
    let inventory = lab.host.clone();
    lab.host.ssh.known_hosts = None;
    let config = |command: &str| {
        format!("Host *\n UserKnownHostsFile /nonexistent\n GlobalKnownHostsFile none\n KnownHostsCommand {command}\n")
    };
    lab.use_config(&config("/bin/sh -c \"echo 'no such realm' >&2; exit 3\""));
    assert_snapshot!(lab.shown(&lab.error(&lab.host).await), @r#"
    Config: dal-1 (USER@ADDRESS:PORT): KnownHostsCommand `/bin/sh -c echo 'no such realm' >&2; exit 3` failed (exit status: 3): no such realm
    hint: run it by hand, or name a file by `known_hosts` under `ssh` in the inventory instead
    "#);
    assert_eq!(
        text(
            &lab.pool
                .run(&inventory, &Command { script: "echo in".into(), ..Command::default() })
                .await
                .unwrap()
                .stdout
        ),
        "in\n"
    );
    lab.use_config(&config("/bin/true"));
    assert_snapshot!(lab.shown(&lab.error(&lab.host).await), @r#"
    UnknownHostKey: dal-1 (USER@ADDRESS:PORT): its ssh-ed25519 key FINGERPRINT is unknown: it is not in /nonexistent (does not exist) and what KnownHostsCommand prints
    hint: compare the fingerprint with the host's own (`ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub` on its console); if it is the same, add it: ssh-keyscan -p PORT -t ed25519 ADDRESS >> /nonexistent
    "#);
    lab.use_config(&config("true"));
    assert_snapshot!(lab.shown(&lab.error(&lab.host).await), @r#"
    Config: dal-1: ssh_config has the KnownHostsCommand `true`: it has to begin with an absolute path
    hint: -
    "#);
}

#[tokio::test]
async fn the_line_that_adds_a_key_has_the_alias_and_goes_into_the_users_own_file() {
    let mut lab = lab();
    lab.host.ssh.known_hosts = None;
    lab.use_config(&format!(
        "Host *\n HostKeyAlias cluster\n UserKnownHostsFile {}\n GlobalKnownHostsFile /etc/ssh/ssh_known_hosts\n",
        lab.dir.path().join("own").display()
    ));
    let error = lab.error(&lab.host).await;
    assert_snapshot!(lab.shown(&error), @r#"
    UnknownHostKey: dal-1 (USER@ADDRESS:PORT): its ssh-ed25519 key FINGERPRINT is unknown: it is not in $DIR/own (does not exist) and /etc/ssh/ssh_known_hosts (does not exist)
    hint: compare the fingerprint with the host's own (`ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub` on its console); if it is the same, add it: ssh-keyscan -p PORT -t ed25519 ADDRESS | sed "s/^[^ ]*/cluster/" >> $DIR/own
    "#);
    // What is printed works.
    let command = error.hint.unwrap().split_once("add it: ").unwrap().1.to_owned();
    let out = Process::new("sh").args(["-c", &command]).output().unwrap();
    assert!(out.status.success(), "{}", text(&out.stderr));
    assert_eq!(text(&lab.run("echo in").await.stdout), "in\n");
}

#[tokio::test]
async fn the_line_that_adds_a_key_is_for_a_file_that_is_read() {
    let mut lab = lab();
    lab.host.ssh.known_hosts = None;
    lab.use_config("Host *\n UserKnownHostsFile /dev/null\n GlobalKnownHostsFile /etc/ssh/ssh_known_hosts\n StrictHostKeyChecking no\n");
    assert_snapshot!(lab.shown(&lab.error(&lab.host).await), @r#"
    UnknownHostKey: dal-1 (USER@ADDRESS:PORT): its ssh-ed25519 key FINGERPRINT is unknown: it is not in /dev/null and /etc/ssh/ssh_known_hosts (does not exist)
    hint: compare the fingerprint with the host's own (`ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub` on its console); if it is the same, add it: ssh-keyscan -p PORT -t ed25519 ADDRESS >> ~/.ssh/known_hosts, and name that file by `known_hosts` under `ssh` in the inventory, since ssh_config does not
    "#);
}

#[tokio::test]
async fn the_line_that_adds_a_key_of_a_host_behind_another_is_the_key_that_was_shown() {
    let mut lab = lab();
    let bastion = Sshd::start(&lab.dir.path().join("bastion"), "bastion");
    let hosts = BTreeMap::from([("bastion".to_owned(), bastion.host())]);
    lab.pool = Pool::new(environment(lab.dir.path()), hosts, Options::default());
    lab.host.ssh.jump = vec!["bastion".to_owned()];
    lab.know("");
    let error = lab.error(&lab.host).await;
    let command = error.hint.unwrap().split_once("add it: ").unwrap().1.to_owned();
    assert_eq!(
        command,
        format!("echo '{} {}' >> {}", lab.sshd.known_name(), public_words(&lab), lab.sshd.known_hosts().display())
    );
    let out = Process::new("sh").args(["-c", &command]).output().unwrap();
    assert!(out.status.success(), "{}", text(&out.stderr));
    assert_eq!(text(&lab.run("echo in").await.stdout), "in\n");
}
