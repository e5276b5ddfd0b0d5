//! Alerts of the hosts of a pair are silenced from right before its traffic changes until its target has taken over.

use super::service::{PairPlan, ServicePlan};
use crate::model::Strategy;
use crate::model::finding::Finding;
use crate::step::{Draft, Moment, SilenceStep, StepKind};

/// The last moment before anything changes for users of a pair.
pub fn before(plan: &ServicePlan<'_>) -> Moment {
    match plan.service.strategy {
        Strategy::Ramp => Moment::BeforeShift,
        Strategy::Cutover => Moment::BeforeDrain,
    }
}

/// The step that makes them, where the plan asks for that.
pub fn make(plan: &ServicePlan<'_>, pair: &PairPlan<'_>) -> Result<Vec<Draft>, Finding> {
    of(plan, pair, "silence", true)
}

/// The step that takes them away.
pub fn lift(plan: &ServicePlan<'_>, pair: &PairPlan<'_>) -> Result<Vec<Draft>, Finding> {
    of(plan, pair, "unsilence", false)
}

fn of(plan: &ServicePlan<'_>, pair: &PairPlan<'_>, name: &str, makes: bool) -> Result<Vec<Draft>, Finding> {
    let Some(silence) = &plan.service.silence else { return Ok(Vec::new()) };
    let wanted = silence.wanted(pair.source, pair.target)?;
    let step = SilenceStep { at: silence.at.clone(), wanted, lasts: silence.lasts, must: silence.must, makes };
    Ok(vec![Draft::new(name, StepKind::Silence(Box::new(step)))])
}
