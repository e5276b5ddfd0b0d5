//! The controller's side of a copy: puts agents on the hosts, starts them, connects them and tells how it went.
//!
//! Must never trust an agent with more than its own side of one job.

mod admit;
mod deploy;
mod lanes;
mod limits;
mod mixed;
mod places;
mod relay;
mod stream;
mod transport;
mod watch;

use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;

use self::admit::Admission;
use self::deploy::{Deployer, Installed};
use self::limits::Limits;
use self::relay::{Names, Outcome, conduct};
use self::watch::Watches;
use super::agent::is_job_id;
use super::message::{Dial, Orders, Task};
use super::{
    Copier, CopyError, CopyJob, OnProgress, PassReport, Preview, StreamError, StreamJob, StreamReport, VerifyReport,
    When,
};
use crate::model::{DataPath, Host};

pub use self::mixed::Mixed;
pub use self::places::{is_directory, make_directory};
pub use self::transport::{Channel, Ended, Local, Transport};

/// Carries trees between hosts with agents.
pub struct Engine {
    transport: Arc<dyn Transport>,
    deployer: Deployer,
    limits: Limits,
    direct: bool,
    watches: Watches,
    watch: bool,
}

impl Engine {
    /// An engine that puts `program` (this very executable) on hosts that `transport` reaches.
    pub fn new(transport: Arc<dyn Transport>, program: PathBuf) -> Self {
        let (deployer, watches) = (Deployer::new(program), Watches::default());
        Self { transport, deployer, limits: Limits::default(), direct: true, watches, watch: true }
    }

    /// Looks at everything in every pass, even where the source could be watched.
    pub fn sweeping(self) -> Self {
        Self { watch: false, ..self }
    }

    /// Carries everything through the controller, even where the source could reach the target itself.
    pub fn relaying(self) -> Self {
        Self { direct: false, ..self }
    }

    /// Says what a pass would do. `target`: whether its root is there; where it is not, everything would be sent.
    pub async fn preview(&self, job: &CopyJob, target: bool, progress: OnProgress<'_>) -> Result<Preview, CopyError> {
        match self.perform(job, |orders| Task::Preview { orders, target }, progress).await? {
            Outcome::Previewed(preview) => Ok(preview),
            _ => Err(mixed_up(job)),
        }
    }

    /// Takes back the key of a copy that was broken off, if it is still there.
    pub async fn withdraw(&self, job: &CopyJob) -> Result<(), CopyError> {
        let transport = self.transport.as_ref();
        let on_target = self.deployer.install(transport, &job.target).await?;
        let Installed { work, home, .. } = &on_target;
        on_target.run(transport, &job.target, &["forbid", "--work", work, "--home", home, "--job", &job.id]).await
    }

    /// How the source may reach the target itself, or why the controller has to relay; empty when that is wanted.
    async fn way(&self, target: &Host, path: DataPath) -> (Option<Dial>, Option<String>) {
        if !self.direct || path == DataPath::Relay {
            return (None, Some(String::new()));
        }
        match self.transport.dial(target).await {
            Ok(dial) => (Some(dial), None),
            Err(why) => (None, Some(why)),
        }
    }

    async fn perform(
        &self,
        job: &CopyJob,
        task: impl FnOnce(Orders) -> Task + Send,
        progress: OnProgress<'_>,
    ) -> Result<Outcome, CopyError> {
        let limit = self.limits.of(&job.id, job.bandwidth);
        check(job)?;
        let transport = self.transport.as_ref();
        let (on_source, on_target) = tokio::try_join!(
            self.deployer.install(transport, &job.source),
            self.deployer.install(transport, &job.target)
        )?;
        let (dial, relay) = self.way(&job.target, job.path).await;
        if let (DataPath::Direct, Some(why)) = (job.path, &relay) {
            return Err(not_direct(job, why));
        }
        let mut task = task(orders(job, dial));
        if let Task::Pass(orders) = &mut task {
            orders.unwatched = match self.watch {
                true => self.watches.ensure(transport, &on_source, job).await.err().unwrap_or_default(),
                false => "no watch was asked for".to_owned(),
            };
        }
        let send = [&*on_source.agent, "agent", "send", "--work", &on_source.work];
        let broker = Admission::of_tree(transport, job, &on_target);
        let result = match transport.open(&job.source, &send).await {
            Ok(source) => {
                let names = Names { source: job.source.name.clone(), target: job.target.name.clone() };
                conduct(source, &task, relay, &broker, &names, &limit, progress).await
            }
            Err(e) => Err(e),
        };
        if result.is_err() {
            // Perhaps someone removed the agent: look again next time.
            self.deployer.forget(&job.source).await;
            self.deployer.forget(&job.target).await;
        }
        result
    }
}

