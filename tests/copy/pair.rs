//! A source and a target on this machine, and the engine between them.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use migrate::copy::controller::{Engine, Local, Transport};
use migrate::copy::{Copier, CopyError, CopyJob, PassReport, VerifyReport};
use migrate::spec::model::{Host, SshTarget};
use tempfile::TempDir;

use crate::lab::packages::program;
use crate::tree::DEEP;

pub struct Pair {
    pub dir: TempDir,
    pub job: CopyJob,
    runtime: tokio::runtime::Runtime,
    engine: Engine,
}

pub fn host(name: &str, work: &Path) -> Host {
    Host {
        name: name.to_owned(),
        site: None,
        address: "127.0.0.1".to_owned(),
        ssh: SshTarget { work_dir: Some(work.to_str().unwrap().to_owned()), ..SshTarget::default() },
        tags: Default::default(),
        capacity: 100,
        cost_per_month: None,
        vars: Default::default(),
    }
}

fn engine(transport: impl Transport + 'static) -> Engine {
    Engine::new(Arc::new(transport), PathBuf::from(env!("CARGO_BIN_EXE_migrate")))
}

impl Pair {
    pub fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("source")).unwrap();
        let job = CopyJob {
            id: "job-1".to_owned(),
            source: host("old", &dir.path().join("work-source")),
            target: host("new", &dir.path().join("work-target")),
            from: dir.path().join("source").to_str().unwrap().to_owned(),
            to: dir.path().join("target").to_str().unwrap().to_owned(),
            exclude: Vec::new(),
            delete: true,
            bandwidth: None,
            path: Default::default(),
            by_name: false,
            checksum: false,
        };
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        let engine = engine(Local);
        Self { dir, job, runtime, engine }
    }

    /// The same with agents that are started in another way.
    pub fn through(self, transport: impl Transport + 'static) -> Self {
        Self { engine: engine(transport), ..self }
    }

    pub fn source(&self) -> PathBuf {
        self.dir.path().join("source")
    }

    pub fn target(&self) -> PathBuf {
        self.dir.path().join("target")
    }

    pub fn try_pass(&self) -> Result<PassReport, CopyError> {
        self.runtime.block_on(self.engine.pass(&self.job, &|_| {}))
    }

    pub fn pass(&self) -> PassReport {
        self.try_pass().unwrap_or_else(|e| panic!("{e:?}"))
    }

    pub fn try_verify(&self) -> Result<VerifyReport, CopyError> {
        self.runtime.block_on(self.engine.verify(&self.job, &|_| {}))
    }

    pub fn verify(&self) -> VerifyReport {
        self.try_verify().unwrap_or_else(|e| panic!("{e:?}"))
    }

    pub fn clean_up(&self) {
        for host in [&self.job.source, &self.job.target] {
            self.runtime.block_on(self.engine.clean_up(host, std::slice::from_ref(&self.job.id))).unwrap();
        }
    }

    /// Compares both trees by rsync, which looks at everything by its own means.
    pub fn assert_same(&self) {
        let too_deep_for_rsync = format!("--exclude=/{}/", String::from_utf8_lossy(&DEEP));
        assert_eq!(differences(&self.source(), &self.target(), &[&too_deep_for_rsync]), "");
    }
}

/// What `rsync` would do to make `target` like `source`.
pub fn differences(source: &Path, target: &Path, more: &[&str]) -> String {
    let out = Command::new(program("rsync", "rsync"))
        .args(["-aHAXn", "--checksum", "--delete", "-i", "--modify-window=-1"])
        .args(more)
        .arg(format!("{}/", source.display()))
        .arg(format!("{}/", target.display()))
        .output()
        .unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8_lossy(&out.stdout).into_owned()
}
