//! How long pairs may be frozen: which steps that bounds, and what the plan says of it.

use super::Compilation;
use super::service::ServicePlan;
use crate::model::finding::Finding;
use crate::model::{Freeze, Strategy};
use crate::step::{Class, Moment};
use crate::text;

/// The bound of the steps of a moment: those of the freeze, up to where the target could take writes.
pub fn of(plan: &ServicePlan<'_>, moment: Moment) -> Option<Freeze> {
    let is_bounded = matches!(moment, Moment::Freeze | Moment::Fenced | Moment::Frozen | Moment::Proved);
    plan.service.freeze.filter(|_| is_bounded)
}

/// Tells what happens when a freeze lasts too long.
pub fn tell(c: &mut Compilation<'_>) {
    let services = c.services.iter().map(|service| &service.plan);
    for plan in services.filter(|plan| plan.service.strategy == Strategy::Cutover && !plan.pairs.is_empty()) {
        let Some(Freeze { within, attempts, pause }) = plan.service.freeze else { continue };
        let within = text::duration(within);
        let then = match attempts {
            1 => "then the run holds".to_owned(),
            n => format!("that is tried {n} times in all, {} apart, then the run holds", text::duration(pause)),
        };
        let what =
            format!("a pair that is frozen for longer than {within} goes back into service on its source; {then}");
        c.findings.push(Finding::note(&*plan.service.name, what));
        let mut states = plan.pairs.iter().flat_map(|pair| &pair.states);
        if states.any(|state| state.state.steps(Moment::Frozen).iter().any(|d| d.kind.class() == Class::Opaque)) {
            let what =
                format!("a stream that is under way is not cut off after {within}: a part of it may have arrived");
            c.findings.push(Finding::note(&*plan.service.name, what).hint("give the stream a `timeout`"));
        }
    }
}
