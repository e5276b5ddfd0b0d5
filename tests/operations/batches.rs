//! Batches of a wave: one after the other, and what a pair that fails does to those that follow.

use std::fs;

use super::support::*;
use crate::lab::fleet::Fleet;

const FIRST: &str = "all/batch-1";

/// Three pairs, first one and then two; a pair whose host has a file `ill` fails before it is copied.
fn batched(more: &str) -> Fleet {
    let fleet = cutover(3);
    let wave =
        format!("waves: [{{name: all, services: uploads, max_unavailable: 2, batches: [1, 100%]{more}}}]\nservices:");
    fleet.place.edit(CUTOVER, "services:", &wave);
    fleet.place.edit(CUTOVER, "    drain:", "    min_capacity: 1%\n    drain:");
    let ill = "    hooks:\n      - {at: before_pair, run: \"test ! -e {{ lab }}/{{ name }}/ill\", undo: none}\n";
    fleet.place.edit(CUTOVER, "    hooks:\n", ill);
    fleet
}

fn position(begun: &[String], of: &str) -> usize {
    begun.iter().position(|id| id == of).unwrap_or_else(|| panic!("{of} has not begun: {begun:#?}"))
}

#[test]
fn a_batch_begins_when_the_one_before_has_moved() {
    let fleet = batched("");
    let planned = migrate(&fleet).run(&["plan", CUTOVER]).expect(0).stdout;
    assert!(planned.contains("at most 2 pairs out of service at once, in batches of 1 and 2"), "{planned}");
    fleet.place.edit(CUTOVER, "    hooks:\n", "    gates: {at: before_drain, approve: 1}\n    hooks:\n");
    let load = fleet.load(USERS);
    let mut running = apply(&fleet, CUTOVER);
    wait_for_intent(&mut running, "uploads/dal-1/gate-before_drain", false);
    let explained = migrate(&fleet).run(&["explain", "uploads"]).expect(0).stdout;
    assert!(explained.contains("batch 1 of 2 of wave all: 0 of 1 pair moved"), "{explained}");
    let approve = |source: &str| {
        let step = format!("uploads/{source}/gate-before_drain");
        _ = migrate(&fleet).run(&["approve", "uploads", &step, "--why", "go"]).expect(0);
    };
    approve("dal-1");
    wait_for_intent(&mut running, "uploads/dal-2/gate-before_drain", false);
    let explained = migrate(&fleet).run(&["explain", "uploads"]).expect(0).stdout;
    assert!(explained.contains("batch 2 of 2 of wave all"), "{explained}");
    approve("dal-2");
    approve("dal-3");
    running.finish().expect(0);
    let begun = begun(&records(&fleet, "uploads-1"), false);
    let barrier = position(&begun, FIRST);
    assert!(position(&begun, "uploads/dal-1/shift-100") < barrier);
    for later in ["dal-2", "dal-3"] {
        assert!(barrier < position(&begun, &format!("uploads/{later}/before_pair")), "{begun:#?}");
    }
    assert_kept(&fleet, &load.stop());
}

#[test]
fn a_pair_that_may_fail_holds_up_no_later_batch_and_is_tried_again() {
    let fleet = batched(", failure_budget: 1");
    let ill = fleet.place.root().join("dal-1/ill");
    fs::write(&ill, "").unwrap();
    let load = fleet.load(USERS);
    apply(&fleet, CUTOVER).finish().expect(3);
    let state = migrate::store::file::load(&journal(&fleet, "uploads-1")).unwrap();
    assert_eq!(state.step(FIRST).unwrap().says, "0 of 1 moved; failed: dal-1");
    // The third waits for the slot that the first keeps.
    assert_eq!((weight(&fleet, "dal-1"), weight(&fleet, "fra-2"), weight(&fleet, "fra-3")), (100, 100, 0));
    assert_status(&fleet, "uploads-1", "held");
    fs::remove_file(ill).unwrap();
    apply(&fleet, CUTOVER).finish().expect(0);
    assert_eq!((weight(&fleet, "fra-1"), weight(&fleet, "fra-3")), (100, 100));
    assert_kept(&fleet, &load.stop());
}

#[test]
fn without_a_budget_a_pair_that_fails_holds_the_batches_behind_it() {
    let fleet = batched("");
    fs::write(fleet.place.root().join("dal-1/ill"), "").unwrap();
    apply(&fleet, CUTOVER).finish().expect(3);
    let begun = begun(&records(&fleet, "uploads-1"), false);
    assert!(begun.iter().all(|id| !id.contains("dal-2") && !id.contains("dal-3") && id != FIRST), "{begun:#?}");
}
