//! The same between two hosts that only SSH reaches.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use migrate::clock::SystemClock;
use migrate::copy::controller::{Agents, Engine};
use migrate::copy::{Copier, CopyJob, DataRoute, VerifyMode};
use migrate::host::{Command, Hosts as _, ReceiptKey, ReceiptStatus, run_once};
use migrate::model::{DataPath, Host, TreeRules};
use migrate::ssh::{self, Pool};
use tempfile::TempDir;

use crate::copy::pair::differences;
use crate::copy::tree::{DEEP, make_odd_tree, noise};
use crate::lab::sshd::Sshd;

pub struct Hosts {
    pub source: Sshd,
    pub target: Sshd,
    pub dir: TempDir,
}

impl Hosts {
    pub fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (source, target) = (Sshd::start(&dir.path().join("a"), "old"), Sshd::start(&dir.path().join("b"), "new"));
        Self { source, target, dir }
    }

    pub fn job(&self) -> CopyJob {
        let path = |name: &str| self.dir.path().join(name).to_str().unwrap().to_owned();
        CopyJob {
            id: "over-ssh".to_owned(),
            source: self.source.host(),
            target: self.target.host(),
            from: path("data-old"),
            to: path("data-new"),
            rules: TreeRules { delete: true, ..TreeRules::default() },
            bandwidth: None,
            path: DataPath::Auto,
            checksum: false,
            listed: false,
            fresh: true,
        }
    }

    pub fn engine(&self) -> Engine {
        self.engine_to(self.target.host())
    }

    /// The same where the target is reached in another way.
    pub fn engine_to(&self, target: Host) -> Engine {
        Engine::new(Arc::new(self.pool_to(target)), Agents::of_file(crate::lab::agent::program()))
    }

    fn pool_to(&self, target: Host) -> Pool {
        let hosts = [self.source.host(), target].map(|host| (host.name.clone(), host));
        let environment = ssh::Environment {
            home: Some(self.dir.path().to_owned()),
            ssh_auth_sock: None,
            user: None,
            ssh_program: None,
            config_file: None,
        };
        Pool::new(environment, BTreeMap::from(hosts), ssh::Options::default())
    }
}

impl Hosts {
    /// What the target's sshd has logged about keys of copies.
    pub fn direct_logins(&self) -> usize {
        let key = "Accepted publickey";
        let log = self.target.log_text();
        let own = fs::read_to_string(self.target.client_key().with_extension("pub")).unwrap();
        let fingerprint = fingerprint(&own);
        log.lines().filter(|line| line.contains(key) && !line.contains(&fingerprint)).count()
    }

    /// Receiving agents on the target.
    pub fn receivers(&self) -> Vec<u32> {
        let receives = |pid: &u32| {
            let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            let mut words = line.split(|b| *b == 0);
            words.next().is_some_and(|w| w.windows(7).any(|w| w == b"/agent-")) && words.nth(1) == Some(b"receive")
        };
        self.target.session_processes().into_iter().filter(receives).collect()
    }

    fn authorized_keys(&self) -> String {
        fs::read_to_string(self.target.home().join(".ssh/authorized_keys")).unwrap()
    }
}

fn fingerprint(public: &str) -> String {
    let key = russh::keys::PublicKey::from_openssh(public.trim()).unwrap();
    key.fingerprint(russh::keys::HashAlg::Sha256).to_string()
}

/// Copies, catches up and compares; the way that the data took.
async fn copy_and_compare(hosts: &Hosts, path: DataPath) -> DataRoute {
    let (engine, job) = (hosts.engine(), CopyJob { path, ..hosts.job() });
    let (from, to) = (PathBuf::from(&job.from), PathBuf::from(&job.to));
    fs::create_dir(&from).unwrap();
    make_odd_tree(&from);
    let first = engine.pass(&job, &|_| {}).await.unwrap();
    assert!(first.files_sent > 30);
    let skip = format!("--exclude=/{}/", String::from_utf8_lossy(&DEEP));
    assert_eq!(differences(&from, &to, &[&skip]), "");
    fs::write(from.join("plain"), b"changed").unwrap();
    assert_eq!(engine.pass(&job, &|_| {}).await.unwrap().files_sent, 1);
    assert_eq!(engine.verify(&job, VerifyMode::Frozen, &|_| {}).await.unwrap().different, 0);
    assert!(!hosts.authorized_keys().contains("migrate-copy"), "{}", hosts.authorized_keys());
    for (host, sshd) in [(&job.source, &hosts.source), (&job.target, &hosts.target)] {
        engine.clean_up(host, std::slice::from_ref(&job.id)).await.unwrap();
        assert!(!sshd.home().join(".migrate").exists());
    }
    first.way
}

