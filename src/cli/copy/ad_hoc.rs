//! One ad-hoc copy: who is meant by its two places, and passes until it is done.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use tokio::sync::watch;

use super::Args;
use super::show::Show;
use crate::cli::connect;
use crate::cli::environment::{Environment, ProcessSecrets};
use crate::cli::failure::advised;
use crate::cli::load::BadFiles;
use crate::clock::SystemClock;
use crate::config::{self, LoadOptions};
use crate::copy::controller::{self, Engine, LocalOrSsh};
use crate::copy::fs::filter::Filter;
use crate::copy::location::{self, BadLocation, CopyRoots, Location, Login};
use crate::copy::{Copier, CopyJob, PassReport, Preview, VerifyMode, VerifyReport};
use crate::engine::Stop;
use crate::host::{Hosts, Obstacle};
use crate::model::{DataPath, Host, SshTarget, TreeRules};
use crate::outside::{Error, Kind};
use crate::retry::{Policy, Retry};
use crate::ssh::{self, Pool};

/// This machine; no inventory has a host of such a name.
const HERE: &str = "this machine";
/// How long cleaning up after a failure may take: the hosts may be out of reach.
const GOODBYE: Duration = Duration::from_secs(20);

/// How a copy ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// As it was meant to.
    Done,
    /// By a signal.
    Stopped,
}

/// A copy that is ready to go.
pub struct AdHocCopy {
    engine: Engine,
    transport: Arc<LocalOrSsh>,
    job: CopyJob,
    parent: Option<String>,
}

impl AdHocCopy {
    /// Finds out who is meant; contacts nobody yet.
    pub fn new(args: &Args, environment: &Environment) -> anyhow::Result<Self> {
        let here = std::env::current_dir().context("the current directory cannot be found")?;
        let place = |text: &str| Location::parse(text, &here).map_err(refused);
        let (source, target) = (place(&args.source)?, place(&args.target)?);
        let CopyRoots { from, to, parent } = location::resolve(&source, &target).map_err(refused)?;
        Filter::new(&args.rules.0).map_err(|e| advised(e.to_string(), "patterns are those of rsync: docs/copy.md"))?;
        let hosts = inventory(args, environment)?;
        let (source, target) = (host(source.host, &hosts), host(target.host, &hosts));
        let agents = connect::agents(environment)?;
        let pool =
            Pool::with_secrets(connect::ssh(environment), hosts, ssh::Options::default(), Arc::new(ProcessSecrets));
        let transport = Arc::new(LocalOrSsh::new(pool, HERE));
        let engine = Engine::new(Arc::clone(&transport) as Arc<dyn controller::Transport>, agents);
        // A watch is of use to later passes only.
        let engine = if args.watch.is_some() { engine } else { engine.sweeping() };
        let job = CopyJob {
            id: job_id(&[&source.name, &from, &target.name, &to]),
            source,
            target,
            from,
            to,
            rules: TreeRules {
                exclude: args.rules.0.clone(),
                delete: args.delete,
                allow_empty: args.allow_empty,
                allow_moved: args.allow_moved,
                one_filesystem: args.one_filesystem,
                allow_inexact_times: args.allow_inexact_times,
                owners: args.owners.into(),
            },
            bandwidth: args.bwlimit,
            path: if args.relay { DataPath::Relay } else { DataPath::Auto },
            checksum: args.checksum,
            listed: true,
            fresh: true,
        };
        Ok(Self { engine, transport, job, parent })
    }

    /// Says what would be done.
    pub async fn preview(&self, show: &Show) -> anyhow::Result<()> {
        show.begin("looking");
        let there = self.look_ahead().await?;
        let preview = self.engine.preview(&self.job, there, &|now| show.progress(now)).await?;
        show.preview(&preview);
        let obstacles = self.obstacles(&preview, there).await?;
        let Some(first) = obstacles.first() else { return Ok(()) };
        let to = format!("{}:{}", self.job.target.name, crate::text::escape(self.job.to.as_bytes(), 300));
        let list = obstacles.iter().fold(String::new(), |list, obstacle| format!("{list}\n  - {to} {}", obstacle.what));
        Err(advised(format!("the copy would not come to its end:{list}"), &first.hint))
    }

