//! A source and a target on this machine, and the engine between them.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use migrate::copy::controller::{Agents, Engine, Local, Transport};
use migrate::copy::{Copier, CopyJob, OnProgress, PassReport, Preview, VerifyMode, VerifyReport};
use migrate::model::{Host, SshTarget, TreeRules};
use migrate::outside::Error;
use tempfile::TempDir;

use crate::copy::tree::DEEP;
use crate::lab::agent;
use crate::lab::packages::program;

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
    Engine::new(Arc::new(transport), Agents::of_file(agent::program()))
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
            rules: TreeRules { delete: true, ..TreeRules::default() },
            bandwidth: None,
            path: Default::default(),
            checksum: false,
            listed: false,
            fresh: true,
        };
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        let engine = engine(Local);
        Self { dir, job, runtime, engine }
    }

    /// The same with agents that are started in another way.
    pub fn through(self, transport: impl Transport + 'static) -> Self {
        Self { engine: engine(transport), ..self }
    }

    /// Empties both sides for another job, with the agents where they are.
    pub fn start_over(&mut self, job: &str) {
        for side in [self.source(), self.target()] {
            let _ = std::fs::remove_dir_all(side);
        }
        std::fs::create_dir(self.source()).unwrap();
        self.job.id = job.to_owned();
    }

    /// The same without a change watch.
    pub fn sweeping() -> Self {
        Self { engine: engine(Local).sweeping(), ..Self::new() }
    }

    pub fn source(&self) -> PathBuf {
        self.dir.path().join("source")
    }

    pub fn target(&self) -> PathBuf {
        self.dir.path().join("target")
    }

    pub fn try_pass(&self) -> Result<PassReport, Error> {
        self.try_pass_with(&|_| {})
    }

    pub fn try_pass_with(&self, progress: OnProgress<'_>) -> Result<PassReport, Error> {
        self.runtime.block_on(self.engine.pass(&self.job, progress))
    }

    pub fn try_preview(&self) -> Result<Preview, Error> {
        self.runtime.block_on(self.engine.preview(&self.job, true, &|_| {}))
    }

    pub fn pass(&self) -> PassReport {
        self.try_pass().unwrap_or_else(|e| panic!("{e:?}"))
    }

    pub fn try_verify(&self) -> Result<VerifyReport, Error> {
        self.runtime.block_on(self.engine.verify(&self.job, VerifyMode::Frozen, &|_| {}))
    }

    /// Reads everything.
    pub fn verify(&self) -> VerifyReport {
        self.try_verify().unwrap_or_else(|e| panic!("{e:?}"))
    }

    /// Reads what it does not know, as a migration does.
    pub fn compare(&self, when: VerifyMode) -> VerifyReport {
        let job = CopyJob { fresh: false, ..self.job.clone() };
        self.runtime.block_on(self.engine.verify(&job, when, &|_| {})).unwrap_or_else(|e| panic!("{e:?}"))
    }

    /// Sends what differs by its content, as a migration does after a comparison.
    pub fn send_again(&self) -> PassReport {
        let job = CopyJob { fresh: false, checksum: true, ..self.job.clone() };
        self.runtime.block_on(self.engine.pass(&job, &|_| {})).unwrap_or_else(|e| panic!("{e:?}"))
    }

    /// Changes how fast what is under way may go.
    pub fn limit(&self, bandwidth: Option<u64>) {
        self.engine.limit(&self.job.id, bandwidth);
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

/// Compares what `stat`, `getfattr` and `getfacl` say of both trees, but for what is too deep for them.
pub fn assert_told_the_same(source: &Path, target: &Path) {
    for (name, package, args) in [
        // Type and permissions, owners, names of the inode, device, time of modification to the nanosecond.
        ("stat", "coreutils", &["-c", "%n|%f|%u|%g|%h|%t:%T|%.9Y"][..]),
        ("getfattr", "attr", &["-h", "-d", "-m", "-", "-e", "hex"]),
        ("getfacl", "acl", &["-n", "-p", "-E"]),
    ] {
        let told = |root: &Path| {
            let mut paths = Vec::new();
            // The last would follow symlinks, which have no ACL.
            list(root, Path::new("."), name != "getfacl", &mut paths);
            paths.sort();
            let out = Command::new(program(name, package)).args(args).args(&paths).current_dir(root).output().unwrap();
            String::from_utf8_lossy(&out.stdout).into_owned()
        };
        let (ours, theirs) = (told(source), told(target));
        assert!(ours.lines().count() > 10, "{name} says too little: {ours}");
        assert_eq!(ours, theirs, "{name}");
    }
}

fn list(root: &Path, dir: &Path, links: bool, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(root.join(dir)).unwrap().flatten() {
        let (path, kind) = (dir.join(entry.file_name()), entry.file_type().unwrap());
        if entry.file_name().as_encoded_bytes() == DEEP {
            continue;
        }
        if links || !kind.is_symlink() {
            found.push(path.clone());
        }
        if kind.is_dir() {
            list(root, &path, links, found);
        }
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