/// The plan wants the data to go from host to host, and it cannot.
fn not_direct(job: &CopyJob, why: &str) -> CopyError {
    let (source, target) = (&job.source.name, job.target.name.clone());
    CopyError {
        what: format!("{source} cannot send to {target} itself, as `path: direct` wants: {why}"),
        host: target,
        hint: Some("let the source reach the target's sshd, or say `path: auto` to relay where it cannot".to_owned()),
        retryable: true,
    }
}

fn orders(job: &CopyJob, dial: Option<Dial>) -> Orders {
    Orders {
        job: job.id.clone(),
        from: job.from.clone(),
        to: job.to.clone(),
        pair: (job.source.name.clone(), job.target.name.clone()),
        rules: job.rules.clone(),
        bandwidth: job.bandwidth,
        checksum: job.checksum,
        fresh: job.fresh,
        unwatched: String::new(),
        may_relay: job.path != DataPath::Direct,
        dial,
    }
}

/// Refuses what could never work before any host is touched.
fn check(job: &CopyJob) -> Result<(), CopyError> {
    let refuse =
        |host: &Host, what: String| Err(CopyError { host: host.name.clone(), what, hint: None, retryable: false });
    if !is_job_id(&job.id) {
        return refuse(
            &job.source,
            format!("`{}` cannot be the id of a copy", crate::text::escape(job.id.as_bytes(), 80)),
        );
    }
    for (host, root) in [(&job.source, &job.from), (&job.target, &job.to)] {
        if !root.starts_with('/') || root.contains('\0') {
            let shown = crate::text::escape(root.as_bytes(), 200);
            return refuse(host, format!("the directory `{shown}` is not an absolute path"));
        }
    }
    match super::filter::Filter::new(&job.rules.exclude) {
        Ok(_) => Ok(()),
        Err(e) => refuse(&job.source, e.to_string()),
    }
}

#[async_trait]
impl Copier for Engine {
    async fn pass(&self, job: &CopyJob, progress: OnProgress<'_>) -> Result<PassReport, CopyError> {
        match self.perform(job, Task::Pass, progress).await? {
            Outcome::Passed(report) => Ok(report),
            _ => Err(mixed_up(job)),
        }
    }

    async fn verify(&self, job: &CopyJob, when: When, progress: OnProgress<'_>) -> Result<VerifyReport, CopyError> {
        match self.perform(job, |orders| Task::Verify { orders, when }, progress).await? {
            Outcome::Verified(report) => Ok(report),
            _ => Err(mixed_up(job)),
        }
    }

    fn limit(&self, job: &str, bandwidth: Option<u64>) {
        self.limits.set(job, bandwidth);
    }

    async fn stream(&self, job: &StreamJob, progress: OnProgress<'_>) -> Result<StreamReport, StreamError> {
        self.pour(job, progress).await
    }

    async fn clean_up(&self, host: &Host, jobs: &[String]) -> Result<(), CopyError> {
        self.watches.end(host, jobs);
        self.deployer.clean_up(self.transport.as_ref(), host, jobs).await
    }
}

fn mixed_up(job: &CopyJob) -> CopyError {
    let what = "the copy agent answered another question".to_owned();
    CopyError { host: job.source.name.clone(), what, hint: None, retryable: false }
}