/// Whether the data went through the controller for a reason that says `why`.
fn is_relayed(way: &DataRoute, why: &str) -> bool {
    matches!(way, DataRoute::Relayed { why: said } if said.contains(why))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tree_goes_straight_from_host_to_host_and_neither_key_nor_agent_stays() {
    let hosts = Hosts::start();
    assert_eq!(copy_and_compare(&hosts, DataPath::Direct).await, DataRoute::Direct);
    assert_eq!(hosts.direct_logins(), 3, "{}", hosts.target.log_text());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tree_goes_through_the_controller_when_it_has_to() {
    let hosts = Hosts::start();
    assert_eq!(copy_and_compare(&hosts, DataPath::Relay).await, DataRoute::Relayed { why: String::new() });
    assert_eq!(hosts.direct_logins(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn where_the_source_cannot_log_in_the_controller_relays() {
    let dir = tempfile::tempdir().unwrap();
    let source = Sshd::start(&dir.path().join("a"), "old");
    let at = lab_address();
    // Keys of copies go to a file that this sshd does not read.
    let keys = format!("AuthorizedKeysFile {}/b/etc/only_these", dir.path().display());
    let target = Sshd::start_at(&dir.path().join("b"), "new", at, &[&keys]);
    let own = dir.path().join("b/home/.ssh/authorized_keys");
    fs::copy(&own, dir.path().join("b/etc/only_these")).unwrap();
    let hosts = Hosts { source, target, dir };
    let way = copy_and_compare(&hosts, DataPath::Auto).await;
    assert!(is_relayed(&way, "does not accept this copy's key"), "{way}");
    assert_eq!(hosts.direct_logins(), 0);
}

/// A target whose sshd has these lines in its configuration.
fn with_target_options(options: &[&str]) -> Hosts {
    let dir = tempfile::tempdir().unwrap();
    let source = Sshd::start(&dir.path().join("a"), "old");
    let target = Sshd::start_at(&dir.path().join("b"), "new", lab_address(), options);
    Hosts { source, target, dir }
}

#[tokio::test(flavor = "multi_thread")]
async fn where_something_else_than_the_agent_answers_the_controller_relays() {
    // It wins over the command that the copy's key is bound to.
    let hosts = with_target_options(&[r#"ForceCommand echo Authorised use only; sh -c "$SSH_ORIGINAL_COMMAND""#]);
    let way = copy_and_compare(&hosts, DataPath::Auto).await;
    assert!(is_relayed(&way, "does sshd there force a command?"), "{way}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_that_must_go_from_host_to_host_says_why_it_cannot() {
    let hosts = with_target_options(&[r#"ForceCommand sh -c "$SSH_ORIGINAL_COMMAND""#]);
    let job = CopyJob { path: DataPath::Direct, ..hosts.job() };
    fs::create_dir(&job.from).unwrap();
    let error = hosts.engine().pass(&job, &|_| {}).await.unwrap_err();
    assert!(error.what.contains("does sshd there force a command?"), "{error}");
    assert!(!std::path::Path::new(&job.to).exists());
    assert!(!hosts.authorized_keys().contains("migrate-copy"), "{}", hosts.authorized_keys());
}

fn lab_address() -> std::net::SocketAddr {
    let ip = crate::lab::sshd::next_address();
    std::net::SocketAddr::new(ip, crate::lab::process::free_port(ip))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_left_by_a_killed_controller_goes_at_the_next_start_of_the_copy() {
    let hosts = Hosts::start();
    let (engine, job) = (hosts.engine(), hosts.job());
    fs::create_dir(&job.from).unwrap();
    fs::write(std::path::Path::new(&job.from).join("a"), b"1").unwrap();
    let file = hosts.target.home().join(".ssh/authorized_keys");
    let before = fs::read_to_string(&file).unwrap();
    let stale = "restrict,command=\"true\" ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIA== migrate-copy:over-ssh\n";
    fs::write(&file, format!("{before}{stale}")).unwrap();
    engine.pass(&job, &|_| {}).await.unwrap();
    assert_eq!(hosts.authorized_keys(), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_cut_on_the_direct_path_is_worth_another_try() {
    let hosts = Hosts::start();
    let (engine, job) = (hosts.engine(), hosts.job());
    let (from, to) = (PathBuf::from(&job.from), PathBuf::from(&job.to));
    fs::create_dir(&from).unwrap();
    for n in 0..6 {
        fs::write(from.join(format!("f{n}")), noise(n, 20 << 20)).unwrap();
    }
    let mut job = job;
    job.bandwidth = Some(5 << 20);
    let cut = async {
        while !to.join(".").exists() || fs::read_dir(&to).unwrap().count() < 2 {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        hosts.target.cut_connections();
    };
    let (result, ()) = tokio::join!(engine.pass(&job, &|_| {}), cut);
    let error = result.unwrap_err();
    assert!(error.transient, "{error:?}");
    job.bandwidth = None;
    engine.pass(&job, &|_| {}).await.unwrap();
    assert_eq!(differences(&from, &to, &[]), "");
    assert!(!hosts.authorized_keys().contains("migrate-copy"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_is_down_is_named_and_worth_another_try() {
    let mut hosts = Hosts::start();
    let (engine, job) = (hosts.engine(), hosts.job());
    fs::create_dir(&job.from).unwrap();
    hosts.target.stop();
    let error = engine.pass(&job, &|_| {}).await.unwrap_err();
    assert_eq!(error.at, "new");
    assert!(error.transient, "{error:?}");
    hosts.target.start_again();
    engine.pass(&job, &|_| {}).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_that_dies_at_any_instant_of_the_direct_path_never_leaves_anyone_waiting() {
    let hosts = Hosts::start();
    let (engine, job) = (hosts.engine(), hosts.job());
    let (from, to) = (PathBuf::from(&job.from), PathBuf::from(&job.to));
    fs::create_dir(&from).unwrap();
    make_odd_tree(&from);
    for delay in [0, 20, 40, 60, 80, 120, 200, 300] {
        let cut = async {
            tokio::time::sleep(std::time::Duration::from_millis(400 + delay)).await;
            hosts.target.cut_connections();
        };
        let both = async { tokio::join!(engine.pass(&job, &|_| {}), cut) };
        let (result, ()) = tokio::time::timeout(crate::lab::process::PATIENCE, both).await.expect("someone waits");
        if let Err(error) = result {
            assert!(error.transient, "{error:?}");
        }
        fs::write(from.join("plain"), format!("{delay}")).unwrap();
    }
    engine.pass(&job, &|_| {}).await.unwrap();
    let skip = format!("--exclude=/{}/", String::from_utf8_lossy(&DEEP));
    assert_eq!(differences(&from, &to, &[&skip]), "");
}

#[tokio::test(flavor = "multi_thread")]
async fn hosts_that_share_one_home_do_not_take_away_what_another_one_needs() {
    let hosts = Hosts::start();
    let (one, other) = (&hosts.source, &hosts.target);
    // As NFS has it: the same files, and whoever may log in to one may log in to the other.
    let keys = |sshd: &Sshd| fs::read_to_string(sshd.home().join(".ssh/authorized_keys")).unwrap();
    let both = format!("{}{}", keys(one), keys(other));
    fs::remove_dir_all(other.home()).unwrap();
    std::os::unix::fs::symlink(one.home(), other.home()).unwrap();
    fs::write(one.home().join(".ssh/authorized_keys"), both).unwrap();
    let tree = hosts.dir.path().to_str().unwrap().to_owned();
    let engine = hosts.engine();
    // One after the other: what one removes the other one still has.
    engine.probe(&other.host(), std::slice::from_ref(&tree)).await.unwrap();
    engine.probe(&one.host(), &[]).await.unwrap();
    engine.clean_up(&one.host(), &["over-ssh".to_owned()]).await.unwrap();
    engine.probe(&other.host(), std::slice::from_ref(&tree)).await.unwrap();
    // Both at the same time, again and again.
    let again = async |sshd: &Sshd| {
        for _ in 0..8 {
            engine.probe(&sshd.host(), std::slice::from_ref(&tree)).await.unwrap();
            engine.clean_up(&sshd.host(), &[]).await.unwrap();
        }
    };
    tokio::join!(again(one), again(other));
    assert_eq!(agents(one), Vec::<String>::new());
    // So with receipts: a command that has run on one of them has run, whatever the other one forgets.
    let pool = hosts.pool_to(other.host());
    let key = ReceiptKey::new("run-1", "step").unwrap();
    let command = Command { script: "echo ran >>~/times; cat ~/times".to_owned(), ..Command::default() };
    for sshd in [one, other] {
        let ended = run_once(&pool, &SystemClock, &sshd.host(), &key, 1, &command).await.unwrap();
        assert!(matches!(ended, ReceiptStatus::Finished(_)), "{ended:?}");
    }
    pool.forget(&one.host(), "run-1").await.unwrap();
    let ended = run_once(&pool, &SystemClock, &other.host(), &key, 1, &command).await.unwrap();
    let ReceiptStatus::Finished(output) = ended else { panic!("{ended:?}") };
    assert_eq!(output.stdout, b"ran\nran\n", "it ran again");
}

fn agents(sshd: &Sshd) -> Vec<String> {
    let there = fs::read_dir(sshd.home().join(".migrate")).into_iter().flatten().flatten();
    there
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .filter(|name| name.starts_with("agent"))
        .collect()
}
