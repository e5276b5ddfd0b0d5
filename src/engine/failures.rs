//! What has failed in a session, as far as the plan's budgets count it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::step::{LeftOut, Step};

/// A service, and the source of its pair where that has failed alone.
type Failed = (Arc<str>, Option<String>);

/// Pairs that failed in this session, and services where that was a step of no pair.
#[derive(Default)]
pub(super) struct Failures {
    waves: BTreeMap<Arc<str>, BTreeSet<Failed>>,
    all: usize,
}

impl Failures {
    /// Pairs that a run moves without count as failed from its beginning.
    pub fn new(left_out: &[LeftOut]) -> Self {
        let mut failures = Self::default();
        for left in left_out {
            failures.add(&left.wave, (Arc::clone(&left.service), Some(left.pair.source.clone())));
        }
        failures
    }

    /// Counts a failed step; how many pairs have failed in its wave and in all.
    pub fn count(&mut self, step: &Step) -> (usize, usize) {
        self.add(&step.wave, (step.service.clone(), step.pair.as_ref().map(|p| p.source.clone())))
    }

    fn add(&mut self, wave: &Arc<str>, failed: Failed) -> (usize, usize) {
        let wave = self.waves.entry(Arc::clone(wave)).or_default();
        self.all += usize::from(wave.insert(failed));
        (wave.len(), self.all)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Pair;

    #[test]
    fn what_a_run_moves_without_counts_once_in_its_wave_and_in_all() {
        let left = |wave: &str, source: &str| LeftOut {
            wave: wave.into(),
            service: "web".into(),
            pair: Arc::new(Pair { source: source.into(), target: format!("new-{source}") }),
            why: "silent".into(),
        };
        let mut failures = Failures::new(&[left("a", "1"), left("a", "2"), left("b", "3")]);
        assert_eq!(failures.add(&"a".into(), ("web".into(), Some("4".into()))), (3, 4));
        assert_eq!(failures.add(&"a".into(), ("web".into(), Some("1".into()))), (3, 4), "it is known already");
    }
}
