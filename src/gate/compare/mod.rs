//! Targets against sources: whether what is measured of them differs by more than chance, and by more than is allowed.
//!
//! Windows of samples follow each other from when the gate begins to ask, and each is judged once: looking again and again until chance
//! says yes would prove nothing. Must never judge by too few samples.

mod settings;
mod statistics;

use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::join_all;

use super::prometheus::PATIENCE;
use super::{Answer, Clients, Condition, ConditionKind, Holds, Sides, Surroundings};
use crate::metrics::{History, Silence, shown};
use crate::model::Host;
use crate::model::finding::Finding;
use crate::text::{self, escape};

use settings::FEWEST;
pub use settings::{Asked, Compare, Metric, Worse};
use statistics::Difference;

/// Questions to the server at the same time.
const AT_ONCE: usize = 8;
/// The shortest time between two looks.
const SHORTEST: Duration = Duration::from_secs(1);

#[async_trait]
impl ConditionKind for Compare {
    fn describe(&self) -> String {
        let wants = self.wants();
        format!("{wants}, over {} at {}", text::duration(self.over), self.server.host())
    }

    async fn ask(&self, around: &dyn Surroundings, clients: &Clients) -> Answer {
        let asking = around.asking();
        if asking < self.over {
            let (asked, over) = (text::duration(Duration::from_secs(asking.as_secs())), text::duration(self.over));
            return Answer::new(Holds::NotYet, self.wants(), format!("samples of {asked} of {over}"));
        }
        // The last whole window.
        let since = asking.as_millis() % self.over.as_millis().max(1);
        let since = Duration::from_millis(u64::try_from(since).unwrap_or(0));
        match self.look(since, clients).await {
            Ok(found) => self.answer(found),
            Err(silence) => self.unknown(silence),
        }
    }

    fn every(&self) -> Duration {
        (self.over / 20).clamp(SHORTEST, Duration::from_secs(30))
    }

    fn filled(&self, pairs: &[Sides<'_>]) -> Option<Result<Vec<Condition>, Finding>> {
        let fill = |metric: &Metric| {
            let asked = |host: &Host, is_target| {
                let query = host.fill(&metric.query)?;
                Ok(Asked { host: host.name.clone(), is_target, query })
            };
            let hosts = pairs.iter().flat_map(|pair| [asked(pair.target, true), asked(pair.source, false)]);
            Ok(Metric { hosts: hosts.collect::<Result<_, Finding>>()?, ..metric.clone() })
        };
        let metrics = self.metrics.iter().map(fill).collect::<Result<_, Finding>>();
        Some(metrics.map(|metrics| vec![Condition::Compare(Self { metrics, ..self.clone() })]))
    }
}

/// What was found of one metric.
struct Judged<'a> {
    metric: &'a Metric,
    found: Result<(Difference, [usize; 2]), Silence>,
}

impl Compare {
    fn wants(&self) -> String {
        let names: Vec<&str> = self.metrics.iter().map(|m| m.name.as_str()).collect();
        let before = self.before.map(|ago| format!(" {} ago", text::duration(ago))).unwrap_or_default();
        format!("{} of the targets no worse than of the sources{before}", text::list(&names))
    }

    fn unknown(&self, Silence { why, help }: Silence) -> Answer {
        let why = format!("{}: {why}", self.server.host());
        Answer { help: Some(help), ..Answer::new(Holds::Unknown, self.wants(), why) }
    }

    /// How likely equal series may be called different: what is allowed for all metrics together is shared by them.
    fn chance(&self) -> f64 {
        (1.0 - f64::from(self.confidence) / 100.0) / self.metrics.len().max(1) as f64
    }

