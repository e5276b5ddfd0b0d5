//! How the passes of each tree will find changes: watched or swept, as far as the hosts were asked.

use std::collections::{BTreeMap, BTreeSet};

use super::observed::{Observed, Seen};
use crate::copy::watch::{ExpectedScan, PER_HOST, expected_scan};
use crate::step::{Graph, Step};

/// What is known of the sources.
pub struct ChangeDetection<'a> {
    /// `None` offline.
    observed: Option<&'a Observed>,
    /// Jobs by source: a host watches only so many trees.
    jobs: BTreeMap<&'a str, BTreeSet<&'a str>>,
}

impl<'a> ChangeDetection<'a> {
    /// Over all trees of a plan.
    pub fn new(observed: Option<&'a Observed>, graph: &'a Graph) -> Self {
        let mut jobs: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        for step in &graph.steps {
            if let (Some(tree), Some(pair)) = (step.kind.finds_changes_of(), &step.pair) {
                jobs.entry(&pair.source).or_default().insert(&tree.job);
            }
        }
        Self { observed, jobs }
    }

    /// Of a step that carries changes.
    pub fn of(&self, step: &Step) -> Option<ExpectedScan> {
        let (tree, pair) = step.kind.finds_changes_of().zip(step.pair.as_ref())?;
        let unknown = |why: &str| Some(ExpectedScan::Unknown { why: why.to_owned() });
        let host = match self.observed.map(|observed| observed.hosts.get(&pair.source)) {
            None => return unknown("not known until the host is asked"),
            Some(Some(Seen::Live(host))) => host,
            Some(_) => return unknown("the host did not answer"),
        };
        let Some(root) = host.paths.iter().find(|root| root.path == tree.from) else {
            return unknown("the host was not asked about it");
        };
        let trees = self.jobs.get(pair.source.as_str()).map_or(0, BTreeSet::len);
        match expected_scan(host, root) {
            ExpectedScan::Watched if trees > PER_HOST => {
                unknown(&format!("{PER_HOST} trees of a host are watched at a time, and the plan has {trees} there"))
            }
            expected => Some(expected),
        }
    }
}
