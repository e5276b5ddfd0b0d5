//! Estimates: how long steps take, and the longest way through the graph.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::observed::Observed;
use crate::step::{CopyPhase, CopyStep, Graph, Step, StepKind};

/// Assumed rate of a copy, bytes per second: a gigabit link.
const RATE: u64 = 110 << 20;
/// Assumed rate of small files, entries per second.
const ENTRIES: u64 = 10_000;
/// Assumed time of anything that is one round of commands.
const ROUND: Duration = Duration::from_millis(200);

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

/// Estimates a graph.
pub fn estimate(graph: &Graph, observed: &Observed) -> Estimate {
    let mut ends: BTreeMap<&str, Duration> = BTreeMap::new();
    let mut freezes: BTreeMap<&str, Duration> = BTreeMap::new();
    let mut streams: BTreeMap<&str, Streams> = BTreeMap::new();
    let mut total = Estimate::default();
    for step in &graph.steps {
        let takes = step_time(step, observed);
        let begins = step.after.iter().filter_map(|a| ends.get(a.as_str())).max().copied().unwrap_or_default();
        ends.insert(&step.id, begins + takes);
        total.duration = total.duration.max(begins + takes);
        if let (true, Some(pair)) = (step.urgent, &step.pair) {
            *freezes.entry(&pair.source).or_default() += takes;
        }
        if let (StepKind::Stream(stream), Some(pair)) = (&step.kind, &step.pair) {
            let known = streams.entry(&pair.source).or_default();
            *known = known.and(stream.timeout);
        }
        if let StepKind::Copy(CopyStep { phase: CopyPhase::Seed, from, .. }) = &step.kind
            && let Some(size) = step.pair.as_ref().and_then(|p| observed.tree(&p.source, from))
        {
            total.bytes += size.bytes;
            total.entries += size.entries;
        }
    }
    total.freeze = freezes.into_values().max().unwrap_or_default();
    total.streams = streams.into_values().max().unwrap_or_default();
    total
}

fn step_time(step: &Step, observed: &Observed) -> Duration {
    let size = |tree: &CopyStep| {
        let size = step.pair.as_ref().and_then(|p| observed.tree(&p.source, &tree.from));
        size.cloned().unwrap_or_default()
    };
    let carry = |bytes: u64, entries: u64, limit: Option<u64>| {
        let rate = limit.unwrap_or(RATE).clamp(1, RATE);
        Duration::from_millis(bytes.saturating_mul(1000) / rate + entries.saturating_mul(1000) / ENTRIES) + ROUND
    };
    match &step.kind {
        StepKind::Copy(tree) => match tree.phase {
            CopyPhase::Seed => carry(size(tree).bytes, size(tree).entries, tree.bandwidth),
            CopyPhase::CatchUp => carry(size(tree).bytes / 100, size(tree).entries / 10, tree.bandwidth),
            CopyPhase::Last | CopyPhase::VerifyAhead | CopyPhase::Verify => {
                carry(tree.settle_below, size(tree).entries / 10, tree.bandwidth)
            }
        },
        // In the freeze only what has changed since the comparison ahead of it is read.
        StepKind::Verify(tree) if step.urgent => carry(tree.settle_below, size(tree).entries / 10, None),
        StepKind::Verify(tree) => carry(size(tree).bytes / 4, size(tree).entries / 4, None),
        StepKind::Watch { hold, .. } => *hold,
        StepKind::Check { checks, .. } => checks.iter().map(|c| c.interval * c.rise).sum::<Duration>() + ROUND,
        StepKind::Settle { director, pool, .. } => {
            observed.pool(director, pool).and_then(|p| p.ttl).unwrap_or_default() + ROUND
        }
        StepKind::Empty { interval, .. } => *interval * 2,
        StepKind::Traffic { .. }
        | StepKind::LowerTtl { .. }
        | StepKind::RestoreTtl { .. }
        | StepKind::Hook(_)
        | StepKind::Gate { .. }
        | StepKind::Stream(_)
        | StepKind::CleanUp { .. } => ROUND,
    }
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
