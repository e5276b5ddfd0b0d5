//! Rehearsal: histories with up to two faults of small plans of every strategy, and the command that plays them.

mod plans;

use std::process::Command;
use std::time::Instant;

use migrate::rehearse::{Options, Report};

/// So many histories of a plan with two faults are played: all with one fault or none first, and as many as are left, chosen by [`seed`].
const PLAYED: u64 = 20_000;

/// Two, unless `REHEARSE_FAULTS` says otherwise.
fn faults() -> usize {
    std::env::var("REHEARSE_FAULTS").ok().and_then(|f| f.parse().ok()).unwrap_or(2)
}

/// `MIGRATE_LONG=1` plays all.
fn limit(faults: usize) -> u64 {
    let all = faults < 2 || std::env::var_os("MIGRATE_LONG").is_some_and(|value| value == "1");
    if all { u64::MAX } else { PLAYED }
}

/// `REHEARSE_SEED`, or what follows from the tree that is tested: the same tree plays the same histories, and the next one looks elsewhere.
fn seed() -> u64 {
    let tree = || {
        let mut git = Command::new("git");
        git.args(["rev-parse", "HEAD^{tree}"]).current_dir(env!("CARGO_MANIFEST_DIR"));
        let out = git.output().ok().filter(|out| out.status.success())?;
        u64::from_str_radix(std::str::from_utf8(&out.stdout).ok()?.get(..15)?, 16).ok()
    };
    let given = std::env::var("REHEARSE_SEED").ok();
    given.map(|seed| seed.parse().expect("REHEARSE_SEED is a number")).or_else(tree).unwrap_or(1)
}

fn rehearse(plan: &str, faults: usize) -> Report {
    let (spec, graph) = plans::compile(plan);
    let began = Instant::now();
    let options = Options { faults, limit: limit(faults), seed: seed() };
    let report = migrate::rehearse::rehearse(&spec, &graph, &options, &mut |_| {}).unwrap();
    println!("{}{:?}\n", report.text(), began.elapsed());
    let few = report.levels.iter().filter(|level| level.faults < 2);
    assert!(few.clone().all(|level| level.played == level.histories), "single faults are all played");
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
fn every_history_of_batches_and_a_fault_keeps_every_promise() {
    let batches = |more: &str| {
        let plan = plans::CUTOVER.replace("rise: 2", "rise: 1");
        format!("{plan}waves: [{{ name: all, services: uploads, batches: 1, {more} }}]\n")
    };
    let plan = batches("failure_budget: 1, max_unavailable: 1");
    let steps = plans::compile(&plan).1.steps;
    let waits = |id: &str, by: &str| {
        let at = steps.position(by).unwrap_or_else(|| panic!("{by}"));
        steps.dependents(at).contains(&steps.position(id).unwrap_or_else(|| panic!("{id}")))
    };
    assert!(waits("uploads/dal-2/seed", "all/batch-1") && waits("all/batch-1", "uploads/dal-1/shift-100"));
    assert!(rehearse(&plan, faults().min(1)).holds());
    assert!(rehearse(&batches("max_unavailable: 1"), faults().min(1)).holds());
}

#[test]
fn every_history_of_a_pair_with_a_way_back_and_two_faults_keeps_every_promise() {
    assert!(rehearse(&plans::one("", ""), faults()).holds());
}

#[test]
fn every_history_of_a_pair_behind_a_fence_and_a_fault_keeps_every_promise() {
    let fenced = plans::one("", "")
        .replace("drain: { deadline", "drain: { fence: firewall, deadline")
        .replace("pool: uploads }\n    state", "pool: uploads, port: 80 }\n    state");
    let report = rehearse(&fenced, faults().min(1));
    assert!(report.holds());
    assert!(
        plans::compile(&fenced).1.steps.iter().any(|step| step.id.ends_with("/unfence")),
        "the fence is in the plan"
    );
}

#[test]
fn every_history_behind_a_zone_and_a_balancer_with_a_fault_keeps_every_promise() {
    for plan in [plans::RAMP.to_owned(), plans::CUTOVER.to_owned(), plans::and_back(plans::CUTOVER)] {
        assert!(rehearse(&plans::behind(&plan, plans::ZONE), faults().min(1)).holds());
    }
}

#[test]
fn every_history_behind_balancers_of_two_sites_with_a_fault_keeps_every_promise() {
    assert!(rehearse(&plans::behind(plans::RAMP, plans::FAR), faults().min(1)).holds());
    assert!(rehearse(&plans::behind(&plans::and_back(plans::CUTOVER), plans::FAR), faults().min(1)).holds());
}

#[test]
fn every_history_of_a_pair_with_a_relay_and_a_fault_keeps_every_promise() {
    let relay = "relay: { to: 10.80.0.10, ports: 80, quiet_for: 1s, interval: 1s }";
    let relayed = |more: &str| plans::one(&format!("{relay}\n    {more}"), "");
    let given_back =
        relayed(plans::GIVEN_BACK).replace("pool: uploads }\n    state", "pool: uploads, port: 80 }\n    state");
    let steps = plans::compile(&given_back).1.steps;
    let at = |name: &str| steps.iter().position(|step| step.id.ends_with(name)).unwrap_or_else(|| panic!("{name}"));
    assert!(at("/retire") < at("/relay") && at("/stragglers") < at("/unrelay") && at("/unrelay") < at("/quiet"));
    let waits = steps.by_id("uploads/dal-1/quiet").unwrap();
    assert!(waits.after.contains(&"uploads/dal-1/unrelay".to_owned()), "{waits:?}");
    // Without state there are fewer histories, and the relay is the same.
    let ramp = plans::ramp_and_give_back().replace(plans::GIVEN_BACK, relay);
    assert!(ramp.contains(relay) && rehearse(&ramp, faults().min(1)).holds());
}

#[test]
fn every_history_of_two_pairs_with_a_way_back_and_a_fault_keeps_every_promise() {
    for plan in [plans::CUTOVER, plans::CUTOVER_BY_NAME] {
        assert!(rehearse(&plans::and_back(plan), faults().min(1)).holds());
    }
}
