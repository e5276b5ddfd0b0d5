//! The engine as the rest of the program sees it.

use async_trait::async_trait;

use super::engine::{Engine, mixed_up};
use super::relay::Completed;
use crate::copy::job::{Copier, CopyJob, OnProgress, PassReport, StreamJob, StreamReport, VerifyMode, VerifyReport};
use crate::copy::wire::task::Task;
use crate::model::Host;
use crate::outside::Error;

#[async_trait]
impl Copier for Engine {
    async fn pass(&self, job: &CopyJob, progress: OnProgress<'_>) -> Result<PassReport, Error> {
        match self.perform(job, Task::Pass, progress).await? {
            Completed::Passed(report) => Ok(report),
            _ => Err(mixed_up(job)),
        }
    }

    async fn verify(&self, job: &CopyJob, when: VerifyMode, progress: OnProgress<'_>) -> Result<VerifyReport, Error> {
        match self.perform(job, |tree| Task::Verify { tree, when }, progress).await? {
            Completed::Verified(report) => Ok(report),
            _ => Err(mixed_up(job)),
        }
    }

    fn limit(&self, job: &str, bandwidth: Option<u64>) {
        self.limits.set(job, bandwidth);
    }

    async fn stream(&self, job: &StreamJob, progress: OnProgress<'_>) -> Result<StreamReport, Error> {
        self.stream_data(job, progress).await
    }

    async fn clean_up(&self, host: &Host, jobs: &[String]) -> Result<(), Error> {
        self.watches.end(host, jobs);
        self.deployer.clean_up(self.transport.as_ref(), host, jobs).await
    }
}