    /// What keeps the target from taking what would be sent.
    async fn obstacles(&self, preview: &Preview, there: bool) -> anyhow::Result<Vec<Obstacle>> {
        let CopyJob { target, to, .. } = &self.job;
        let facts = self.transport.facts(target, std::slice::from_ref(to)).await?;
        let path = facts.paths.first();
        let mut found: Vec<Obstacle> =
            path.and_then(|path| path.obstacle(&target.name, &facts.user)).into_iter().collect();
        if found.is_empty() && preview.closed > 0 {
            let first = preview.closed_first.as_deref().unwrap_or_default();
            let what = format!(
                "has {} that {} may not write to: {to}/{first}",
                crate::text::count(preview.closed, "directory").replace("directorys", "directories"),
                facts.user
            );
            let hint = format!("log in as a user who may write there, or let {} write there", facts.user);
            found.push(Obstacle { what, hint });
        }
        let lacks = match there {
            true => preview.lacks.clone(),
            false => path.and_then(|path| path.lacks(preview.room, preview.inodes)),
        };
        let hint = "make room there".to_owned();
        found.extend(lacks.map(|what| Obstacle { what, hint }));
        Ok(found)
    }

    /// Does it; with `--watch`, until somebody asks for the end.
    pub async fn carry(&self, args: &Args, show: &Show, asked: &mut watch::Receiver<Stop>) -> anyhow::Result<Ended> {
        let Some(every) = args.watch else {
            return self.or_stopped(asked, self.once(args, show)).await;
        };
        self.prepare().await?;
        let mut total = PassReport::default();
        let mut nth = 0;
        loop {
            let last = *asked.borrow() != Stop::No;
            nth += 1;
            let report = self.pass(show, &self.job_of_pass(nth), u32::MAX).await?;
            show.passed(nth, true, &report);
            add(&mut total, &report);
            if last {
                break;
            }
            let _ = tokio::time::timeout(every, asked.wait_for(|stop| *stop != Stop::No)).await;
        }
        self.conclude(args, show, total).await?;
        Ok(Ended::Done)
    }

    async fn once(&self, args: &Args, show: &Show) -> anyhow::Result<()> {
        self.prepare().await?;
        let report = self.pass(show, &self.job, Policy::LONG.tries).await?;
        show.passed(1, false, &report);
        self.conclude(args, show, report).await
    }

    /// Content is compared once, and the target is looked at once: from then on there is a record to believe.
    fn job_of_pass(&self, nth: u32) -> CopyJob {
        CopyJob { checksum: self.job.checksum && nth == 1, listed: nth == 1, ..self.job.clone() }
    }

    async fn conclude(&self, args: &Args, show: &Show, mut total: PassReport) -> anyhow::Result<()> {
        let verified = match args.verify {
            true => Some(self.verify(show, &mut total).await?),
            false => None,
        };
        show.done(&total, verified.as_ref());
        Ok(())
    }

    /// Whether the target is there already. What can never work is told at once.
    async fn look(&self) -> anyhow::Result<bool> {
        let CopyJob { source, target, from, to, .. } = &self.job;
        let transport = self.transport.as_ref();
        let (on_source, on_target) = tokio::join!(
            controller::is_directory(transport, source, from),
            controller::is_directory(transport, target, to)
        );
        let there = on_source.map_err(|e| {
            // The host was reached, and it is the path that it cannot use.
            match e.hint.is_none() && e.kind == Kind::Refused {
                true => e.hint("`migrate copy` carries directories; look at SRC"),
                false => e,
            }
        })?;
        if !there {
            let from = crate::text::escape(from.as_bytes(), 200);
            return Err(advised(format!("{}: there is no directory {from}", source.name), "check the path of SRC"));
        }
        Ok(on_target?)
    }

    /// The same, while agents go there; what is wrong with a path is told without waiting for them.
    async fn look_ahead(&self) -> anyhow::Result<bool> {
        let agents = async {
            self.engine.make_ready(&self.job).await;
            Ok(())
        };
        let (there, ()) = tokio::try_join!(self.look(), agents)?;
        Ok(there)
    }

    async fn prepare(&self) -> anyhow::Result<()> {
        if let (false, Some(parent)) = (self.look_ahead().await?, &self.parent) {
            controller::make_directory(self.transport.as_ref(), &self.job.target, parent).await?;
        }
        Ok(())
    }

    /// A pass whose connection breaks is worth another try, which goes on where it stopped; with `--watch` there is no end to them.
    async fn pass(&self, show: &Show, job: &CopyJob, tries: u32) -> Result<PassReport, Error> {
        let mut retry = Retry::new(&SystemClock, Policy { tries, ..Policy::LONG });
        loop {
            show.begin("copying");
            match self.engine.pass(job, &|now| show.progress(now)).await {
                Ok(report) => return Ok(report),
                Err(e) => retry.after(e, |what| show.note(&what)).await?,
            }
        }
    }

