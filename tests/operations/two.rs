//! Two controllers on one run: the second is refused, and one that slept past its lease does nothing more.

use std::fs;
use std::time::Duration;

use super::support::*;

#[test]
fn a_second_controller_is_refused_and_changes_nothing() {
    let fleet = ramp(1);
    fleet.place.edit(RAMP, "hold: 200ms", "hold: 1h");
    let load = fleet.load(USERS);
    let mut running = apply(&fleet, RAMP);
    wait_for_intent(&mut running, "web/watch-10", false);
    let before = (pool(&fleet), fs::read(journal(&fleet, "web-1")).unwrap());
    for args in [["apply", RAMP, "--yes"], ["rollback", "web", "--yes"]] {
        let ended = migrate(&fleet).run(&args).expect(1);
        for words in ["is locked by", "`migrate apply plans/ramp.yaml` (run web-1)"] {
            assert!(ended.stderr.contains(words), "does not say {words:?}: {}", ended.stderr);
        }
    }
    assert_eq!((pool(&fleet), fs::read(journal(&fleet, "web-1")).unwrap()), before);
    // The first one has not noticed, and still listens.
    migrate(&fleet).run(&["abort", "web"]).expect(0);
    running.finish().expect(3);
    migrate(&fleet).run(&["set", "web", "hold=100ms"]).expect(0);
    migrate(&fleet).run(&["apply", RAMP, "--yes"]).expect(0);
    assert_kept(&fleet, &load.stop());
}

#[test]
fn a_controller_that_slept_past_its_lease_does_nothing_more_when_it_wakes() {
    let fleet = ramp(1);
    fleet.place.edit(RAMP, "hold: 200ms", "hold: 2s");
    let load = fleet.load(USERS);
    let args = ["apply", RAMP, "--yes", "--format", "json", "--lease", "8"];
    let mut first = migrate(&fleet).start(&args);
    wait_for_words(&mut first, "web/watch-10", "of hold left");
    first.freeze();
    let early = migrate(&fleet).run(&args).expect(1);
    assert!(early.stderr.contains("is locked by"), "{}", early.stderr);
    std::thread::sleep(Duration::from_secs(9));
    let mut second = migrate(&fleet).start(&args);
    wait_for_words(&mut second, "web/watch-50", "of hold left");
    // It believes that it is in the middle of the first watch.
    first.signal("CONT");
    let woken = first.finish();
    println!("the one that slept ended with {}: {}", woken.code(), woken.stderr.trim());
    assert_eq!(woken.code(), 1);
    assert!(woken.stderr.contains("does nothing more"), "{}", woken.stderr);
    second.finish().expect(0);
    assert_status(&fleet, "web-1", "finished");
    assert_once(
        &fleet,
        lines(&fleet, "do", "web", &["before_pair", "before_shift", "after_shift", "after_drain", "after_pair"]),
    );
    assert_eq!(weight(&fleet, "fra-1"), 100);
    assert_kept(&fleet, &load.stop());
}

#[test]
fn a_controller_whose_lock_is_broken_lets_go_of_what_it_has_under_way() {
    let fleet = ramp(1);
    fleet.place.edit(RAMP, "hold: 200ms", "hold: 1h");
    let mut first = apply(&fleet, RAMP);
    wait_for_intent(&mut first, "web/watch-10", false);
    migrate(&fleet).run(&["lock", "break", "plan:web", "--yes"]).expect(0);
    let ended = first.finish().expect(1);
    assert!(ended.stderr.contains("broken or taken over"), "{}", ended.stderr);
    // What it would have recorded is not in the journal: the step is open, for whoever comes next.
    assert_status(&fleet, "web-1", "interrupted");
    migrate(&fleet).run(&["set", "web", "hold=100ms"]).expect(0);
    migrate(&fleet).run(&["apply", RAMP, "--yes"]).expect(0);
    assert_eq!(weight(&fleet, "fra-1"), 100);
}
