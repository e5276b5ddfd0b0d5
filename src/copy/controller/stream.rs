//! The controller's side of a stream: starts both agents and tells a known end from an unknown one.

use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;

use super::access::{KeyAccess, TargetAccess};
use super::engine::Engine;
use super::relay::{Completed, HostNames, error, run_task};
use super::transport::{Channel, Connection};
use crate::copy::failure::failed;
use crate::copy::job::{OnProgress, StreamJob, StreamReport, is_job_id};
use crate::copy::wire::task::{StreamTask, Task};
use crate::model::DataPath;
use crate::outside::{Certainty, Error};

impl Engine {
    /// Pours a stream.
    pub(super) async fn stream_data(&self, job: &StreamJob, progress: OnProgress<'_>) -> Result<StreamReport, Error> {
        let certain = |error: Error| error.certainty(Certainty::NotDone);
        let names =
            HostNames { source: job.source.name.clone(), target: job.target.name.clone(), roots: Default::default() };
        if !is_job_id(&job.id) {
            return Err(certain(failed(&names.source, "an invalid job id")));
        }
        let transport = self.transport.as_ref();
        let (on_source, on_target) = tokio::try_join!(
            self.deployer.install(transport, &job.source),
            self.deployer.install(transport, &job.target)
        )
        .map_err(certain)?;
        let limit = self.limits.of(&job.id, job.bandwidth);
        let (dial, relay) = self.way(&job.target, DataPath::Auto).await;
        let (job_id, command) = (job.id.clone(), job.from.clone());
        let task =
            Task::Stream(StreamTask { job: job_id, command, timeout: job.timeout, bandwidth: job.bandwidth, dial });
        let send = [&*on_source.agent, "agent", "send", "--work", &on_source.work, "--job", &job.id];
        let access =
            TrackedAccess { inner: KeyAccess::of_stream(transport, job, &on_target), refused: AtomicBool::new(false) };
        let source = match transport.open(&job.source, &send).await {
            Ok(source) => source,
            Err(e) => return Err(certain(self.forgetting(job, e).await)),
        };
        match run_task(source, &task, relay, &access, &names, &limit, progress).await {
            Ok(Completed::Streamed(report)) => Ok(report),
            Ok(Completed::NotStreamed(failure)) => Err(certain(error(&names, failure))),
            Ok(_) => Err(failed(&names.source, "the agent sent an unexpected result").certainty(Certainty::Unknown)),
            Err(e) => {
                // Where the agent on the target was never reached, its command has never started.
                let unknown = !access.refused.load(Ordering::Acquire);
                let certainty = if unknown { Certainty::Unknown } else { Certainty::NotDone };
                Err(self.forgetting(job, e).await.certainty(certainty))
            }
        }
    }

    /// Perhaps someone removed the agents: look again next time.
    async fn forgetting(&self, job: &StreamJob, error: Error) -> Error {
        self.deployer.forget(&job.source).await;
        self.deployer.forget(&job.target).await;
        error
    }
}

/// Remembers that the agent on the target could not be started.
struct TrackedAccess<'a> {
    inner: KeyAccess<'a>,
    refused: AtomicBool,
}

#[async_trait]
impl TargetAccess for TrackedAccess<'_> {
    async fn admit(&self, public_key: &str, from: &str) -> bool {
        self.inner.admit(public_key, from).await
    }

    async fn withdraw(&self) {
        self.inner.withdraw().await;
    }

    async fn receiver(&self, reason: &str) -> Result<Channel, Error> {
        let opened = self.inner.receiver(reason).await;
        self.refused.store(opened.is_err(), Ordering::Release);
        opened
    }

    async fn extra_channel(&self, connection: &dyn Connection) -> Option<Channel> {
        self.inner.extra_channel(connection).await
    }
}
