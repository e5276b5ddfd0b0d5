//! What a run has set at directors, as far as that stands: the last setting of each member that is done, and at which nothing is under way.
//!
//! Folded from the journal like everything else, so that a controller that takes a run up again watches over the same. Must never count
//! what a step may or may not have done.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{RunState, StepRecord, StepState};
use crate::check::PoolRef;
use crate::model::{Change, OnDrift};
use crate::step::{LowerTtlStep, Step, StepKind};

/// Everything that a run has set.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Standing {
    /// Readers share a pool until it changes.
    pools: BTreeMap<PoolRef, Arc<BTreeMap<String, SetMember>>>,
    ttls: BTreeMap<PoolRef, SetTtl>,
}

/// What the TTL of a pool was lowered to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SetTtl {
    /// As it was written and read back.
    pub ttl: Duration,
    /// Id of the step that did.
    pub step: String,
    /// When that was done.
    pub since: Option<Timestamp>,
    /// What happens when it is found otherwise.
    pub on_drift: OnDrift,
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
        for (pool, member, steps) in state.graph.steps.setters().members() {
            standing.take(pool, member, setting(state, steps, member));
        }
        let ttls = state.graph.steps.iter().filter_map(|step| lowers(&step.kind));
        let ttls: Vec<PoolRef> = ttls.map(LowerTtlStep::pool).collect();
        ttls.into_iter().for_each(|pool| standing.look_at_ttl(state, pool));
        standing
    }

    /// Takes in a record about the step at a position.
    pub fn recorded(&mut self, state: &RunState, at: usize) {
        match state.graph.steps.get(at).map(|step| &step.kind) {
            Some(StepKind::Traffic(traffic)) => {
                let pool = traffic.pool();
                for change in &traffic.changes {
                    let steps = state.graph.steps.setters().of_member(&pool, &change.member);
                    self.take(&pool, &change.member, setting(state, steps, &change.member));
                }
            }
            Some(StepKind::LowerTtl(lower)) => self.look_at_ttl(state, lower.pool()),
            Some(StepKind::RestoreTtl(restore)) => self.look_at_ttl(state, restore.pool()),
            _ => {}
        }
    }

    /// What the TTL of a pool was lowered to.
    pub fn ttl(&self, pool: &PoolRef) -> Option<&SetTtl> {
        self.ttls.get(pool)
    }

    /// Every pool in which something stands.
    pub fn all(&self) -> Vec<PoolRef> {
        let members = self.pools.iter().filter(|(_, members)| !members.is_empty()).map(|(pool, _)| pool);
        members.chain(self.ttls.keys()).cloned().collect::<BTreeSet<_>>().into_iter().collect()
    }

    fn look_at_ttl(&mut self, state: &RunState, pool: PoolRef) {
        match lowered(state, &pool) {
            Some(ttl) => self.ttls.insert(pool, ttl),
            None => self.ttls.remove(&pool),
        };
    }

    /// What stands in a pool, by member.
    pub fn in_pool(&self, pool: &PoolRef) -> Option<&Arc<BTreeMap<String, SetMember>>> {
        self.pools.get(pool).filter(|members| !members.is_empty())
    }

    fn take(&mut self, pool: &PoolRef, member: &str, setting: Option<SetMember>) {
        match (setting, self.pools.get_mut(pool)) {
            (Some(setting), Some(members)) => drop(Arc::make_mut(members).insert(member.to_owned(), setting)),
            (Some(setting), None) => {
                let members = BTreeMap::from([(member.to_owned(), setting)]);
                self.pools.insert(pool.clone(), Arc::new(members));
            }
            (None, Some(members)) if members.contains_key(member) => drop(Arc::make_mut(members).remove(member)),
            (None, _) => {}
        }
    }
}

fn lowers(kind: &StepKind) -> Option<&LowerTtlStep> {
    if let StepKind::LowerTtl(lower) = kind { Some(lower) } else { None }
}

/// A TTL stands from its lowering until anything is begun to put it back.
fn lowered(state: &RunState, pool: &PoolRef) -> Option<SetTtl> {
    let steps = || state.graph.steps.iter().zip(0..);
    let begun = |at: usize| state.at(at).is_some_and(|record| record.state != StepState::Waiting);
    let restores =
        |(step, at): (&Step, usize)| matches!(&step.kind, StepKind::RestoreTtl(r) if r.pool() == *pool) && begun(at);
    if steps().any(restores) {
        return None;
    }
    steps().find_map(|(step, at)| {
        let lower = lowers(&step.kind).filter(|lower| lower.pool() == *pool)?;
        let record = state.at(at).filter(|record| record.state == StepState::Done)?;
        Some(SetTtl { ttl: lower.ttl, step: step.id.clone(), since: record.ended, on_drift: lower.on_drift })
    })
}

/// The last step that has begun, and of which it is not certain that it has done nothing, decides: what it has set if it is done, else nobody
/// knows.
fn setting(state: &RunState, setters: &[usize], member: &str) -> Option<SetMember> {
    let mut known = setters.iter().rev().filter_map(|at| Some((at, state.at(*at)?)));
    // Each of its attempts has failed for certain: what was there before stands.
    let in_vain = |r: &StepRecord| r.state == StepState::Failed && r.failures == r.attempts;
    let (at, record) = known.find(|(_, record)| record.state != StepState::Waiting && !in_vain(record))?;
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
