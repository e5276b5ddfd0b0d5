//! Points of no return are asked for when they come near: one gate for a service, and whatever has no way back behind it.
//!
//! The question must never come while a pair is frozen: then the pair's drain waits for the answer.

use super::{Chain, Steps};
use crate::gate::Gate;
use crate::model::HookPoint;
use crate::step::{GateStep, Purpose, Step, StepKind};

/// Puts the question before the steps of a service, which begin at `first`, where one of them has no way back.
pub fn ask(chain: &mut Chain, steps: &mut Steps, first: usize, service: &str) {
    let own = steps.0.get(first..).unwrap_or_default();
    let past: Vec<String> = own.iter().filter_map(|s| s.no_return.clone()).collect();
    if past.is_empty() {
        return;
    }
    let waiting = waiting(own);
    let mut gate = Steps::default();
    let asks = Gate::for_approval(HookPoint::BeforeDrain);
    let id = chain.add(&mut gate, &format!("{service}/no-return"), StepKind::Gate(GateStep { asks, past }));
    for step in steps.0.iter_mut().skip(first).zip(waiting).filter_map(|(step, waits)| waits.then_some(step)) {
        step.after.push(id.clone());
    }
    steps.0.splice(first..first, gate.0);
}

/// Which of the steps wait for the answer: those without a way back, and what takes their pair out of service before them.
fn waiting(steps: &[Step]) -> Vec<bool> {
    let drains = |step: &Step| matches!(&step.kind, StepKind::Traffic(traffic) if traffic.purpose == Purpose::Drain);
    let leaves = |step: &Step| drains(step) || step.urgent;
    let mut waiting: Vec<bool> = steps.iter().map(|s| s.no_return.is_some()).collect();
    for (n, step) in steps.iter().enumerate().filter(|(_, s)| s.no_return.is_some() && s.pair.is_some()) {
        let before = steps.get(..n).unwrap_or_default();
        let leaving = before.iter().position(|s| s.pair == step.pair && leaves(s));
        if let Some(waits) = leaving.and_then(|at| waiting.get_mut(at)) {
            *waits = true;
        }
    }
    waiting
}
