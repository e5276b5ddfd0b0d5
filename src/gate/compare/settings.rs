//! Comparisons as plans write them.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::fields::kinds::Settings;
use crate::fields::template::{Sides, Use};
use crate::metrics::{self, Server};
use crate::model::Template;
use crate::text::units;
use crate::yaml::map::{Map, one_of};
use crate::yaml::reader::Value;

/// Samples of each host without which ranks say nothing.
pub const FEWEST: usize = 10;
/// The most: each is compared with each.
const MOST: u128 = 500;
const OVER: Duration = Duration::from_secs(600);
const EVERY: Duration = Duration::from_secs(15);
const DAY: Duration = Duration::from_secs(86_400);
const SECOND: Duration = Duration::from_secs(1);
const PERCENT: f64 = 100.0;
/// The most metrics of one comparison.
const METRICS: usize = 20;

/// Targets are no worse than sources.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Compare {
    /// Who is asked.
    pub server: Server,
    /// What is compared.
    pub metrics: Vec<Metric>,
    /// How long ago the sources are looked at; `None`: at the same time.
    pub before: Option<Duration>,
    /// How long samples are collected.
    pub over: Duration,
    /// Time between two samples.
    pub every: Duration,
    /// How sure it must be that a difference is none by chance, in percent.
    pub confidence: u8,
    /// The oldest that samples of now may be.
    pub max_age: Duration,
}

/// One number that is compared.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Metric {
    /// What people call it.
    pub name: String,
    /// A query that gives it for one host.
    pub query: Template,
    /// Which way is worse.
    pub worse: Worse,
    /// How much worse is too much, as a part of what the sources have.
    pub by: f64,
    /// Whether the gate fails by it alone, at once.
    pub critical: bool,
    /// The query for each host.
    pub hosts: Vec<Asked>,
}

/// Which way is worse.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Worse {
    /// Latency, errors.
    Higher,
    /// Throughput, hits.
    Lower,
}

/// A query for one host.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Asked {
    /// Its inventory name.
    pub host: String,
    /// Whether it takes over.
    pub is_target: bool,
    /// With its variables filled in.
    pub query: String,
}

impl Settings for Compare {
    const KEY: &'static str = "compare";

    fn read(value: Value<'_>, _: &Map<'_>, uses: &mut Vec<Use>) -> Option<Self> {
        let example = "compare: {server: \"http://prometheus:9090\", metrics: [{name: errors, query: …}]}";
        value.map("comparison", example, |m| {
            let server = m.need("server", "\"http://prometheus.example.com:9090\"").and_then(Server::read);
            let metrics = m.need("metrics", "[{name: errors, query: …}]").and_then(|v| read_metrics(v, uses));
            let span = |key| m.get(key).map(|v| v.duration(SECOND..=DAY));
            let range = metrics.iter().flatten().filter_map(|m: &Metric| metrics::longest_range(&m.query.0)).max();
            let range = range.unwrap_or_default();
            let (over, every) = (span("over").unwrap_or(Some(OVER)), span("every").unwrap_or(Some(EVERY.max(range))));
            let before = m.get("before").map(|v| v.duration(SECOND..=units::YEAR));
            let confidence =
                m.get("confidence").map(|v| v.percent().filter(|p| is_confidence(v, p.value)).map(|p| p.value));
            let max_age = metrics::max_age(m);
            let (over, every) = (over?, every?);
            apart(value, every, range)?;
            enough(value, over, every)?;
            Some(Self {
                server: server?,
                metrics: metrics?,
                before: before.map_or(Some(None), |read| read.map(Some))?,
                over,
                every,
                confidence: confidence.unwrap_or(Some(98))?,
                max_age,
            })
        })?
    }
}

fn is_confidence(value: Value<'_>, percent: u8) -> bool {
    let fine = (80..=99).contains(&percent);
    if !fine {
        value.error("nobody is that sure", "from 80% to 99%; 98% is usual");
    }
    fine
}

/// Samples that share what they were made of are no two samples: chance would look rarer than it is.
fn apart(value: Value<'_>, every: Duration, range: Duration) -> Option<()> {
    if every >= range {
        return Some(());
    }
    let (every, range) = (units::show(every), units::show(range));
    value.error(
        format!("samples {every} apart overlap: a query looks back over {range}"),
        format!("give `every` {range} or more, or let the query look back over less"),
    );
    None
}

/// Too few samples can tell nothing, too many take too long.
fn enough(value: Value<'_>, over: Duration, every: Duration) -> Option<()> {
    let samples = over.as_millis() / every.as_millis().max(1) + 1;
    let (over, every) = (units::show(over), units::show(every));
    let told = format!("{over} hold {samples} samples, {every} apart");
    if samples < FEWEST as u128 {
        value.error(format!("{told}, and {FEWEST} are needed"), "give `over` more, or `every` less");
        return None;
    }
    if samples > MOST {
        value.error(format!("{told}, more than the limit of {MOST}"), "give `over` less, or `every` more");
        return None;
    }
    Some(())
}

fn read_metrics(value: Value<'_>, uses: &mut Vec<Use>) -> Option<Vec<Metric>> {
    let items = value.one_or_many();
    if items.is_empty() || items.len() > METRICS {
        value.error(format!("a comparison has 1 to {METRICS} metrics"), "metrics: [{name: errors, query: …}]");
        return None;
    }
    let read: Vec<Option<Metric>> = items.into_iter().map(|item| read_metric(item, uses)).collect();
    read.into_iter().collect()
}

fn read_metric(value: Value<'_>, uses: &mut Vec<Use>) -> Option<Metric> {
    let ways = [("higher", Worse::Higher), ("lower", Worse::Lower)];
    value.map("metric", "{name: errors, query: …}", |m| {
        let name = m.need("name", "errors").and_then(|v| v.identifier("a metric", "name: errors"));
        let query = m.need("query", "rate(errors_total[1m])").and_then(|v| metrics::query(v, Sides::Both, uses));
        let worse = m.get("worse").map(|v| one_of(v, "a way", "ways", &ways).map(|l| l.value));
        let by = m.get("by").map(|v| v.percent().map(|p| f64::from(p.value) / PERCENT));
        let critical = m.get("critical").map(|v| v.bool());
        Some(Metric {
            name: name?.value,
            query: query?,
            worse: worse.unwrap_or(Some(Worse::Higher))?,
            by: by.unwrap_or(Some(0.1))?,
            critical: critical.unwrap_or(Some(false))?,
            hosts: Vec::new(),
        })
    })?
}