    async fn look(&self, since: Duration, clients: &Clients) -> Result<Vec<Judged<'_>>, Silence> {
        let now = clients.metrics.now(&self.server, self.max_age, PATIENCE).await?;
        let end = now - since.as_secs_f64();
        let mut found = Vec::with_capacity(self.metrics.len());
        for metric in &self.metrics {
            found.push(Judged { metric, found: self.compare(metric, end, clients).await });
        }
        Ok(found)
    }

    async fn compare(&self, metric: &Metric, end: f64, clients: &Clients) -> Result<(Difference, [usize; 2]), Silence> {
        let (mut new, mut old) = (Vec::new(), Vec::new());
        for some in metric.hosts.chunks(AT_ONCE) {
            let all = some.iter().map(async |asked| (asked.is_target, self.samples(asked, end, clients).await));
            for (is_target, samples) in join_all(all).await {
                if is_target { new.extend(samples?) } else { old.extend(samples?) }
            }
        }
        let counts = [new.len(), old.len()];
        if metric.worse == Worse::Lower {
            new.iter_mut().chain(&mut old).for_each(|n| *n = -*n);
        }
        let difference = statistics::compare(&new, &old).ok_or_else(|| Silence {
            why: format!("there is nothing to compare of {}", metric.name),
            help: "the gate needs sources and targets with samples".to_owned(),
        })?;
        Ok((difference, counts))
    }

    async fn samples(&self, asked: &Asked, end: f64, clients: &Clients) -> Result<Vec<f64>, Silence> {
        let about = |silence: Silence| Silence { why: format!("{}: {}", asked.host, silence.why), ..silence };
        let ago = if asked.is_target { Duration::ZERO } else { self.before.unwrap_or_default() };
        if ago.is_zero() {
            let fresh = clients.metrics.fresh(&self.server, &asked.query, self.max_age, PATIENCE);
            fresh.await.map_err(about)?;
        }
        let over = History { end: end - ago.as_secs_f64(), span: self.over, step: self.every };
        let samples = clients.metrics.history(&self.server, &asked.query, over, PATIENCE).await.map_err(about)?;
        let wanted = FEWEST.max(over.looks() / 2);
        if samples.len() < wanted {
            let ago = if ago.is_zero() { String::new() } else { format!(", {} ago", text::duration(ago)) };
            return Err(Silence {
                why: format!("{} has too few samples{ago}: {} of {wanted} at least", asked.host, samples.len()),
                help: "look whether it is scraped, and at the labels in the query; the next window is judged anew"
                    .to_owned(),
            });
        }
        Ok(samples)
    }

    /// What is certain goes before what is not known; a critical metric goes before all.
    fn answer(&self, found: Vec<Judged<'_>>) -> Answer {
        let chance = self.chance();
        let is_worse = |judged: &Judged<'_>| match &judged.found {
            Ok((difference, _)) => difference.p < chance && difference.shift >= judged.metric.by,
            Err(_) => false,
        };
        let worse: Vec<&Judged<'_>> = found.iter().filter(|j| is_worse(j)).collect();
        let tell = |judged: &[&Judged<'_>]| {
            let told: Vec<String> = judged.iter().map(|j| tell(j, is_worse(j))).collect();
            told.join("; ")
        };
        if worse.iter().any(|j| j.metric.critical) {
            return Answer::new(Holds::No, self.wants(), tell(&worse));
        }
        if let Some(silence) = found.iter().find_map(|j| j.found.as_ref().err()) {
            return self.unknown(silence.clone());
        }
        match worse.is_empty() {
            true => Answer::new(Holds::Yes, self.wants(), tell(&found.iter().collect::<Vec<_>>())),
            false => Answer::new(Holds::NotYet, self.wants(), tell(&worse)),
        }
    }
}

/// A metric with its query, the medians, and what was made of them.
fn tell(judged: &Judged<'_>, is_worse: bool) -> String {
    let metric = judged.metric;
    let query = escape(metric.query.0.as_bytes(), 160);
    let (difference, [new, old]) = match &judged.found {
        Ok(found) => found,
        Err(silence) => return format!("{} (`{query}`): {}", metric.name, silence.why),
    };
    let sign = if metric.worse == Worse::Lower { -1.0 } else { 1.0 };
    let (target, source) = (shown(difference.medians.0 * sign), shown(difference.medians.1 * sign));
    let shift = match difference.shift * sign {
        shift if shift.is_finite() => format!("{:+.1} %", shift * 100.0),
        _ => "from nothing".to_owned(),
    };
    let (verdict, way) = (if is_worse { "worse" } else { "no worse" }, if sign < 0.0 { "lower" } else { "higher" });
    let by = format!("{:.0} % {way} is too much", metric.by * 100.0);
    format!(
        "{} (`{query}`) {verdict}: {target} against {source}, medians of {new} and {old}, {shift}, p {:.4}; {by}",
        metric.name, difference.p
    )
}

#[cfg(test)]
mod tests;
