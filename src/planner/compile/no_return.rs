//! Points of no return are asked for when they come near: one gate for a service, and whatever has no way back behind it.
//!
//! The question must never come while a pair is frozen: then the pair's drain waits for the answer.

use super::{Compilation, Planned, ServiceMove, Stretch};
use crate::step::{Moment, Purpose};

/// Finds what has no way back, and what waits for the answer.
pub fn ask(c: &mut Compilation<'_>) {
    for service in &mut c.services {
        service.no_return =
            service.stretches.iter().flat_map(steps).filter_map(|p| p.draft.no_return.clone()).collect();
        // Every director has its first share; what that gives up is one thing.
        service.no_return.dedup();
        if !service.no_return.is_empty() {
            wait(service);
        }
    }
}

/// All steps of a stretch in order, but those at which a way back ends: they wait until its time has passed or somebody has committed.
fn steps(stretch: &Stretch) -> Vec<&Planned> {
    match stretch {
        Stretch::EachPair(pairs) => {
            pairs.iter().flatten().filter(|(moment, _)| is_asked(*moment)).flat_map(|(_, steps)| steps).collect()
        }
        Stretch::Together(steps) => steps.iter().collect(),
    }
}

fn is_asked(moment: Moment) -> bool {
    moment != Moment::Committed
}

/// Steps without a way back wait, and so does what takes their pair out of service before them.
fn wait(service: &mut ServiceMove<'_>) {
    // Of each pair what takes it out of service, as soon as that has come.
    let mut leaving: Vec<Option<&mut Planned>> = service.plan.pairs.iter().map(|_| None).collect();
    for stretch in &mut service.stretches {
        match stretch {
            Stretch::EachPair(pairs) => {
                for (steps, leaving) in pairs.iter_mut().zip(&mut leaving) {
                    let asked = steps.iter_mut().filter(|(moment, _)| is_asked(*moment));
                    asked.flat_map(|(_, steps)| steps).for_each(|step| look_at(step, leaving));
                }
            }
            Stretch::Together(steps) => steps.iter_mut().for_each(|step| look_at(step, &mut None)),
        }
    }
}

fn look_at<'s>(step: &'s mut Planned, leaving: &mut Option<&'s mut Planned>) {
    if step.draft.no_return.is_some() {
        step.asked = true;
        if let Some(leaving) = leaving {
            leaving.asked = true;
        }
    }
    if leaving.is_none() && (step.urgent || step.draft.kind.purpose() == Some(Purpose::Drain)) {
        *leaving = Some(step);
    }
}
