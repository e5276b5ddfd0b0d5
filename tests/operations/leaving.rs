//! Sources leave, of a ramp and of a cutover: no one does while a target fails that serves already.

use std::fs;

use super::support::*;
use crate::lab::fleet::Fleet;
use crate::lab::service::Mode;

fn gate(source: &str) -> String {
    format!("web/{source}/gate-before_drain")
}

/// The ramp with two pairs, and somebody's word before each source leaves.
fn asked_before_each_drain(policy: &str) -> Fleet {
    let fleet = ramp(2);
    let more = format!("    on_failure: {policy}\n    gates: {{at: before_drain, approve: 1}}\n    hooks:");
    fleet.place.edit(RAMP, "    hooks:", &more);
    fleet
}

fn approve(fleet: &Fleet, source: &str) {
    migrate(fleet).run(&["approve", "web", &gate(source), "--why", "go"]).expect(0);
}

/// A member of the pool as HAProxy has it: its administrative state (0: ready, 1: maintenance, 8: drain) and its weight.
fn stands(fleet: &Fleet, host: &str) -> (u8, u32) {
    let server = pool(fleet).into_iter().find(|server| server.starts_with(&format!("{host} "))).unwrap();
    (server.split(' ').nth(3).unwrap().parse().unwrap(), weight(fleet, host))
}

#[test]
fn a_target_that_sickens_once_a_source_is_drained_gives_the_source_its_traffic_back_while_the_other_still_serves() {
    let fleet = asked_before_each_drain("step_back");
    let load = fleet.load(USERS);
    let mut running = apply(&fleet, RAMP);
    wait_for_words(&mut running, &gate("dal-1"), "approval (0 of 1)");
    let (_, before) = (stands(&fleet, "dal-2"), stands(&fleet, "dal-1"));
    assert_eq!(before, (0, 50), "beside the full weight of the targets");
    migrate(&fleet).run(&["set", "web", "hold=1h"]).expect(0);
    // Both words are given: what keeps the second source in service is that the first one is still watched.
    ["dal-1", "dal-2"].iter().for_each(|source| approve(&fleet, source));
    wait_for_words(&mut running, "web/dal-1/watch-drained", "of hold left");
    assert_eq!((stands(&fleet, "dal-1").0, stands(&fleet, "dal-2")), (8, before));
    migrate(&fleet).run(&["set", "web", "hold=100ms"]).expect(0);
    fleet.targets[1].service.set_mode(Mode::Sick);
    running.finish().expect(3);
    assert_eq!((stands(&fleet, "dal-1"), stands(&fleet, "dal-2")), (before, before));
    let explained = migrate(&fleet).run(&["explain", "web"]).expect(0).stdout;
    assert!(
        explained.contains("held at web/dal-1/watch-drained") && explained.contains("fra-2 has become unhealthy"),
        "{explained}"
    );
    let first: Vec<String> = begun(&records(&fleet, "web-1"), false);
    assert!(!first.contains(&"web/dal-2/drain".to_owned()), "{first:?}");
    fleet.targets[1].service.set_mode(Mode::Serving);
    migrate(&fleet).run(&["apply", RAMP, "--yes"]).expect(0);
    assert_eq!((stands(&fleet, "dal-1").0, stands(&fleet, "dal-2").0), (1, 1));
    let report = load.stop();
    println!("{} requests, {} failed", report.requests, report.failed);
    assert_kept(&fleet, &report);
}

#[test]
fn a_run_is_not_done_while_a_target_fails_its_check() {
    let fleet = ramp(2);
    fleet.place.edit(RAMP, "rise: 2}", "rise: 2, within: 500ms}");
    // Everybody has moved and was watched, and the last command of each pair is under way.
    fleet.place.edit(
        RAMP,
        "      - at: after_pair\n        run: ",
        "      - at: after_pair\n        run: while [ ! -e {{ lab }}/go ]; do sleep 0.05; done; ",
    );
    let mut running = apply(&fleet, RAMP);
    wait_for_intent(&mut running, "web/dal-2/after_pair", false);
    fleet.targets[0].service.set_mode(Mode::Sick);
    fs::write(fleet.place.root().join("go"), "").unwrap();
    running.finish().expect(3);
    let explained = migrate(&fleet).run(&["explain", "web"]).expect(0).stdout;
    assert!(
        explained.contains("held at web/last-look") && explained.contains("fra-1 is not healthy after 500 ms"),
        "{explained}"
    );
    assert_status(&fleet, "web-1", "held");
    fleet.targets[0].service.set_mode(Mode::Serving);
    migrate(&fleet).run(&["apply", RAMP, "--yes"]).expect(0);
    assert_status(&fleet, "web-1", "finished");
}

