//! Estimates: how long steps take, and the longest way through the graph.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::observed::Observed;
use crate::step::{AtMost, Graph};

/// What a plan costs, as far as can be told before.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Estimate {
    /// Bytes on the sources, where sized.
    pub bytes: u64,
    /// Entries on the sources, where sized.
    pub entries: u64,
    /// From the first step to the last.
    pub duration: Duration,
    /// Longest freeze of a pair.
    pub freeze: Duration,
    /// What streams add to both.
    #[serde(default)]
    pub streams: Streams,
}

/// How long the streams of a pair take: nobody knows how long they are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Streams {
    /// There are none.
    #[default]
    None,
    /// No longer than their timeouts.
    AtMost(Duration),
    /// Unknown: one has no timeout.
    Unknown,
}

impl Streams {
    fn and(self, timeout: Option<Duration>) -> Self {
        match (self, timeout) {
            (Self::Unknown, _) | (_, None) => Self::Unknown,
            (Self::None, Some(timeout)) => Self::AtMost(timeout),
            (Self::AtMost(before), Some(timeout)) => Self::AtMost(before + timeout),
        }
    }
}

/// When each wave is over, counted from the beginning.
pub fn wave_ends(graph: &Graph, observed: &Observed) -> BTreeMap<String, Duration> {
    let mut ends: Vec<Duration> = Vec::with_capacity(graph.steps.len());
    let mut waves: BTreeMap<&str, Duration> = BTreeMap::new();
    for (at, step) in graph.steps.iter().enumerate() {
        let begins = graph.steps.waits_for(at).filter_map(|before| ends.get(before)).max().copied().unwrap_or_default();
        let end = begins + step.kind.takes(step, observed);
        ends.push(end);
        let wave = waves.entry(&step.wave).or_default();
        *wave = end.max(*wave);
    }
    waves.into_iter().map(|(wave, end)| (wave.to_owned(), end)).collect()
}

/// Estimates a graph.
pub fn estimate(graph: &Graph, observed: &Observed) -> Estimate {
    let mut ends: Vec<Duration> = Vec::with_capacity(graph.steps.len());
    let mut freezes: BTreeMap<&str, Duration> = BTreeMap::new();
    let mut streams: BTreeMap<&str, Streams> = BTreeMap::new();
    let mut total = Estimate::default();
    for (at, step) in graph.steps.iter().enumerate() {
        let takes = step.kind.takes(step, observed);
        let begins = graph.steps.waits_for(at).filter_map(|before| ends.get(before)).max().copied().unwrap_or_default();
        ends.push(begins + takes);
        total.duration = total.duration.max(begins + takes);
        if let (true, Some(pair)) = (step.urgent, &step.pair) {
            *freezes.entry(&pair.source).or_default() += takes;
        }
        if let (Some(AtMost(limit)), Some(pair)) = (step.kind.takes_unknown_time(), &step.pair) {
            let known = streams.entry(&pair.source).or_default();
            *known = known.and(limit);
        }
        if let Some(size) = step.kind.volume(step, observed) {
            total.bytes += size.bytes;
            total.entries += size.entries;
        }
    }
    total.freeze = freezes.into_values().max().unwrap_or_default();
    total.streams = streams.into_values().max().unwrap_or_default();
    total
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_take_as_long_as_their_timeouts_allow_and_nobody_knows_how_long_without() {
        let minute = Some(Duration::from_secs(60));
        assert_eq!(Streams::None.and(minute).and(minute), Streams::AtMost(Duration::from_secs(120)));
        assert_eq!(Streams::None.and(minute).and(None).and(minute), Streams::Unknown);
        assert_eq!(
            [Streams::Unknown, Streams::AtMost(Duration::MAX), Streams::None].into_iter().max(),
            Some(Streams::Unknown)
        );
    }
}
