//! What a plan has moved already needs no steps.

use super::Compilation;
use super::service::{AROUND, PairPlan, ServicePlan};
use crate::check::SubjectName;
use crate::model::Strategy;
use crate::model::finding::Finding;

/// Leaves out what has moved: pair by pair where pairs move one by one, else a service that has moved as a whole.
pub fn leave_out(c: &mut Compilation<'_>) {
    for service in &mut c.services {
        let plan = &mut service.plan;
        let left: Vec<bool> = plan.pairs.iter().map(|pair| !moved(plan, pair)).collect();
        match plan.service.strategy {
            Strategy::Ramp if left.contains(&true) => {}
            Strategy::Ramp => plan.pairs.clear(),
            Strategy::Cutover => {
                plan.moved_before = targets_of_moved(plan, &left);
                let mut left = left.into_iter();
                plan.pairs.retain(|_| left.next().unwrap_or(true));
                c.findings.extend(plan.pairs.iter().filter_map(|pair| written_to(plan, pair)));
            }
        }
    }
    c.services.retain(|service| !service.plan.pairs.is_empty());
}

/// The targets of pairs that are not left to move, as many as are looked at.
fn targets_of_moved(plan: &ServicePlan<'_>, left: &[bool]) -> Vec<SubjectName> {
    let moved = plan.pairs.iter().zip(left).rev().filter(|(_, left)| !**left);
    moved.take(AROUND).map(|(pair, _)| pair.asked.clone()).collect()
}

fn moved(plan: &ServicePlan<'_>, pair: &PairPlan<'_>) -> bool {
    !plan.pools.is_empty() && plan.members(pair).all(|place| place.pool.moved(place.source, place.target))
}

/// A pair whose target already takes traffic is refused: its state may have been written to over there, and copying again would lose that.
fn written_to(plan: &ServicePlan<'_>, pair: &PairPlan<'_>) -> Option<Finding> {
    plan.members(pair).find(|place| place.pool.serves(&place.target.name) && !pair.states.is_empty())?;
    let about = format!("{} → {}", pair.source.name, pair.target.name);
    let target = &pair.target.name;
    let what = format!("{target} already takes traffic, and copying over it would undo what it has written");
    let hint = "go on with the run that began this (`migrate status`), or take the target out of the pool first";
    Some(Finding::refused(about, what).hint(hint))
}
