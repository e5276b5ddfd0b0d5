//! Health checks: asks one host one question and says pass, fail or unknown, with the numbers behind it.
//!
//! Must never count what it could not find out as a pass or as a failure.

mod exec;
mod http;
mod net;
mod steady;
mod tcp;

use std::sync::Arc;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::model::{HealthCheck, Host, Probe};
use crate::ssh::Remote;
use crate::text;

pub use steady::{Standing, Steady};

/// What one probe found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    /// The answer.
    pub outcome: Outcome,
    /// What was asked and what came back, in one line, escaped: `GET http://… → 200 in 3 ms`.
    pub evidence: String,
}

impl Verdict {
    fn pass(evidence: String) -> Self {
        Self { outcome: Outcome::Pass, evidence }
    }

    fn fail(evidence: String) -> Self {
        Self { outcome: Outcome::Fail, evidence }
    }

    fn unknown(evidence: String) -> Self {
        Self { outcome: Outcome::Unknown, evidence }
    }
}

/// The three answers there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It holds.
    Pass,
    /// It does not.
    Fail,
    /// Nobody can tell (the host of an exec probe cannot be reached, say).
    Unknown,
}

/// Asks hosts how they are.
#[async_trait]
pub trait Health: Send + Sync {
    /// One probe, bounded by the check's `timeout`.
    async fn probe(&self, check: &HealthCheck, host: &Host) -> Verdict;
}

/// Asks real hosts: HTTP and TCP from here, commands over SSH.
pub struct Checker {
    http: http::Client,
    remote: Arc<dyn Remote>,
}

impl Checker {
    /// A checker whose exec probes run through `remote`.
    pub fn new(remote: Arc<dyn Remote>) -> Self {
        Self { http: http::Client::default(), remote }
    }
}

#[async_trait]
impl Health for Checker {
    async fn probe(&self, check: &HealthCheck, host: &Host) -> Verdict {
        match &check.probe {
            Probe::Http(probe) => self.http.probe(probe, host, check.timeout).await,
            Probe::Tcp(to) => tcp::probe(to, host, check.timeout).await,
            Probe::Exec(script) => exec::probe(&*self.remote, script, host, check.timeout).await,
        }
    }
}

/// How much of an answer, an error or a command is quoted in evidence, in characters.
const QUOTE: usize = 160;

fn quote(bytes: impl AsRef<[u8]>) -> String {
    text::escape(bytes.as_ref(), QUOTE)
}

fn first_line(bytes: &[u8]) -> String {
    quote(bytes.split(|b| *b == b'\n').find(|line| !line.trim_ascii().is_empty()).unwrap_or_default())
}
