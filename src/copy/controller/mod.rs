//! The controller's side of a copy: puts agents on the hosts, starts them, connects them and tells how it went.
//!
//! Must never trust an agent with more than its own side of one job.

mod deploy;
mod relay;
mod transport;

use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;

use self::deploy::{Deployer, Installed};
use self::relay::{Names, Outcome, relay};
use super::agent::is_job_id;
use super::message::{Orders, Task};
use super::{Copier, CopyError, CopyJob, OnProgress, PassReport, VerifyReport};
use crate::spec::model::Host;

pub use self::transport::{Channel, Ended, Local, Transport};

/// Carries trees between hosts with agents.
pub struct Engine {
    transport: Arc<dyn Transport>,
    deployer: Deployer,
}

impl Engine {
    /// An engine that puts `program` (this very executable) on hosts that `transport` reaches.
    pub fn new(transport: Arc<dyn Transport>, program: PathBuf) -> Self {
        Self { transport, deployer: Deployer::new(program) }
    }

    async fn perform(&self, job: &CopyJob, task: Task, progress: OnProgress<'_>) -> Result<Outcome, CopyError> {
        check(job)?;
        let transport = self.transport.as_ref();
        let (on_source, on_target) = tokio::try_join!(
            self.deployer.install(transport, &job.source),
            self.deployer.install(transport, &job.target)
        )?;
        let result = self.connect(job, &task, &on_source, &on_target, progress).await;
        if result.is_err() {
            // Perhaps someone removed the agent: look again next time.
            self.deployer.forget(&job.source).await;
            self.deployer.forget(&job.target).await;
        }
        result
    }

    async fn connect(
        &self,
        job: &CopyJob,
        task: &Task,
        on_source: &Installed,
        on_target: &Installed,
        progress: OnProgress<'_>,
    ) -> Result<Outcome, CopyError> {
        let mut receive =
            vec![&*on_target.agent, "agent", "receive", "--work", &on_target.work, "--job", &job.id, "--root", &job.to];
        if job.delete {
            receive.push("--delete");
        }
        let send = [&*on_source.agent, "agent", "send", "--work", &on_source.work];
        let (source, target) =
            tokio::try_join!(self.transport.open(&job.source, &send), self.transport.open(&job.target, &receive))?;
        let names = Names { source: job.source.name.clone(), target: job.target.name.clone() };
        relay(source, target, task, &names, progress).await
    }
}

fn orders(job: &CopyJob) -> Orders {
    Orders {
        job: job.id.clone(),
        from: job.from.clone(),
        to: job.to.clone(),
        pair: (job.source.name.clone(), job.target.name.clone()),
        exclude: job.exclude.clone(),
        delete: job.delete,
        allow_empty: false,
        bandwidth: job.bandwidth.unwrap_or(0),
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
    match super::filter::Filter::new(&job.exclude) {
        Ok(_) => Ok(()),
        Err(e) => refuse(&job.source, e.to_string()),
    }
}

#[async_trait]
impl Copier for Engine {
    async fn pass(&self, job: &CopyJob, progress: OnProgress<'_>) -> Result<PassReport, CopyError> {
        match self.perform(job, Task::Pass(orders(job)), progress).await? {
            Outcome::Passed(report) => Ok(report),
            Outcome::Verified(_) => Err(mixed_up(job)),
        }
    }

    async fn verify(&self, job: &CopyJob, progress: OnProgress<'_>) -> Result<VerifyReport, CopyError> {
        match self.perform(job, Task::Verify(orders(job)), progress).await? {
            Outcome::Verified(report) => Ok(report),
            Outcome::Passed(_) => Err(mixed_up(job)),
        }
    }

    async fn clean_up(&self, host: &Host, jobs: &[String]) -> Result<(), CopyError> {
        self.deployer.clean_up(self.transport.as_ref(), host, jobs).await
    }
}

fn mixed_up(job: &CopyJob) -> CopyError {
    let what = "the copy agent answered another question".to_owned();
    CopyError { host: job.source.name.clone(), what, hint: None, retryable: false }
}
