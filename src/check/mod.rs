//! Health checks: asks a host or a service one question and says pass, fail or unknown, with the numbers behind it. One file a kind.
//!
//! Owns the closed list of kinds ([`Probe`]): their settings, how they are read, asked and told. Must never count what it could not find
//! out as a pass or as a failure.

mod certificate;
mod dns;
mod exec;
mod greeting;
mod grpc;
mod http;
mod net;
mod prometheus;
mod read;
mod steady;
mod subject;
mod tcp;
mod tls;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::fields::kinds::kinds;
use crate::host::Hosts;
use crate::metrics::Reader;
use crate::secret::Secrets;
use crate::text;

pub use dns::Dns;
pub use exec::Exec;
pub use greeting::{Mysql, Postgres, Redis};
pub use grpc::Grpc;
pub use http::Http;
pub use prometheus::Prometheus;
pub use steady::{Standing, Steady};
pub use subject::{About, Checks, PoolRef, ServiceRef, Subject, SubjectName};
pub use tcp::Tcp;
pub use tls::Tls;

/// What every kind of check can do.
#[async_trait]
pub trait ProbeKind: Send + Sync {
    /// Of what it is asked, unless the check says otherwise.
    fn about(&self) -> About {
        About::Host
    }

    /// Whether it can be asked of such.
    fn fits(&self, _: About) -> bool {
        true
    }

    /// Whether something runs on the host to ask it, so that there must be a way in.
    fn logs_in(&self) -> bool {
        false
    }

    /// Asks once, for at most `timeout`.
    async fn probe(&self, subject: &Subject<'_>, timeout: Duration, clients: &Clients) -> Verdict;
}

/// A check of a host or of a service.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HealthCheck {
    /// What is asked.
    pub probe: Probe,
    /// Of what; `None`: as usual for the kind.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub of: Option<About>,
    /// Consecutive passes that make a subject healthy.
    pub rise: u32,
    /// Consecutive failures that make it unhealthy.
    pub fall: u32,
    /// Time between two probes.
    pub interval: Duration,
    /// Time one probe may take.
    pub timeout: Duration,
    /// How long a subject that starts up may need until `rise` passes in a row; after that the check has failed.
    pub within: Duration,
}

impl HealthCheck {
    /// Of what it is asked.
    pub fn about(&self) -> About {
        self.of.unwrap_or_else(|| self.probe.kind().about())
    }
}

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

/// Asks hosts and services how they are.
#[async_trait]
pub trait Health: Send + Sync {
    /// One probe, bounded by the check's `timeout`.
    async fn probe(&self, check: &HealthCheck, subject: &Subject<'_>) -> Verdict;
}

/// What kinds of checks ask with.
pub struct Clients {
    http: http::Client,
    hosts: Arc<dyn Hosts>,
    metrics: Arc<Reader>,
    secrets: Arc<dyn Secrets>,
}

/// Asks the real world.
pub struct Checker(Clients);

impl Checker {
    /// A checker whose commands on hosts run through `hosts`, and which reads numbers from `metrics`.
    pub fn new(hosts: Arc<dyn Hosts>, metrics: Arc<Reader>, secrets: Arc<dyn Secrets>) -> Self {
        Self(Clients { http: http::Client::default(), hosts, metrics, secrets })
    }
}

#[async_trait]
impl Health for Checker {
    async fn probe(&self, check: &HealthCheck, subject: &Subject<'_>) -> Verdict {
        check.probe.kind().probe(subject, check.timeout, &self.0).await
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

kinds! {
    /// What a check asks, by kind. Each kind is one line here and one file of its own.
    pub enum Probe: ProbeKind {
        Http(Http),
        Tcp(Tcp),
        Exec(Exec),
        Prometheus(Prometheus),
        Tls(Tls),
        Dns(Dns),
        Postgres(Postgres),
        Mysql(Mysql),
        Redis(Redis),
        Grpc(Grpc),
        #[cfg(test)]
        Visit(sample::Visit),
    }
}

#[cfg(test)]
mod sample;
#[cfg(test)]
mod tests;
