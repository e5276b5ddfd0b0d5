//! The simulated copy engine: passes, comparisons and streams take hold at once, in part, or not at all.

use async_trait::async_trait;

use super::fault::{Call, Fault};
use super::simulation::{Caller, Turn};
use crate::copy::{Copier, CopyJob, OnProgress, PassReport, VerifyMode, VerifyReport};
use crate::copy::{StreamJob, StreamReport};
use crate::host::{AgentFacts, Facts};
use crate::model::Host;
use crate::outside::{Certainty, Error, Kind};

/// Running it again is safe.
fn error(host: &Host, kind: Kind, what: &str) -> Error {
    Error::new(host.name.as_str(), kind, what).certainty(Certainty::NotDone)
}

fn broke(host: &Host) -> Error {
    error(host, Kind::Lost, "the connection broke")
}

fn unreachable(host: &Host) -> Error {
    error(host, Kind::Unreachable, "cannot be reached")
}

impl Turn<'_> {
    fn reach_both(&mut self, hosts: &[&Host]) -> bool {
        hosts.iter().all(|host| self.answers(&host.name))
    }

    fn copy(&mut self, job: &str, whole: bool) {
        let copied = self.history.model.copy(job, whole);
        self.history.keep(copied);
    }

    fn send(&mut self, job: &CopyJob) -> Result<PassReport, Error> {
        if !self.reach_both(&[&job.source, &job.target]) {
            return Err(unreachable(&job.source));
        }
        let fault = self.point(Call::Pass { verified: self.scenario.verified.contains(&job.id) }, "copies");
        match fault {
            None | Some(Fault::ReplyLost | Fault::KilledAfter | Fault::Ineffective) => self.copy(&job.id, true),
            Some(Fault::Half | Fault::KilledHalf) => self.copy(&job.id, false),
            Some(_) => {}
        }
        match fault {
            None => Ok(PassReport { entries: 10, bytes: 1 << 20, ..PassReport::default() }),
            Some(Fault::Ineffective) => {
                self.history.model.leave_out(&job.id);
                Ok(PassReport::default())
            }
            Some(Fault::Refused) => Err(error(&job.target, Kind::Refused, "no space left")),
            Some(fault) => {
                self.lose(&job.target.name, fault);
                Err(broke(&job.target))
            }
        }
    }

    fn compare(&mut self, job: &CopyJob, when: VerifyMode) -> Result<VerifyReport, Error> {
        if !self.reach_both(&[&job.source, &job.target]) {
            return Err(unreachable(&job.source));
        }
        match self.point(Call::Verify, "compares") {
            None => {
                let same = self.history.model.compare(&job.id, when == VerifyMode::Ahead);
                let examples = if same { Vec::new() } else { vec!["a file: content differs".to_owned()] };
                let different = u64::from(!same);
                Ok(VerifyReport { files: 10, bytes: 1 << 20, different, examples, ..VerifyReport::default() })
            }
            Some(Fault::Refused) => Err(error(&job.source, Kind::Refused, "a file cannot be read")),
            Some(fault) => {
                self.lose(&job.source.name, fault);
                Err(broke(&job.source))
            }
        }
    }

    /// Takes hold once at its end, or not at all; what arrived before a cut is the operator's to clear away.
    fn pour(&mut self, job: &StreamJob) -> Result<StreamReport, Error> {
        if !self.reach_both(&[&job.source, &job.target]) {
            return Err(unreachable(&job.target));
        }
        let fault = self.point(Call::Stream, "streams");
        match fault {
            None | Some(Fault::ReplyLost | Fault::KilledAfter) => {
                self.copy(&job.id, true);
                if let Some(step) = self.step {
                    self.history.act(step, false, None);
                }
            }
            Some(Fault::Half | Fault::KilledHalf) => self.copy(&job.id, false),
            Some(_) => {}
        }
        match fault {
            None => Ok(StreamReport { bytes: 1 << 20, ..StreamReport::default() }),
            Some(Fault::Refused) => Err(error(&job.target, Kind::Refused, "the command ended with status 1")),
            Some(Fault::Before) => Err(unreachable(&job.target)),
            Some(fault) => {
                self.lose(&job.target.name, fault);
                Err(broke(&job.target).certainty(Certainty::Unknown))
            }
        }
    }

    /// An agent is put on a host and started.
    fn try_agent(&mut self, host: &Host) -> Result<AgentFacts, Error> {
        if !self.answers(&host.name) {
            return Err(unreachable(host));
        }
        match self.point(Call::Agent, "tries the agent") {
            None => Ok(AgentFacts::default()),
            Some(Fault::Refused) => Err(error(host, Kind::Refused, "the copy agent may not run")),
            Some(fault) => {
                self.lose(&host.name, fault);
                Err(broke(host))
            }
        }
    }

    fn sweep(&mut self, host: &Host, jobs: &[String]) -> Result<(), Error> {
        if !self.answers(&host.name) {
            return Err(unreachable(host));
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
    async fn pass(&self, job: &CopyJob, _: OnProgress<'_>) -> Result<PassReport, Error> {
        self.call(|turn| turn.send(job)).await
    }

    async fn verify(&self, job: &CopyJob, when: VerifyMode, _: OnProgress<'_>) -> Result<VerifyReport, Error> {
        self.call(|turn| turn.compare(job, when)).await
    }

    /// A simulated pass takes no time that a limit could change.
    fn limit(&self, _job: &str, _bandwidth: Option<u64>) {}

    async fn stream(&self, job: &StreamJob, _: OnProgress<'_>) -> Result<StreamReport, Error> {
        self.call(|turn| turn.pour(job)).await
    }

    /// Plans are made before a rehearsal.
    async fn suits(&self, _: &Host, _: &Facts) -> Result<(), Error> {
        Ok(())
    }

    async fn probe(&self, host: &Host, _: &[String]) -> Result<AgentFacts, Error> {
        self.call(|turn| turn.try_agent(host)).await
    }

    async fn clean_up(&self, host: &Host, jobs: &[String]) -> Result<(), Error> {
        self.call(|turn| turn.sweep(host, jobs)).await
    }
}
