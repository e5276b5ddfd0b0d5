//! What targets really get at every step of a ramp: the full weight of the targets stands beside the sources until these are taken out.
//!
//! Pure arithmetic over the changes that are planned. Must never tell a share that the weights do not make.

use std::collections::BTreeMap;

use super::service::{Place, ServicePlan};
use super::{Compilation, Planned, Stretch};
use crate::model::{Change, Mode, Strategy};
use crate::step::{Purpose, StepKind};

/// Tells it at every shift, and at every drain.
pub fn tell(c: &mut Compilation<'_>) {
    for service in c.services.iter_mut().filter(|service| service.plan.service.strategy == Strategy::Ramp) {
        let plan = &service.plan;
        let mut pools: Vec<Weights> = (0..plan.pools.len()).map(|at| Weights::now(plan, at)).collect();
        for planned in service.stretches.iter_mut().flat_map(all) {
            let StepKind::Traffic(traffic) = &mut planned.draft.kind else { continue };
            let Some(at) = plan.pools.iter().position(|pool| pool.is_set_by(traffic)) else { continue };
            let Some(weights) = pools.get_mut(at) else { continue };
            traffic.changes.iter().for_each(|change| weights.play(change));
            if matches!(traffic.purpose, Purpose::Shift(_) | Purpose::Drain) {
                traffic.targets_get = weights.of_targets();
                traffic.over_all = over_all(&pools);
            }
        }
    }
}

/// The least and the most of what targets get at any of several directors: how many clients come to which, nobody knows.
fn over_all(pools: &[Weights]) -> Option<(u16, u16)> {
    let shares: Vec<u16> = pools.iter().map(Weights::of_targets).collect::<Option<_>>()?;
    let (least, most) = (*shares.iter().min()?, *shares.iter().max()?);
    (shares.len() > 1).then_some((least, most))
}

/// All steps of a stretch in order.
fn all(stretch: &mut Stretch) -> Vec<&mut Planned> {
    match stretch {
        Stretch::EachPair(pairs) => pairs.iter_mut().flatten().flat_map(|(_, steps)| steps).collect(),
        Stretch::Together(steps) => steps.iter_mut().collect(),
    }
}

/// What counts of the weights of sources and targets.
struct Weights {
    /// Of each member, and whether it is a target.
    of: BTreeMap<String, (u64, bool)>,
    targets: u64,
    sources: u64,
}

impl Weights {
    /// Of the pool at this place among those of its service.
    fn now(plan: &ServicePlan<'_>, at: usize) -> Self {
        let mut of = BTreeMap::new();
        for Place { pool, source, target } in plan.pairs.iter().filter_map(|pair| plan.members(pair).nth(at)) {
            let has = if pool.may_serve(&source.name) { source.full } else { 0 };
            of.insert(source.name.clone(), (u64::from(has), false));
            let has = pool.member(&target.name).filter(|_| pool.serves(&target.name)).map_or(0, |m| m.weight);
            of.insert(target.name.clone(), (u64::from(has), true));
        }
        Self::of(of)
    }

    fn of(of: BTreeMap<String, (u64, bool)>) -> Self {
        let sum = |wanted: bool| of.values().filter(|(_, t)| *t == wanted).map(|(weight, _)| weight).sum();
        Self { targets: sum(true), sources: sum(false), of }
    }

    fn play(&mut self, change: &Change) {
        let Some((weight, is_target)) = self.of.get_mut(&change.member) else { return };
        let sum = if *is_target { &mut self.targets } else { &mut self.sources };
        *sum -= *weight;
        *weight = if change.mode == Mode::Ready { u64::from(change.weight) } else { 0 };
        *sum += *weight;
    }

    /// What targets get of all that these members get, in tenths of a percent.
    fn of_targets(&self) -> Option<u16> {
        let Self { targets, sources, .. } = *self;
        let rounded = (targets * 1000 + (targets + sources) / 2).checked_div(targets + sources)?;
        // Nobody has everything as long as somebody else has something.
        let most = if sources == 0 { 1000 } else { 999 };
        u16::try_from(rounded.min(most)).ok()
    }
}
