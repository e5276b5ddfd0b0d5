//! Spec and what was seen → step graph. Pure.
//!
//! Owns the order of things: which step waits for which. Must never leave a choice to execution that can be made here.

mod aside;
mod chain;
mod cutover;
mod pool;
mod ramp;
mod service;
mod threshold;

use std::collections::VecDeque;

use super::observed::Observed;
use super::rails;
use crate::model::Strategy;
use crate::model::finding::Finding;
use crate::spec::{Spec, Wave};
use crate::step::{Budgets, Graph, StepKind, WatchStep};
use chain::{Chain, Steps};

/// Compiles the whole plan. What cannot be compiled is among the findings, as refused.
pub fn compile(spec: &Spec, observed: &Observed) -> (Graph, Vec<Finding>) {
    let mut steps = Steps::default();
    let mut findings = Vec::new();
    let mut before: Vec<String> = Vec::new();
    for wave in &spec.plan.waves {
        let done = compile_wave(&Scope { spec, observed, wave }, &mut steps, &mut findings, &before);
        // A wave in which nothing is left to do hands on what it was to wait for.
        before = if done.is_empty() { before } else { pause(&mut steps, wave, done) };
    }
    let waves = spec.plan.waves.iter().map(|w| (w.name.clone(), w.failure_budget)).collect();
    let budgets = Budgets { waves, all: spec.plan.failure_budget };
    let graph = Graph { steps: steps.0, budgets, total_bandwidth: spec.plan.total_bandwidth };
    findings.extend(rails::check(spec, observed, &graph));
    (graph, findings)
}

/// What compiling a wave needs to know.
#[derive(Clone, Copy)]
struct Scope<'a> {
    spec: &'a Spec,
    observed: &'a Observed,
    wave: &'a Wave,
}

/// Adds the steps of a wave; returns those that end it.
fn compile_wave(scope: &Scope<'_>, steps: &mut Steps, findings: &mut Vec<Finding>, before: &[String]) -> Vec<String> {
    let mut slots = Slots::new(scope.wave.max_unavailable);
    let mut ends = Vec::new();
    for name in &scope.wave.services {
        let Some(service) = scope.spec.plan.services.iter().find(|s| &s.name == name) else { continue };
        let first = steps.0.len();
        match service::ServicePlan::new(scope, service) {
            Ok(plan) => {
                ends.extend(match service.strategy {
                    Strategy::Ramp => ramp::compile(&plan, steps, findings, before),
                    Strategy::Cutover => cutover::compile(&plan, steps, findings, before, &mut slots),
                });
                threshold::ask(&mut plan.chain(None, before.to_vec()), steps, first, &service.name);
            }
            Err(refusals) => findings.extend(refusals),
        }
    }
    ends
}

fn pause(steps: &mut Steps, wave: &Wave, done: Vec<String>) -> Vec<String> {
    if wave.pause.is_zero() {
        return done;
    }
    let mut chain = Chain::new(&wave.name, "", None, done);
    chain.add(steps, &format!("{}/pause", wave.name), watch_only(wave.pause));
    chain.ends()
}

fn watch_only(hold: std::time::Duration) -> StepKind {
    StepKind::Watch(WatchStep { hold, checks: Default::default() })
}

/// Lets at most so many pairs of a wave be out of service: each takes the slot that the pair before it gives back.
struct Slots {
    limit: usize,
    taken: VecDeque<Vec<String>>,
}

impl Slots {
    fn new(limit: usize) -> Self {
        Self { limit: limit.max(1), taken: VecDeque::new() }
    }

    /// Ids that the next pair has to wait for before it leaves service.
    fn next(&mut self) -> Vec<String> {
        if self.taken.len() < self.limit { Vec::new() } else { self.taken.pop_front().unwrap_or_default() }
    }

    /// The pair is back in service once these are done.
    fn give(&mut self, ends: Vec<String>) {
        self.taken.push_back(ends);
    }
}
