//! Prometheus probes: the number of a query is as it should be.
//!
//! Must never pass and never fail without a number.

use std::time::{Duration, Instant};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::{About, Clients, ProbeKind, Subject, Verdict, quote};
use crate::fields::kinds::Settings;
use crate::fields::template::{Sides, Use};
use crate::metrics::{Ask, shown};
use crate::text;
use crate::yaml::map::Map;
use crate::yaml::reader::Value;

/// A query, by whose number the service is judged, or each host.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Prometheus {
    /// What is asked.
    pub ask: Ask,
}

impl Settings for Prometheus {
    const KEY: &'static str = "prometheus";

    fn read(value: Value<'_>, _: &Map<'_>, uses: &mut Vec<Use>) -> Option<Self> {
        let example = "prometheus: {server: \"http://prometheus.example.com:9090\", query: sum(errors), below: 5}";
        value.map("prometheus check", example, |m| Ask::read(m, Sides::Service, uses).map(|ask| Self { ask }))?
    }
}

#[async_trait]
impl ProbeKind for Prometheus {
    fn about(&self) -> About {
        About::Service
    }

    async fn probe(&self, subject: &Subject<'_>, timeout: Duration, clients: &Clients) -> Verdict {
        let (start, server) = (Instant::now(), self.ask.server.host());
        let query = match self.ask.query.render_plain(&subject.vars()) {
            Ok(query) => query,
            Err(why) => {
                return Verdict::unknown(format!("ask `{}` → {}", quote(&self.ask.query.0), quote(why.to_string())));
            }
        };
        let asked = format!("ask `{}` at {server}", quote(&query));
        match clients.metrics.number(&self.ask.asking(query), timeout).await {
            Err(silence) => Verdict::unknown(format!("{asked} → {}; {}", silence.why, silence.help)),
            Ok(now) => {
                let took = text::duration(start.elapsed());
                let evidence = format!("{asked} → {} in {took}", shown(now.value));
                match self.ask.bound.holds(now.value) {
                    true => Verdict::pass(evidence),
                    false => Verdict::fail(format!("{evidence}, wanted {}", self.ask.bound)),
                }
            }
        }
    }
}
