//! What a plan says for the case that a step fails: put the last shift back, or everything.

use super::support::*;
use crate::lab::fleet::Fleet;
use crate::lab::service::Mode;

/// A failed step leads to this.
fn with_policy(fleet: &Fleet, plan: &str, policy: &str) {
    fleet.place.edit(plan, "    drain:", &format!("    on_failure: {policy}\n    drain:"));
}

/// Applies the ramp until half of the traffic is on the targets, then lets one of them fail.
fn fail_at_half(fleet: &mut Fleet, fail: impl FnOnce(&mut Fleet)) -> crate::lab::command::Ended {
    fleet.place.edit(RAMP, "hold: 200ms", "hold: 5s");
    let set = |hold: &str| _ = migrate(fleet).run(&["set", "web", hold]).expect(0);
    let mut running = apply(fleet, RAMP);
    // A hold that has begun stays as it is; the next one does not end before it fails, and the way back is short again.
    wait_for_intent(&mut running, "web/watch-10", false);
    set("hold=1h");
    wait_for_words(&mut running, "web/watch-50", "of hold left");
    set("hold=100ms");
    fail(fleet);
    running.finish()
}

#[test]
fn a_target_that_sickens_in_the_middle_of_a_ramp_costs_the_last_shift_and_the_run_holds() {
    let mut fleet = ramp(2);
    with_policy(&fleet, RAMP, "step_back");
    let load = fleet.load(USERS);
    fail_at_half(&mut fleet, |fleet| fleet.targets[1].service.set_mode(Mode::Sick)).expect(3);
    assert_eq!((weight(&fleet, "dal-1"), weight(&fleet, "fra-1"), weight(&fleet, "fra-2")), (90, 10, 10));
    assert_status(&fleet, "web-1", "held");
    let explained = migrate(&fleet).run(&["explain", "web"]).expect(0).stdout;
    assert!(
        explained.contains("held at web/watch-50") && explained.contains("fra-2 has become unhealthy"),
        "{explained}"
    );
    fleet.targets[1].service.set_mode(Mode::Serving);
    migrate(&fleet).run(&["apply", RAMP, "--yes"]).expect(0);
    assert_eq!((weight(&fleet, "fra-1"), weight(&fleet, "fra-2")), (100, 100));
    let back = begun(&records(&fleet, "web-1"), true);
    assert_eq!(back, ["web/watch-50", "web/shift-50"]);
    let report = load.stop();
    println!("{} requests, {} failed", report.requests, report.failed);
    assert_kept(&fleet, &report);
}

#[test]
fn a_target_that_sickens_in_the_middle_of_a_ramp_rolls_everything_back_and_the_exit_code_says_so() {
    let mut fleet = ramp(2);
    let before = pool(&fleet);
    with_policy(&fleet, RAMP, "rollback");
    let load = fleet.load(USERS);
    let ended = fail_at_half(&mut fleet, |fleet| fleet.targets[0].service.set_mode(Mode::Sick)).expect(4);
    assert!(ended.stdout.contains("fra-1 has become unhealthy"), "{}", ended.stdout);
    assert_eq!(pool(&fleet), before);
    assert_status(&fleet, "web-1", "rolled back");
    let (done, undone) = (["before_pair", "before_shift"], ["before_pair", "before_shift"]);
    let hooks = lines(&fleet, "do", "web", &done).into_iter().chain(lines(&fleet, "undo", "web", &undone));
    assert_once(&fleet, hooks);
    let report = load.stop();
    println!("{} requests, {} failed", report.requests, report.failed);
    assert_kept(&fleet, &report);
}

#[test]
fn a_target_that_dies_in_the_middle_of_a_ramp_fails_nothing_but_what_it_was_just_answering() {
    let mut fleet = ramp(2);
    let before = pool(&fleet);
    with_policy(&fleet, RAMP, "rollback");
    let load = fleet.load(USERS);
    fail_at_half(&mut fleet, |fleet| fleet.targets[0].service.stop()).expect(4);
    assert_eq!(pool(&fleet), before);
    let failed = load.failed();
    load.wait_for(load.requests() + 200);
    let report = load.stop();
    println!("{} requests, {} failed when the target died", report.requests, report.failed);
    // Each user has one request on its way; a healthy source could serve all others.
    assert!(report.failed <= USERS as u64 && report.failed == failed, "{:#?}", report.failures);
}

#[test]
fn a_verify_that_fails_rolls_the_frozen_pair_back_and_its_source_serves_again() {
    let mut fleet = cutover(2);
    let before = pool(&fleet);
    with_policy(&fleet, CUTOVER, "rollback");
    // From the freeze on, something writes to the target's tree after each pass and before each comparison.
    let flag = fleet.place.root().join("meddle");
    let file = fleet.sources[0].seeds.keys().find(|name| name.starts_with("common/")).unwrap();
    let damage = format!("! test -e '{}' || echo more >> data/{file}", flag.display());
    let damage = format!("(cd '{}' && {damage})", fleet.targets[0].root.display());
    fleet.targets[0].sshd.before_every_command(&damage);
    fleet.place.edit(CUTOVER, "echo frozen > mode", "echo frozen > mode; touch {{ lab }}/meddle");
    let load = fleet.load(USERS);
    let ended = migrate(&fleet).run(&["apply", CUTOVER, "--yes"]).expect(4);
    for words in ["uploads/dal-1/verify", "still differ after sending again", file] {
        assert!(ended.stdout.contains(words), "does not say {words:?}: {}", ended.stdout);
    }
    assert_eq!(pool(&fleet), before);
    assert_eq!(fleet.sources[0].service.mode(), Mode::Serving);
    load.wait_for(load.requests() + 100);
    let report = load.stop();
    assert_unnoticed(&fleet, &report);
    assert_sources_kept(&fleet, &report);
}

#[test]
fn two_pairs_that_fail_at_the_same_time_are_both_rolled_back() {
    let fleet = ramp(2);
    let before = pool(&fleet);
    with_policy(&fleet, RAMP, "rollback");
    fleet.place.edit(RAMP, "run: sleep 0.3; echo", "run: sleep 0.3; false; exit; echo");
    let load = fleet.load(USERS);
    migrate(&fleet).run(&["apply", RAMP, "--yes"]).expect(4);
    assert_eq!(pool(&fleet), before);
    assert_status(&fleet, "web-1", "rolled back");
    assert_kept(&fleet, &load.stop());
}
