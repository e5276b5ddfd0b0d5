//! The engine as the rest of the program sees it.

use std::time::Duration;

use async_trait::async_trait;

use super::engine::{Engine, mixed_up};
use super::relay::Completed;
use crate::copy::failure::failed;
use crate::copy::job::{Copier, CopyJob, OnProgress, PassReport, StreamJob, StreamReport, VerifyMode, VerifyReport};
use crate::copy::look;
use crate::copy::wire::task::Task;
use crate::host::{AgentFacts, Facts};
use crate::model::Host;
use crate::outside::Error;

/// The longest that an agent looks at one tree.
const LOOK: Duration = Duration::from_secs(60);

fn odd(host: &Host) -> Error {
    failed(&host.name, "the copy agent does not say what it has seen")
}

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

    async fn suits(&self, host: &Host, facts: &Facts) -> Result<(), Error> {
        self.deployer.suits(host, facts).await
    }

    async fn probe(&self, host: &Host, trees: &[String]) -> Result<AgentFacts, Error> {
        let transport = self.transport.as_ref();
        let agent = self.deployer.install(transport, host).await?;
        let mut seen = AgentFacts::default();
        for root in trees {
            let args = ["look", "--work", &agent.work, "--root", root];
            let look = agent.ask(transport, host, &args);
            seen.trees.push(match tokio::time::timeout(LOOK, look).await {
                Ok(said) => Some(look::parse(root, &said?).ok_or_else(|| odd(host))?),
                Err(_) => None,
            });
        }
        Ok(seen)
    }

    async fn clean_up(&self, host: &Host, jobs: &[String]) -> Result<(), Error> {
        self.watches.end(host, jobs);
        self.deployer.clean_up(self.transport.as_ref(), host, jobs).await
    }
}
