//! Rehearsal: all histories with up to two faults of small plans of every strategy, and the command that plays them.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    missing_docs
)]

#[path = "rehearse/plans.rs"]
mod plans;

use migrate::rehearse::{Options, Report};
use std::time::Instant;

/// Two, unless `REHEARSE_FAULTS` says otherwise.
fn faults() -> usize {
    std::env::var("REHEARSE_FAULTS").ok().and_then(|f| f.parse().ok()).unwrap_or(2)
}

fn rehearse(plan: &str, faults: usize) -> Report {
    let (spec, graph) = plans::compile(plan);
    let began = Instant::now();
    let report =
        migrate::rehearse::rehearse(&spec, &graph, &Options { faults, limit: u64::MAX, seed: 1 }, &mut |_| {}).unwrap();
    println!("{}{:?}\n", report.text(), began.elapsed());
    report
}

#[test]
fn every_history_of_a_ramp_with_two_faults_keeps_every_promise() {
    assert!(rehearse(plans::RAMP, faults()).holds());
}

#[test]
fn every_history_of_a_cutover_with_two_faults_keeps_every_promise() {
    assert!(rehearse(plans::CUTOVER, faults()).holds());
}

#[test]
fn every_history_of_a_stream_with_two_faults_keeps_every_promise() {
    assert!(rehearse(plans::STREAM, faults()).holds());
}

#[test]
fn every_history_of_a_cutover_by_name_with_two_faults_keeps_every_promise() {
    assert!(rehearse(plans::CUTOVER_BY_NAME, faults()).holds());
}

#[test]
fn every_history_of_a_pair_with_a_way_back_and_two_faults_keeps_every_promise() {
    assert!(rehearse(&plans::one("", ""), faults()).holds());
}

#[test]
fn every_history_of_two_pairs_with_a_way_back_and_a_fault_keeps_every_promise() {
    for plan in [plans::CUTOVER, plans::CUTOVER_BY_NAME] {
        assert!(rehearse(&plans::and_back(plan), faults().min(1)).holds());
    }
}
