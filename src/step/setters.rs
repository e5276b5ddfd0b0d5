//! Which steps set which members: what a run has set is what the last of them that is done has set.

use std::collections::BTreeMap;

use super::{Step, StepKind};
use crate::check::PoolRef;

/// The steps that set each member of each pool, by their positions in a graph, in order.
#[derive(Debug, Default)]
pub struct Setters(BTreeMap<PoolRef, BTreeMap<String, Vec<usize>>>);

impl Setters {
    /// Of the steps of a graph in order.
    pub(super) fn of<'a>(steps: impl Iterator<Item = &'a Step>) -> Self {
        let mut setters = Self::default();
        for (at, step) in steps.enumerate() {
            let StepKind::Traffic(traffic) = &step.kind else { continue };
            let members = setters.0.entry(traffic.pool()).or_default();
            for change in &traffic.changes {
                members.entry(change.member.clone()).or_default().push(at);
            }
        }
        setters
    }

    /// Every member that some step sets, and the steps that do.
    pub fn members(&self) -> impl Iterator<Item = (&PoolRef, &str, &[usize])> {
        self.0.iter().flat_map(|(pool, members)| {
            members.iter().map(move |(member, steps)| (pool, member.as_str(), steps.as_slice()))
        })
    }

    /// The steps that set a member.
    pub fn of_member(&self, pool: &PoolRef, member: &str) -> &[usize] {
        self.0.get(pool).and_then(|members| members.get(member)).map_or(&[], Vec::as_slice)
    }
}
