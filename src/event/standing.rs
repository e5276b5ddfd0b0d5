//! What a run has set at directors, as far as that stands: the last setting of each member that is done, and at which nothing is under way.
//!
//! Folded from the journal like everything else, so that a controller that takes a run up again watches over the same. Must never count
//! what a step may or may not have done.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{RunState, StepState};
use crate::check::PoolRef;
use crate::model::{Change, OnDrift};
use crate::step::StepKind;

/// Everything that a run has set.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Standing {
    pools: BTreeMap<PoolRef, BTreeMap<String, SetMember>>,
}

/// What a member was set to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SetMember {
    /// As it was written and read back.
    pub change: Change,
    /// Id of the step that did.
    pub step: String,
    /// When that was done.
    pub since: Option<Timestamp>,
    /// What happens when it is found otherwise.
    pub on_drift: OnDrift,
    /// As in the step: one that got traffic back may have taken writes that nobody copies.
    pub was_writer: bool,
    /// Another number for every setting: what was read before one is no word against the next.
    pub serial: u64,
}

/// A member that is otherwise than the run has set it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drift {
    /// Its name in the pool.
    pub member: String,
    /// What it was set to: `drain`, `weight 50`, `absent`.
    pub set: String,
    /// Id of the step that did.
    pub by: String,
    /// What it is.
    pub found: String,
}

impl std::fmt::Display for Drift {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { member, set, by, found } = self;
        write!(f, "{member} was set to {set} by {by} and is {found}")
    }
}

impl Standing {
    /// What stands in a run.
    pub fn of(state: &RunState) -> Self {
        let mut standing = Self::default();
        for (pool, member) in state.graph.steps.setters().members() {
            standing.look_at(state, pool, member);
        }
        standing
    }

    /// Takes in a record about the step at a position.
    pub fn recorded(&mut self, state: &RunState, at: usize) {
        let Some(StepKind::Traffic(traffic)) = state.graph.steps.get(at).map(|step| &step.kind) else { return };
        let pool = traffic.pool();
        traffic.changes.iter().for_each(|change| self.look_at(state, &pool, &change.member));
    }

    /// What stands in a pool, by member.
    pub fn in_pool(&self, pool: &PoolRef) -> Option<&BTreeMap<String, SetMember>> {
        self.pools.get(pool).filter(|members| !members.is_empty())
    }

    fn look_at(&mut self, state: &RunState, pool: &PoolRef, member: &str) {
        match setting(state, pool, member) {
            Some(setting) => {
                self.pools.entry(pool.clone()).or_default().insert(member.to_owned(), setting);
            }
            None => {
                self.pools.get_mut(pool).map(|members| members.remove(member));
            }
        }
    }
}

/// The last step that has begun decides: what it has set if it is done, else nobody knows.
fn setting(state: &RunState, pool: &PoolRef, member: &str) -> Option<SetMember> {
    let setters = state.graph.steps.setters().of_member(pool, member).iter().rev();
    let mut known = setters.filter_map(|at| Some((at, state.at(*at)?)));
    let (at, record) = known.find(|(_, record)| record.state != StepState::Waiting)?;
    let step = state.graph.steps.get(*at).filter(|_| record.state == StepState::Done)?;
    let StepKind::Traffic(traffic) = &step.kind else { return None };
    let change = traffic.changes.iter().rfind(|change| change.member == member)?.clone();
    let (step, since) = (step.id.clone(), record.ended);
    Some(SetMember {
        change,
        step,
        since,
        on_drift: traffic.on_drift,
        was_writer: traffic.was_writer,
        serial: state.records,
    })
}
