//! The controller's own work grows with the size of a plan, and no faster. Looks at steps are counted, so that the pace of the machine
//! makes no difference.

use std::sync::Arc;

use jiff::Timestamp;

use crate::config::{self, LoadOptions};
use crate::event::{Record, RunState};
use crate::planner;
use crate::render::{self, RunReport, Show, Style};
use crate::spec::Spec;
use crate::step::Graph;
use crate::step::counting::visits;

#[path = "../../benches/scale/fleet.rs"]
mod fleet;
#[path = "../../benches/scale/idle.rs"]
mod idle;

/// How much more work there is in the larger of two plans.
const TIMES: usize = 4;

fn loaded(pairs: usize, waves: usize) -> Spec {
    let dir = tempfile::tempdir().unwrap();
    let path = fleet::cutover(dir.path(), pairs, waves);
    config::load(&path, None, &LoadOptions::default()).unwrap_or_else(|e| panic!("{e}")).0
}

/// Does the same with a small plan and with a larger one.
fn grows_linearly(what: &str, (small, large): (u64, u64)) {
    println!("{what}: {small} looks at steps, {large} for {TIMES} times the plan");
    assert!(large <= small * TIMES as u64 * 11 / 10, "{what}: {small} looks became {large}");
}

fn compare<T>(small: (T, u64), large: (T, u64), what: &str) -> [T; 2] {
    grows_linearly(what, (small.1, large.1));
    [small.0, large.0]
}

fn check(waves: [usize; 2]) {
    let sizes = [40, 40 * TIMES];
    let [small, large] = [loaded(sizes[0], waves[0]), loaded(sizes[1], waves[1])];
    let plan = |spec: &Spec| visits(|| planner::propose(spec, None));
    let plans = compare(plan(&small), plan(&large), "planning");
    let show = |n: usize| visits(|| plans[n].text(Style { verbose: true, ..Style::default() }));
    compare(show(0), show(1), "showing a plan");
    let graphs: [Graph; 2] = [idle::idle(&plans[0].graph), idle::idle(&plans[1].graph)];
    let run = |spec: &Spec, n: usize| visits(|| idle::run(spec, &graphs[n]));
    let records = compare(run(&small, 0), run(&large, 1), "running");
    let fold = |n: usize| visits(|| RunState::fold(records[n].clone(), Arc::new(graphs[n].clone())).unwrap());
    let states = compare(fold(0), fold(1), "folding");
    let report = |n: usize| visits(|| RunReport::new(&states[n], false));
    compare(report(0), report(1), "reporting");
    // As planned, with half of the pairs moved: what is shown of those depends on the kinds of their steps.
    let halves = [half(&plans[0].graph, &records[0]), half(&plans[1].graph, &records[1])];
    let report = |n: usize| visits(|| RunReport::new(&halves[n], false));
    compare(report(0), report(1), "reporting when half of it is done");
    let explain = |n: usize| visits(|| render::explain(&halves[n], false, &Default::default(), Timestamp::UNIX_EPOCH));
    compare(explain(0), explain(1), "explaining when half of it is done");
}

fn half(graph: &Graph, records: &[Record]) -> RunState {
    RunState::fold(records[..records.len() / 2].to_vec(), Arc::new(graph.clone())).unwrap()
}

#[test]
fn work_grows_with_the_pairs_of_a_wave_and_no_faster() {
    check([1, 1]);
    check([2, 2]);
}

#[test]
fn work_grows_with_the_number_of_waves_and_no_faster() {
    check([2, 2 * TIMES]);
}
