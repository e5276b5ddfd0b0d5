//! Asks a query and gets one number, or why not.
//!
//! This is what everybody asks who needs a number: gates, checks, and what holds work back.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::try_join_all;
use jiff::Timestamp;

use super::answer::{self, Sample};
use super::wire::{self, Wire};
use super::{Ask, Server, Silence, quote, selectors};
use crate::secret::Secrets;
use crate::text;

/// Selections of one query whose age is asked for.
const SELECTORS: usize = 8;

/// Reads numbers from Prometheus.
pub struct Reader {
    wire: Wire,
}

/// A number, and when it was one.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Reading {
    /// The number: finite.
    pub value: f64,
    /// The time of its evaluation, in seconds by the server's clock.
    pub at: f64,
}

/// A query over time.
#[derive(Debug, Clone, Copy)]
pub struct History {
    /// Its end, in seconds by the server's clock.
    pub end: f64,
    /// How far it reaches back.
    pub span: Duration,
    /// Time between two values.
    pub step: Duration,
}

impl History {
    /// How many values there are when none is missing.
    pub fn looks(&self) -> usize {
        usize::try_from(self.span.as_millis() / self.step.as_millis().max(1)).unwrap_or(usize::MAX).saturating_add(1)
    }
}

impl Reader {
    /// Contacts nobody yet.
    pub fn new(secrets: Arc<dyn Secrets>) -> Self {
        Self { wire: Wire::new(secrets) }
    }

    /// The number that a query gives now. `ask.query` has its variables filled in.
    pub async fn number(&self, ask: &Ask, patience: Duration) -> Result<Reading, Silence> {
        let both = tokio::time::timeout(patience, self.fresh_number(ask, patience));
        both.await.unwrap_or_else(|_| Err(wire::late(patience)))
    }

    async fn fresh_number(&self, ask: &Ask, patience: Duration) -> Result<Reading, Silence> {
        let query = ask.query.0.as_str();
        let data = self.wire.get(&ask.server, "query", &[("query", query)], patience).await?;
        let Sample { at, value } = answer::number(data)?;
        recent(at, ask.max_age)?;
        self.fresh(&ask.server, query, ask.max_age, patience).await?;
        Ok(Reading { value, at })
    }

    /// What time it is there, in seconds.
    pub async fn now(&self, server: &Server, max_age: Duration, patience: Duration) -> Result<f64, Silence> {
        let data = self.wire.get(server, "query", &[("query", "time()")], patience).await?;
        let now = answer::number(data)?.value;
        recent(now, max_age)?;
        Ok(now)
    }

    /// The values of a query over time: one for each step, the last at the end. Steps without a value are left out.
    pub async fn history(
        &self,
        server: &Server,
        query: &str,
        over: History,
        patience: Duration,
    ) -> Result<Vec<f64>, Silence> {
        let seconds = |n: f64| format!("{n:.3}");
        let (start, end) = (seconds(over.end - over.span.as_secs_f64()), seconds(over.end));
        let step = seconds(over.step.as_secs_f64());
        let query = [("query", query), ("start", &start), ("end", &end), ("step", &step)];
        let data = self.wire.get(server, "query_range", &query, patience).await?;
        Ok(answer::series(data)?.into_iter().map(|sample| sample.value).collect())
    }

    /// Whether what a query looks at is still being measured.
    pub async fn fresh(
        &self,
        server: &Server,
        query: &str,
        max_age: Duration,
        patience: Duration,
    ) -> Result<(), Silence> {
        let selectors = selectors::find(query);
        let asked = selectors.iter().take(SELECTORS).map(async |selector| {
            let age = selector.age();
            let data = self.wire.get(server, "query", &[("query", age.as_str())], patience).await;
            match data.and_then(answer::ages) {
                Ok(Some(age)) if age > max_age.as_secs_f64() => Err(stale(&selector.series, age)),
                Ok(_) => Ok(()),
                Err(e) => Err(Silence::new(format!("the age of its samples is unknown: {}", e.why), e.help)),
            }
        });
        try_join_all(asked).await.map(|_| ())
    }
}

fn stale(series: &str, age: f64) -> Silence {
    let age = text::duration(Duration::try_from_secs_f64(age).unwrap_or(Duration::MAX));
    let why = format!("stale: the last sample of `{}` is {age} old", quote(series));
    Silence::new(why, "look whether it is scraped; raise `max_age` where it is scraped less often")
}

/// An answer is of now: one out of a cache, or by another clock, is no news.
fn recent(at: f64, max_age: Duration) -> Result<(), Silence> {
    let off = Timestamp::now().as_millisecond() as f64 / 1000.0 - at;
    if off.abs() <= max_age.as_secs_f64() {
        return Ok(());
    }
    let by = text::duration(Duration::try_from_secs_f64(off.abs()).unwrap_or(Duration::MAX));
    let which = if off > 0.0 { "ago" } else { "ahead" };
    let why = format!("stale: its answer is for a time {by} {which}");
    Err(Silence::new(why, "a cache has answered, or one of the clocks is wrong: mend that"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_for_another_time_is_stale() {
        let now = Timestamp::now().as_millisecond() as f64 / 1000.0;
        let minute = Duration::from_secs(60);
        assert!(recent(now, minute).is_ok());
        for off in [-300.0, 300.0, f64::NAN] {
            assert!(recent(now + off, minute).is_err(), "{off}");
        }
        assert!(recent(now - 300.0, minute).unwrap_err().why.starts_with("stale: its answer is for a time 5m"));
    }
}
