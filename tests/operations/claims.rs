//! A run that is not finished keeps its hosts and pools, whether or not a controller is at work on it.

use std::fs;

use super::support::*;
use crate::lab::fleet::Fleet;

const OTHER: &str = "plans/other.yaml";

/// The ramp of one pair, and another plan for the same hosts and pool; the first one was killed while its targets were watched.
fn left_behind() -> Fleet {
    let fleet = ramp(1);
    let other =
        fs::read_to_string(fleet.place.root().join(RAMP)).unwrap().replace("migration: web", "migration: other");
    fs::write(fleet.place.root().join(OTHER), other).unwrap();
    fleet.place.edit(RAMP, "hold: 200ms", "hold: 1h");
    let mut running = apply(&fleet, RAMP);
    wait_for_words(&mut running, "web/watch-10", "of hold left");
    running.kill();
    fleet
}

#[test]
fn a_plan_for_hosts_of_an_unfinished_run_is_refused_and_says_what_to_do() {
    let fleet = left_behind();
    let before = pool(&fleet);
    let goes_on = format!("migrate apply {}", fleet.place.root().join("plans/ramp.yaml").display());
    for args in [&["plan", OTHER][..], &["apply", OTHER, "--yes"]] {
        let ended = migrate(&fleet).run(args).expect(1);
        let said = ended.stdout + &ended.stderr;
        for words in [
            "run web-1: of plan web, begun 20",
            "is not finished (interrupted since 20",
            "and has dal-1, fra-1 and front uploads",
            &goes_on,
            "migrate rollback web-1",
            "migrate abandon web-1 --why",
        ] {
            assert!(said.contains(words), "{args:?} does not say {words:?}: {said}");
        }
    }
    assert_eq!(pool(&fleet), before);
    assert!(!migrate(&fleet).run(&["runs"]).expect(0).stdout.contains("other-1"), "no run was begun");
    // What has gone back has nothing any more.
    migrate(&fleet).run(&["set", "web", "hold=100ms"]).expect(0);
    migrate(&fleet).run(&["rollback", "web", "--yes"]).expect(0);
    migrate(&fleet).run(&["apply", OTHER, "--yes"]).expect(0);
    assert_status(&fleet, "other-1", "finished");
}

#[test]
fn a_run_that_is_given_up_has_nothing_any_more_and_goes_neither_on_nor_back() {
    let fleet = left_behind();
    let before = pool(&fleet);
    let said = migrate(&fleet).run(&["abandon", "web", "--why", "done by hand", "--yes"]).expect(0).stdout;
    for words in ["front uploads stays at dal-1 weight 90, fra-1 weight 10", "web-1 is given up"] {
        assert!(said.contains(words), "does not say {words:?}: {said}");
    }
    assert_eq!(pool(&fleet), before);
    assert_status(&fleet, "web-1", "abandoned");
    let again = migrate(&fleet).run(&["abandon", "web", "--why", "once more", "--yes"]).expect(1);
    assert!(again.stderr.contains("has ended already"), "{}", again.stderr);
    let back = migrate(&fleet).run(&["rollback", "web-1", "--yes"]).expect(1);
    assert!(back.stderr.contains("it was given up by"), "{}", back.stderr);
    migrate(&fleet).run(&["audit", "verify", "web-1"]).expect(0);
    migrate(&fleet).run(&["apply", OTHER, "--yes"]).expect(0);
}

#[test]
fn a_run_whose_users_may_be_cut_off_is_not_given_up_until_somebody_has_looked() {
    let fleet = cutover(2);
    let mut running = apply(&fleet, CUTOVER);
    wait_for_outcome(&mut running, "uploads/dal-1/freeze");
    running.kill();
    let refused = migrate(&fleet).run(&["abandon", "uploads", "--why", "no", "--yes"]).expect(1);
    let words = "users may be cut off: uploads: dal-1 takes no writes, and fra-1 does not serve";
    assert!(refused.stderr.contains(words), "{}", refused.stderr);
    assert_status(&fleet, "uploads-1", "interrupted");
    migrate(&fleet).run(&["abandon", "uploads", "--why", "I looked", "--served", "--yes"]).expect(0);
    assert_status(&fleet, "uploads-1", "abandoned");
}
