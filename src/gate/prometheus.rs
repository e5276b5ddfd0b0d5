//! A number that Prometheus knows.
//!
//! Must never hold, and never fail, without a number.

use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::{Answer, Clients, Condition, ConditionKind, Holds, Sides, Surroundings};
use crate::fields::kinds::Settings;
use crate::fields::template::{self, Use};
use crate::metrics::{Ask, History, Reading, Silence, shown};
use crate::model::Side;
use crate::model::finding::Finding;
use crate::text::{self, escape};
use crate::yaml::map::{Map, one_of};
use crate::yaml::reader::Value;

/// How long an answer may take.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);
/// Time between two questions: scrapes are further apart.
pub(super) const EVERY: Duration = Duration::from_secs(5);
/// Values that are looked at over the time for which the number must be so.
const LOOKS: u32 = 60;
const DAY: Duration = Duration::from_secs(86_400);
const SECOND: Duration = Duration::from_secs(1);

/// The number of a query is, and has been, as it should be.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Prometheus {
    /// What is asked.
    pub ask: Ask,
    /// How long it must have been so, all of it while the gate asks.
    pub hold: Duration,
    /// Whose variables the query gets.
    pub on: Side,
}

const SIDES: [(&str, Side); 2] = [("source", Side::Source), ("target", Side::Target)];

impl Settings for Prometheus {
    const KEY: &'static str = "prometheus";

    fn read(value: Value<'_>, _: &Map<'_>, uses: &mut Vec<Use>) -> Option<Self> {
        let example = "prometheus: {server: \"http://prometheus.example.com:9090\", query: up, at_least: 1, for: 2m}";
        value.map("prometheus condition", example, |m| {
            let on = m.get("on").map(|v| one_of(v, "a side", "sides", &SIDES).map(|l| l.value));
            let side = match on {
                Some(Some(Side::Source)) => template::Sides::Source,
                _ => template::Sides::Target,
            };
            let hold = m.get("for").map(|v| v.duration(SECOND..=DAY));
            let ask = Ask::read(m, side, uses);
            // A time that cannot be read must not be taken for none.
            let (on, hold) = (on.unwrap_or(Some(Side::Target))?, hold.unwrap_or(Some(Duration::ZERO))?);
            Some(Self { ask: ask?, hold, on })
        })?
    }
}

#[async_trait]
impl ConditionKind for Prometheus {
    fn describe(&self) -> String {
        format!("{} at {}", self.wants(), self.ask.server.host())
    }

    async fn ask(&self, around: &dyn Surroundings, clients: &Clients) -> Answer {
        match self.look(around.asking(), clients).await {
            Ok(answer) => answer,
            Err(Silence { why, help }) => {
                let why = format!("{}: {why}", self.ask.server.host());
                Answer { help: Some(help), ..Answer::new(Holds::Unknown, self.wants(), why) }
            }
        }
    }

    fn every(&self) -> Duration {
        EVERY
    }

    fn filled(&self, pairs: &[Sides<'_>]) -> Option<Result<Vec<Condition>, Finding>> {
        let fill = |pair: &Sides<'_>| {
            let host = if self.on == Side::Source { pair.source } else { pair.target };
            Ok(Condition::Prometheus(Self { ask: self.ask.asking(host.fill(&self.ask.query)?), ..self.clone() }))
        };
        let mut filled: Vec<Condition> = Vec::new();
        for condition in pairs.iter().map(fill) {
            match condition {
                // One question is asked once, however many pairs it is about.
                Ok(condition) if filled.contains(&condition) => {}
                Ok(condition) => filled.push(condition),
                Err(finding) => return Some(Err(finding)),
            }
        }
        Some(Ok(filled))
    }
}

impl Prometheus {
    fn query(&self) -> String {
        escape(self.ask.query.0.as_bytes(), 160)
    }

    /// `sum(errors) is below 5, for 2 m`.
    fn wants(&self) -> String {
        let hold = if self.hold.is_zero() { String::new() } else { format!(", for {}", text::duration(self.hold)) };
        format!("`{}` is {}{hold}", self.query(), self.ask.bound)
    }

    async fn look(&self, asking: Duration, clients: &Clients) -> Result<Answer, Silence> {
        let now = clients.metrics.number(&self.ask, PATIENCE).await?;
        let is = shown(now.value);
        if !self.ask.bound.holds(now.value) {
            return Ok(Answer::new(Holds::NotYet, self.wants(), format!("it is {is}")));
        }
        let seen = format!("`{}` was {is}, {}", self.query(), self.ask.bound);
        if self.hold.is_zero() {
            return Ok(Answer::new(Holds::Yes, self.wants(), seen));
        }
        let span = Duration::from_secs(self.hold.min(asking).as_secs());
        let worst = self.worst(now, span, clients).await?;
        let (last, was) = (text::duration(span), shown(worst));
        Ok(match self.ask.bound.holds(worst) {
            false => Answer::new(Holds::NotYet, self.wants(), format!("it is {is}, and was {was} in the last {last}")),
            true if span < self.hold => {
                Answer::new(Holds::NotYet, self.wants(), format!("it is {is}, and has been so for {last}"))
            }
            true => Answer::new(Holds::Yes, self.wants(), format!("{seen}, and at worst {was} in the last {last}")),
        })
    }

    /// The number that was furthest from what it should be. Time without a number is not time for which it was so.
    async fn worst(&self, now: Reading, span: Duration, clients: &Clients) -> Result<f64, Silence> {
        if span.is_zero() {
            return Ok(now.value);
        }
        let step = (span / LOOKS).max(SECOND);
        let over = History { end: now.at, span, step };
        let values = clients.metrics.history(&self.ask.server, &self.ask.query.0, over, PATIENCE).await?;
        let wanted = over.looks();
        if values.len() < wanted {
            let why = format!(
                "it has no number at {} of {wanted} times in the last {}",
                wanted - values.len(),
                text::duration(span)
            );
            return Err(Silence {
                why,
                help: "look why it was not scraped; once it is again, the time begins anew".to_owned(),
            });
        }
        Ok(self.ask.bound.worst(values.into_iter().chain([now.value])).unwrap_or(now.value))
    }
}