    /// Compares by content. What differs is sent once more.
    async fn verify(&self, show: &Show, total: &mut PassReport) -> anyhow::Result<VerifyReport> {
        let mut examples = Vec::new();
        for _ in 0..2 {
            show.begin("verifying");
            let report = self.engine.verify(&self.job, VerifyMode::Frozen, &|now| show.progress(now)).await?;
            if report.different == 0 {
                return Ok(report);
            }
            show.note(&format!("{} differ; sending them again", crate::text::grouped(report.different)));
            examples = report.examples;
            let again = CopyJob { checksum: true, ..self.job.clone() };
            add(total, &self.pass(show, &again, Policy::LONG.tries).await?);
        }
        let what = format!("source and target still differ after sending again: {}", examples.join("; "));
        Err(advised(what, "something writes to one of the two trees: stop it, then run the same command again"))
    }

    /// Lets something go on until a signal asks for its end.
    pub async fn or_stopped(
        &self,
        asked: &mut watch::Receiver<Stop>,
        work: impl Future<Output = anyhow::Result<()>>,
    ) -> anyhow::Result<Ended> {
        tokio::select! {
            ended = work => ended.map(|()| Ended::Done),
            Ok(_) = asked.wait_for(|stop| *stop != Stop::No) => Ok(Ended::Stopped),
        }
    }

    /// Takes agents and keys away, and the record if it is not to stay; what could not be.
    pub async fn clean_up(&self, forget: bool, ended: &anyhow::Result<Ended>) -> Vec<String> {
        let jobs = if forget { std::slice::from_ref(&self.job.id) } else { &[] };
        let all_well = matches!(ended, Ok(Ended::Done));
        let on_target = async {
            // A copy that was broken off may have left its key.
            let key = if all_well { Ok(()) } else { self.engine.withdraw(&self.job).await };
            (key, self.engine.clean_up(&self.job.target, jobs).await)
        };
        let on_source = self.engine.clean_up(&self.job.source, jobs);
        let work = async {
            // Two who clean up at one place would be in each other's way.
            let ((key, target), source) = match self.job.source.name == self.job.target.name {
                true => (on_target.await, on_source.await),
                false => tokio::join!(on_target, on_source),
            };
            [key, target, source]
        };
        let left = match all_well {
            true => work.await,
            false => match tokio::time::timeout(GOODBYE, work).await {
                Ok(left) => left,
                Err(_) => return vec!["agents in ~/.migrate: the hosts do not answer".to_owned()],
            },
        };
        let told = ended.as_ref().err().map(ToString::to_string);
        let mut left: Vec<String> = left.into_iter().filter_map(|r| r.err().map(|e| e.to_string())).collect();
        left.dedup();
        left.retain(|what| Some(what) != told.as_ref());
        left
    }
}

fn refused(bad: BadLocation) -> anyhow::Error {
    advised(bad.what, bad.hint)
}

fn inventory(args: &Args, environment: &Environment) -> anyhow::Result<BTreeMap<String, Host>> {
    let Some(file) = &args.inventory else { return Ok(BTreeMap::new()) };
    let options = LoadOptions { home: environment.home.clone(), dir: None };
    let (inventory, _, warnings) = config::load_inventory(&[file], &options).map_err(BadFiles)?;
    if !warnings.is_empty() {
        eprintln!("{warnings}");
    }
    Ok(inventory.hosts)
}

/// A host of the inventory, else one that ssh_config or DNS knows.
fn host(login: Option<Login>, hosts: &BTreeMap<String, Host>) -> Host {
    let Some(Login { user, host }) = login else { return plain(HERE) };
    let known = hosts.get(&host).cloned().unwrap_or_else(|| plain(&host));
    match user {
        None => known,
        Some(user) => {
            Host { name: format!("{user}@{host}"), ssh: SshTarget { user: Some(user), ..known.ssh }, ..known }
        }
    }
}

fn plain(name: &str) -> Host {
    Host {
        name: name.to_owned(),
        site: None,
        address: name.to_owned(),
        ssh: SshTarget::default(),
        tags: Default::default(),
        capacity: 100,
        cost_per_month: None,
        vars: BTreeMap::new(),
    }
}

/// The same places mean the same job, and so the same record.
fn job_id(parts: &[&str]) -> String {
    let digest = blake3::hash(parts.join("\0").as_bytes()).to_hex();
    format!("copy.{}", digest.get(..24).unwrap_or_default())
}

fn add(total: &mut PassReport, report: &PassReport) {
    *total = PassReport {
        files_sent: total.files_sent + report.files_sent,
        bytes_sent: total.bytes_sent + report.bytes_sent,
        deleted: total.deleted + report.deleted,
        millis: total.millis + report.millis,
        ..report.clone()
    };
}
