//! The simulated copy engine: passes, comparisons and streams take hold at once, in part, or not at all.

use async_trait::async_trait;

use super::fault::{Call, Fault};
use super::simulation::{Caller, Turn};
use crate::copy::{Copier, CopyError, CopyJob, OnProgress, PassReport, VerifyMode, VerifyReport};
use crate::copy::{StreamError, StreamJob, StreamReport};
use crate::model::Host;

fn error(host: &Host, what: &str, retryable: bool) -> CopyError {
    CopyError { host: host.name.clone(), what: what.to_owned(), hint: None, retryable }
}

fn broke(host: &Host) -> CopyError {
    error(host, "the connection broke", true)
}

impl Turn<'_> {
    fn reach_both(&mut self, hosts: &[&Host]) -> bool {
        hosts.iter().all(|host| self.answers(&host.name))
    }

    /// The pair whose tree or stream this is.
    fn pair_of(&self, job: &str) -> usize {
        let pairs = &self.history.model.pairs;
        pairs.iter().position(|p| p.trees.iter().any(|t| t.job == job)).unwrap_or(usize::MAX)
    }

    fn copy(&mut self, pair: usize, job: &str, whole: bool) {
        let copied = self.history.model.copy(pair, job, whole);
        self.history.keep(copied);
    }

    fn send(&mut self, job: &CopyJob) -> Result<PassReport, CopyError> {
        if !self.reach_both(&[&job.source, &job.target]) {
            return Err(error(&job.source, "cannot be reached", true));
        }
        let pair = self.pair_of(&job.id);
        let fault = self.point(Call::Pass { verified: self.scenario.verified.contains(&job.id) }, "copies");
        match fault {
            None | Some(Fault::ReplyLost | Fault::KilledAfter | Fault::Ineffective) => self.copy(pair, &job.id, true),
            Some(Fault::Half | Fault::KilledHalf) => self.copy(pair, &job.id, false),
            Some(_) => {}
        }
        match fault {
            None => Ok(PassReport { entries: 10, bytes: 1 << 20, ..PassReport::default() }),
            Some(Fault::Ineffective) => {
                self.history.model.leave_out(pair, &job.id);
                Ok(PassReport::default())
            }
            Some(Fault::Refused) => Err(error(&job.target, "no space left", false)),
            Some(fault) => {
                self.lose(&job.target.name, fault);
                Err(broke(&job.target))
            }
        }
    }

    fn compare(&mut self, job: &CopyJob, when: VerifyMode) -> Result<VerifyReport, CopyError> {
        if !self.reach_both(&[&job.source, &job.target]) {
            return Err(error(&job.source, "cannot be reached", true));
        }
        match self.point(Call::Verify, "compares") {
            None => {
                let pair = self.pair_of(&job.id);
                let same = self.history.model.compare(pair, &job.id, when == VerifyMode::Ahead);
                let examples = if same { Vec::new() } else { vec!["a file: content differs".to_owned()] };
                let different = u64::from(!same);
                Ok(VerifyReport { files: 10, bytes: 1 << 20, different, examples, ..VerifyReport::default() })
            }
            Some(Fault::Refused) => Err(error(&job.source, "a file cannot be read", false)),
            Some(fault) => {
                self.lose(&job.source.name, fault);
                Err(broke(&job.source))
            }
        }
    }

    /// Takes hold once at its end, or not at all; what arrived before a cut is the operator's to clear away.
    fn pour(&mut self, job: &StreamJob) -> Result<StreamReport, StreamError> {
        let failed = |unknown: bool, what: &str| Err(StreamError { error: error(&job.target, what, unknown), unknown });
        if !self.reach_both(&[&job.source, &job.target]) {
            return failed(false, "cannot be reached");
        }
        let pair = self.pair_of(&job.id);
        let fault = self.point(Call::Stream, "streams");
        match fault {
            None | Some(Fault::ReplyLost | Fault::KilledAfter) => {
                self.copy(pair, &job.id, true);
                if let Some(step) = self.step {
                    self.history.act(step, false);
                }
            }
            Some(Fault::Half | Fault::KilledHalf) => self.copy(pair, &job.id, false),
            Some(_) => {}
        }
        match fault {
            None => Ok(StreamReport { bytes: 1 << 20, ..StreamReport::default() }),
            Some(Fault::Refused) => failed(false, "the command ended with status 1"),
            Some(Fault::Before) => failed(false, "the connection could not be made"),
            Some(fault) => {
                self.lose(&job.target.name, fault);
                failed(true, "the connection broke")
            }
        }
    }

    fn sweep(&mut self, host: &Host, jobs: &[String]) -> Result<(), CopyError> {
        if !self.answers(&host.name) {
            return Err(error(host, "cannot be reached", true));
        }
        let fault = self.point(Call::CleanUp, "removes what the copy left");
        if matches!(fault, None | Some(Fault::ReplyLost | Fault::KilledAfter)) {
            let trees = self.history.model.pairs.iter_mut().flat_map(|p| &mut p.trees);
            trees.filter(|t| jobs.contains(&t.job)).for_each(|t| t.traces = false);
        }
        let Some(fault) = fault else { return Ok(()) };
        self.lose(&host.name, fault);
        Err(broke(host))
    }
}

#[async_trait]
impl Copier for Caller {
    async fn pass(&self, job: &CopyJob, _: OnProgress<'_>) -> Result<PassReport, CopyError> {
        self.call(|turn| turn.send(job)).await
    }

    async fn verify(&self, job: &CopyJob, when: VerifyMode, _: OnProgress<'_>) -> Result<VerifyReport, CopyError> {
        self.call(|turn| turn.compare(job, when)).await
    }

    /// A simulated pass takes no time that a limit could change.
    fn limit(&self, _job: &str, _bandwidth: Option<u64>) {}

    async fn stream(&self, job: &StreamJob, _: OnProgress<'_>) -> Result<StreamReport, StreamError> {
        self.call(|turn| turn.pour(job)).await
    }

    async fn clean_up(&self, host: &Host, jobs: &[String]) -> Result<(), CopyError> {
        self.call(|turn| turn.sweep(host, jobs)).await
    }
}
