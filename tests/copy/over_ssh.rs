//! The same between two hosts that only SSH reaches.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use migrate::copy::controller::Engine;
use migrate::copy::{Copier, CopyJob};
use migrate::ssh::{self, Pool};
use tempfile::TempDir;

use crate::lab::sshd::Sshd;
use crate::pair::differences;
use crate::tree::{DEEP, make_odd_tree};

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
            exclude: Vec::new(),
            delete: true,
            bandwidth: None,
        }
    }

    pub fn engine(&self) -> Engine {
        let hosts = [self.source.host(), self.target.host()].map(|host| (host.name.clone(), host));
        let environment = ssh::Environment {
            home: Some(self.dir.path().to_owned()),
            ssh_auth_sock: None,
            user: None,
            ssh_program: None,
            config_file: None,
        };
        let pool = Pool::new(environment, BTreeMap::from(hosts), ssh::Options::default());
        Engine::new(Arc::new(pool), PathBuf::from(env!("CARGO_BIN_EXE_migrate")))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tree_goes_from_host_to_host_and_the_agents_are_gone_afterwards() {
    let hosts = Hosts::start();
    let (engine, job) = (hosts.engine(), hosts.job());
    let (from, to) = (PathBuf::from(&job.from), PathBuf::from(&job.to));
    fs::create_dir(&from).unwrap();
    make_odd_tree(&from);
    let first = engine.pass(&job, &|_| {}).await.unwrap();
    assert!(first.files_sent > 30);
    let skip = format!("--exclude=/{}/", String::from_utf8_lossy(&DEEP));
    assert_eq!(differences(&from, &to, &[&skip]), "");
    fs::write(from.join("plain"), b"changed").unwrap();
    assert_eq!(engine.pass(&job, &|_| {}).await.unwrap().files_sent, 1);
    assert_eq!(engine.verify(&job, &|_| {}).await.unwrap().different, 0);
    for (host, sshd) in [(&job.source, &hosts.source), (&job.target, &hosts.target)] {
        engine.clean_up(host, std::slice::from_ref(&job.id)).await.unwrap();
        assert!(!sshd.home().join(".migrate").exists());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_is_down_is_named_and_worth_another_try() {
    let mut hosts = Hosts::start();
    let (engine, job) = (hosts.engine(), hosts.job());
    fs::create_dir(&job.from).unwrap();
    hosts.target.stop();
    let error = engine.pass(&job, &|_| {}).await.unwrap_err();
    assert_eq!(error.host, "new");
    assert!(error.retryable, "{error:?}");
    hosts.target.start_again();
    engine.pass(&job, &|_| {}).await.unwrap();
}
