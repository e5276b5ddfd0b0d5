//! The end of a pair's way back, and what is said where there is none.

use super::service::{PairPlan, ServicePlan};
use crate::check::SubjectName;
use crate::spec::Reverse;
use crate::step::{CommitStep, Draft, StepKind};

/// Where the way back of a pair ends.
pub fn commit(plan: &ServicePlan<'_>, pair: &PairPlan<'_>) -> Option<Draft> {
    let (source, target) = (&pair.source.name, &pair.target.name);
    let until = plan.service.reverse.until()?;
    let commit =
        CommitStep { source: source.clone(), until, checks: plan.service.all_checks([SubjectName::host(target)]) };
    let no_return = Some(format!("what {target} has taken is not carried back to {source} any more"));
    Some(Draft { no_return, ..Draft::new("commit", StepKind::Commit(commit)) })
}

/// Why there is no way back once the target may have taken writes; `None` where they are carried back.
pub fn stays_behind(plan: &ServicePlan<'_>, pair: &PairPlan<'_>) -> Option<String> {
    let Reverse::Off { why } = &plan.service.reverse else { return None };
    let (source, target) = (&pair.source.name, &pair.target.name);
    (!pair.states.is_empty()).then(|| format!("{target} may have taken writes that {source} does not have: {why}"))
}
