//! Hosts that cannot be reached when a run is planned: refused, or left out where the plan says that some may fail.

use super::support::*;
use crate::lab::fleet::Fleet;

/// A fleet with these words for its one wave, of whose second pair the source does not answer.
fn with_a_silent_source(pairs: usize, wave: &str) -> Fleet {
    let mut fleet = cutover(pairs);
    let wave = format!("waves: [{{name: all, services: uploads, {wave}}}]\nservices:");
    fleet.place.edit(CUTOVER, "services:", &wave);
    fleet.place.edit(CUTOVER, "    drain:", "    min_capacity: 1%\n    drain:");
    fleet.sources[1].sshd.stop();
    fleet
}

#[test]
fn a_pair_that_cannot_be_reached_is_left_out_told_and_moved_by_the_next_run() {
    let mut fleet = with_a_silent_source(2, "failure_budget: 1, unreachable: budget");
    let load = fleet.load(USERS);
    let planned = migrate(&fleet).run(&["plan", CUTOVER]).expect(0).stdout;
    let words = "risk: dal-2 → fra-2: is left out, and counts as failed in wave all: dal-2 cannot be reached";
    assert!(planned.contains(words), "{planned}");
    let ended = migrate(&fleet).run(&["apply", CUTOVER, "--yes"]).expect(3).stdout;
    assert!(ended.contains(", without 1 pair that could not be reached: run uploads-1"), "{ended}");
    assert!(ended.contains("! uploads dal-2 → fra-2 is left out: dal-2 cannot be reached"), "{ended}");
    assert_eq!((weight(&fleet, "fra-1"), weight(&fleet, "dal-2"), weight(&fleet, "fra-2")), (100, 100, 0));
    let status = migrate(&fleet).run(&["status", "uploads"]).expect(0).stdout;
    assert!(status.contains("finished") && status.contains("dal-2 → fra-2 is left out"), "{status}");
    // Nothing but that pair is left, and it still does not answer.
    let nothing = migrate(&fleet).run(&["apply", CUTOVER, "--yes"]).expect(1).stderr;
    assert!(nothing.contains("nothing can be done now: what has not moved cannot be reached"), "{nothing}");
    fleet.sources[1].sshd.start_again();
    migrate(&fleet).run(&["apply", CUTOVER, "--yes"]).expect(0);
    assert_eq!(weight(&fleet, "fra-2"), 100);
    assert_kept(&fleet, &load.stop());
}

#[test]
fn a_pair_that_cannot_be_reached_refuses_a_plan_that_allows_for_none() {
    let fleet = with_a_silent_source(2, "failure_budget: 1");
    let said = migrate(&fleet).run(&["plan", CUTOVER]).expect(1).stdout;
    assert!(said.contains("refused: dal-2: cannot be reached"), "{said}");
}

#[test]
fn more_than_may_fail_are_refused_with_the_numbers() {
    let mut fleet = with_a_silent_source(2, "failure_budget: 1, unreachable: budget");
    fleet.targets[0].sshd.stop();
    let said = migrate(&fleet).run(&["plan", CUTOVER]).expect(1).stdout;
    assert!(said.contains("refused: wave all: 2 of its pairs cannot be reached, and 1 may fail"), "{said}");
}

#[test]
fn what_was_left_out_counts_when_others_fail() {
    let fleet = with_a_silent_source(3, "failure_budget: 1, unreachable: budget, max_unavailable: 2");
    // Within the budget the third pair would go on to its gate, and the run with it.
    let ill = "    gates: {at: before_drain, approve: 1}\n    hooks:\n      \
               - {at: before_pair, run: \"test {{ name }} != dal-1\", undo: none}\n";
    fleet.place.edit(CUTOVER, "    hooks:\n", ill);
    apply(&fleet, CUTOVER).finish().expect(3);
    let state = migrate::store::file::load(&journal(&fleet, "uploads-1")).unwrap();
    let held = format!("{:?}", state.status);
    assert!(held.contains("uploads/dal-1/before_pair"), "{held}");
    assert_eq!((weight(&fleet, "dal-3"), weight(&fleet, "fra-3")), (100, 0));
}
