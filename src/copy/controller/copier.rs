//! The engine as the rest of the program sees it.

use super::engine::Engine;
use super::engine::mixed_up;

use async_trait::async_trait;

use super::relay::Outcome;
use crate::copy::job::{
    Copier, CopyError, CopyJob, OnProgress, PassReport, StreamError, StreamJob, StreamReport, VerifyReport, When,
};
use crate::copy::wire::task::Task;
use crate::model::Host;

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
