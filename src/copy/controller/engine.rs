//! The engine on the controller: puts agents on the hosts, starts them, connects them and tells how it went.
//!
//! Must never trust an agent with more than its own side of one job.

use std::sync::Arc;

use super::access::{KeyAccess, not_direct};
use super::agents::Agents;
use super::deploy::Deployer;
use super::rate_limits::Limits;
use super::relay::{Completed, HostNames, run_task};
use super::transport::Transport;
use super::watches::Watches;
use crate::copy::failure::failed;
use crate::copy::fs::filter::Filter;
use crate::copy::job::{CopyJob, OnProgress, Preview, is_job_id};
use crate::copy::wire::task::{Dial, Task, TreeTask};
use crate::model::{DataPath, Host};
use crate::outside::Error;

/// Carries trees between hosts with agents.
pub struct Engine {
    pub(super) transport: Arc<dyn Transport>,
    pub(super) deployer: Deployer,
    pub(super) limits: Limits,
    direct: bool,
    pub(super) watches: Watches,
    watch: bool,
}

impl Engine {
    /// An engine that puts `agents` on hosts that `transport` reaches.
    pub fn new(transport: Arc<dyn Transport>, agents: Agents) -> Self {
        let (deployer, watches) = (Deployer::new(agents), Watches::default());
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
    pub async fn preview(&self, job: &CopyJob, target: bool, progress: OnProgress<'_>) -> Result<Preview, Error> {
        match self.perform(job, |tree| Task::Preview { tree, target }, progress).await? {
            Completed::Previewed(preview) => Ok(preview),
            _ => Err(mixed_up(job)),
        }
    }

    /// Takes back the key of a copy that was broken off, if it is still there.
    pub async fn withdraw(&self, job: &CopyJob) -> Result<(), Error> {
        let transport = self.transport.as_ref();
        let on_target = self.deployer.install(transport, &job.target).await?;
        on_target.change_keys(transport, &job.target, "forbid", &["--job", &job.id]).await
    }

    /// Puts agents on both hosts ahead of a pass, which tells what fails.
    pub async fn make_ready(&self, job: &CopyJob) {
        let transport = self.transport.as_ref();
        let _ =
            tokio::join!(self.deployer.install(transport, &job.source), self.deployer.install(transport, &job.target));
    }

    /// How the source may reach the target itself, or why the controller has to relay; empty when that is wanted.
    pub(super) async fn way(&self, target: &Host, path: DataPath) -> (Option<Dial>, Option<String>) {
        if !self.direct || path == DataPath::Relay {
            return (None, Some(String::new()));
        }
        match self.transport.dial(target).await {
            Ok(dial) => (Some(dial), None),
            Err(why) => (None, Some(why)),
        }
    }

    pub(super) async fn perform(
        &self,
        job: &CopyJob,
        task: impl FnOnce(TreeTask) -> Task + Send,
        progress: OnProgress<'_>,
    ) -> Result<Completed, Error> {
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
        let mut task = task(tree_task(job, dial));
        if let Task::Pass(tree) = &mut task {
            tree.unwatched = match self.watch {
                true => self.watches.ensure(transport, &on_source, job).await.err().unwrap_or_default(),
                false => "no watch was asked for".to_owned(),
            };
        }
        let send = [&*on_source.agent, "agent", "send", "--work", &on_source.work, "--job", &job.id];
        let access = KeyAccess::of_tree(transport, job, &on_target);
        let result = match transport.open(&job.source, &send).await {
            Ok(source) => {
                let names = HostNames {
                    source: job.source.name.clone(),
                    target: job.target.name.clone(),
                    roots: (job.from.clone(), job.to.clone()),
                };
                run_task(source, &task, relay, &access, &names, &limit, progress).await
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

fn tree_task(job: &CopyJob, dial: Option<Dial>) -> TreeTask {
    TreeTask {
        job: job.id.clone(),
        from: job.from.clone(),
        to: job.to.clone(),
        pair: (job.source.name.clone(), job.target.name.clone()),
        rules: job.rules.clone(),
        bandwidth: job.bandwidth,
        checksum: job.checksum,
        listed: job.listed,
        fresh: job.fresh,
        unwatched: String::new(),
        may_relay: job.path != DataPath::Direct,
        dial,
    }
}

/// Refuses what could never work before any host is touched.
fn check(job: &CopyJob) -> Result<(), Error> {
    let refuse = |host: &Host, what: String| Err(failed(&host.name, what));
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
    match Filter::new(&job.rules.exclude) {
        Ok(_) => Ok(()),
        Err(e) => refuse(&job.source, e.to_string()),
    }
}

pub(super) fn mixed_up(job: &CopyJob) -> Error {
    let what = "the copy agent sent an unexpected result".to_owned();
    failed(&job.source.name, what)
}
