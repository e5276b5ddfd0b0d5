//! What a plan has moved already needs no steps.

use super::Compilation;
use super::service::{PairPlan, ServicePlan};
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
                let mut left = left.into_iter();
                plan.pairs.retain(|_| left.next().unwrap_or(true));
                c.findings.extend(plan.pairs.iter().filter_map(|pair| written_to(plan, pair)));
            }
        }
    }
    c.services.retain(|service| !service.plan.pairs.is_empty());
}

fn moved(plan: &ServicePlan<'_>, pair: &PairPlan<'_>) -> bool {
    plan.pool.as_ref().zip(pair.members.as_ref()).is_some_and(|(pool, members)| pool.moved(members))
}

/// A pair whose target already takes traffic is refused: its state may have been written to over there, and copying again would lose that.
fn written_to(plan: &ServicePlan<'_>, pair: &PairPlan<'_>) -> Option<Finding> {
    let (pool, (_, member)) = plan.pool.as_ref().zip(pair.members.as_ref())?;
    if !pool.serves(&member.name) || pair.states.is_empty() {
        return None;
    }
    let about = format!("{} → {}", pair.source.name, pair.target.name);
    let target = &pair.target.name;
    let what = format!("{target} already takes traffic, and copying over it would undo what it has written");
    let hint = "go on with the run that began this (`migrate status`), or take the target out of the pool first";
    Some(Finding::refused(about, what).hint(hint))
}