#[test]
fn the_way_back_of_a_pair_does_not_end_while_its_target_fails_its_check() {
    let fleet = cutover(2);
    fleet.place.edit(CUTOVER, "    hooks:", "    reverse: {until: commit}\n    hooks:");
    fleet.place.edit(CUTOVER, "rise: 2}", "rise: 2, within: 500ms}");
    let mut running = apply(&fleet, CUTOVER);
    wait_for_outcome(&mut running, "uploads/last-look");
    fleet.targets[0].service.set_mode(Mode::Sick);
    migrate(&fleet).run(&["commit", "uploads", "dal-1", "--yes"]).expect(0);
    running.finish().expect(3);
    let explained = migrate(&fleet).run(&["explain", "uploads"]).expect(0).stdout;
    assert!(
        explained.contains("held at uploads/dal-1/commit") && explained.contains("fra-1 is not healthy"),
        "{explained}"
    );
    // Nothing is given up: the way back is there, and nobody is cut off who does not say so.
    let back = ["rollback", "uploads", "--to", "uploads/dal-1/seed", "--yes"];
    let held = migrate(&fleet).run(&back).expect(3);
    let said = held.stdout + &held.stderr;
    assert!(
        said.contains("Stuck at uploads/dal-2/shift-50: fra-1 is not healthy") && said.contains("--accept-gap"),
        "{said}"
    );
    assert!(!said.contains("may be cut off"), "{said}");
    assert_eq!(stands(&fleet, "fra-2").0, 0);
    migrate(&fleet).run(&[&back[..], &["--accept-gap"]].concat()).expect(0);
    assert_eq!(stands(&fleet, "dal-1").0, 0);
}

#[test]
fn the_next_pair_of_a_cutover_stays_in_service_while_a_target_that_has_moved_fails_its_check() {
    let fleet = cutover(2);
    fleet.place.edit(CUTOVER, "    hooks:", "    gates: {at: before_drain, approve: 1}\n    hooks:");
    fleet.place.edit(CUTOVER, "rise: 2}", "rise: 2, within: 500ms}");
    let approve = |source: &str| {
        let gate = format!("uploads/{source}/gate-before_drain");
        migrate(&fleet).run(&["approve", "uploads", &gate, "--why", "go"]).expect(0);
    };
    let mut running = apply(&fleet, CUTOVER);
    wait_for_words(&mut running, "uploads/dal-1/gate-before_drain", "approval (0 of 1)");
    approve("dal-1");
    wait_for_words(&mut running, "uploads/dal-2/gate-before_drain", "approval (0 of 1)");
    let before = stands(&fleet, "dal-2");
    fleet.targets[0].service.set_mode(Mode::Sick);
    approve("dal-2");
    running.finish().expect(3);
    assert_eq!(stands(&fleet, "dal-2"), before);
    let explained = migrate(&fleet).run(&["explain", "uploads"]).expect(0).stdout;
    assert!(
        explained.contains("held at uploads/dal-2/look") && explained.contains("fra-1 is not healthy"),
        "{explained}"
    );
    fleet.targets[0].service.set_mode(Mode::Serving);
    migrate(&fleet).run(&["apply", CUTOVER, "--yes"]).expect(0);
    assert_status(&fleet, "uploads-1", "finished");
    assert_eq!((stands(&fleet, "dal-1").0, stands(&fleet, "dal-2").0), (1, 1));
}

#[test]
fn a_target_that_an_earlier_run_has_moved_is_looked_at_before_the_next_pair_leaves() {
    let fleet = cutover(2);
    fleet.place.edit(CUTOVER, "    hooks:", "    reverse: off\n    hooks:");
    fleet.place.edit(CUTOVER, "rise: 2}", "rise: 2, within: 500ms}");
    let plan = fleet.place.root().join(CUTOVER);
    let both = std::fs::read_to_string(&plan).unwrap();
    fleet.place.edit(CUTOVER, "{from: old, to: new}", "{from: dal-1, to: fra-1}");
    migrate(&fleet).run(&["apply", CUTOVER, "--yes"]).expect(0);
    std::fs::write(&plan, both).unwrap();
    let before = stands(&fleet, "dal-2");
    fleet.targets[0].service.set_mode(Mode::Sick);
    migrate(&fleet).run(&["apply", CUTOVER, "--yes"]).expect(3);
    assert_eq!(stands(&fleet, "dal-2"), before);
    let explained = migrate(&fleet).run(&["explain", "uploads-2"]).expect(0).stdout;
    let held = "held at uploads/dal-2/look";
    assert!(explained.contains(held) && explained.contains("fra-1 is not healthy"), "{explained}");
}
