//! Steps whose outcome is bad or unknown: an undo that fails, a command that was killed on its host, a controller that died while
//! a command ran.

use std::fs;
use std::process::Command;
use std::time::Duration;

use super::support::*;
use crate::lab::fleet::Fleet;

/// A plan of the ramp with this hook instead of its own ones.
fn with_hook(fleet: &Fleet, hook: &str) {
    let path = fleet.place.root().join(RAMP);
    let text = fs::read_to_string(&path).unwrap();
    let (service, _) = text.split_once("    hooks:").unwrap();
    fs::write(path, format!("{service}    hooks:\n      - {{{hook}}}\n")).unwrap();
}

fn mend(fleet: &Fleet) {
    fs::write(fleet.place.root().join("mended"), "").unwrap();
}

const DO: &str = "run: 'echo do >> {{ lab }}/hooks'";
const MENDED: &str = "test -e {{ lab }}/mended || { echo cannot yet >&2; exit 3; }; echo undo >> {{ lab }}/hooks";

/// A rollback that cannot undo a step is stuck, says where, and ends well once that is mended.
fn stuck_until_mended(class: &str) {
    let fleet = ramp(1);
    let before = pool(&fleet);
    with_hook(&fleet, &format!("at: before_shift, {DO}, undo: '{MENDED}'{class}"));
    let load = fleet.load(USERS);
    migrate(&fleet).run(&["apply", RAMP, "--yes"]).expect(0);
    for _ in 0..2 {
        let ended = migrate(&fleet).run(&["rollback", "web", "--yes"]).expect(3);
        let said = ["Stuck at web/dal-1/before_shift", "cannot yet", "migrate rollback web-1"];
        for words in said {
            assert!(ended.stdout.contains(words), "does not say {words:?}: {}", ended.stdout);
        }
        assert_status(&fleet, "web-1", "stuck");
        // Traffic is back already: its steps lie behind the one that is stuck.
        assert_eq!(pool(&fleet), before);
    }
    mend(&fleet);
    migrate(&fleet).run(&["rollback", "web", "--yes"]).expect(0);
    assert_status(&fleet, "web-1", "rolled back");
    assert_eq!(hook_lines(&fleet), ["do", "undo"]);
    assert_kept(&fleet, &load.stop());
}

#[test]
fn an_undo_that_fails_is_stuck_and_tried_again_when_it_is_mended() {
    stuck_until_mended("");
}

#[test]
fn an_undo_that_may_be_repeated_is_tried_again_too() {
    stuck_until_mended(", idempotent: true");
}

#[test]
fn a_stuck_undo_can_be_settled_by_hand() {
    let fleet = ramp(1);
    let before = pool(&fleet);
    with_hook(&fleet, &format!("at: before_shift, {DO}, undo: 'false'"));
    migrate(&fleet).run(&["apply", RAMP, "--yes"]).expect(0);
    migrate(&fleet).run(&["rollback", "web", "--yes"]).expect(3);
    migrate(&fleet).run(&["resolve", "web", "web/dal-1/before_shift", "--done", "--why", "by hand"]).expect(0);
    migrate(&fleet).run(&["rollback", "web", "--yes"]).expect(0);
    assert_status(&fleet, "web-1", "rolled back");
    assert_eq!(pool(&fleet), before);
}

/// A run held at a hook that was killed on its host, so that nobody can tell what it did.
fn unknown_hook() -> Fleet {
    let fleet = ramp(1);
    with_hook(
        &fleet,
        "at: before_shift, run: 'echo do >> {{ lab }}/hooks; test -e {{ lab }}/mended || sleep 60', undo: none",
    );
    let mut running = apply(&fleet, RAMP);
    wait_for_intent(&mut running, "web/dal-1/before_shift", false);
    while hook_lines(&fleet).is_empty() {
        std::thread::sleep(Duration::from_millis(20));
    }
    for pid in fleet.host("fra-1").sshd.session_processes() {
        let _ = Command::new("kill").args(["-9", &pid.to_string()]).output();
    }
    let ended = running.finish().expect(3);
    assert!(ended.stdout.contains("\"unknown\""), "{}", ended.stdout);
    // Asked again, it still does not guess and does not run it again.
    let again = migrate(&fleet).run(&["apply", RAMP, "--yes"]).expect(3);
    assert!(again.stdout.contains("migrate resolve web-1 web/dal-1/before_shift"), "{}", again.stdout);
    assert_eq!(hook_lines(&fleet), ["do"]);
    mend(&fleet);
    fleet
}

#[test]
fn a_step_resolved_as_done_is_not_done_again() {
    let fleet = unknown_hook();
    let resolve = ["resolve", "web", "web/dal-1/before_shift", "--done", "--why", "I looked"];
    migrate(&fleet).run(&resolve).expect(0);
    // What is known is not settled twice.
    migrate(&fleet).run(&resolve).expect(1);
    migrate(&fleet).run(&["apply", RAMP, "--yes"]).expect(0);
    assert_eq!(hook_lines(&fleet), ["do"]);
}

#[test]
fn a_step_resolved_as_not_done_is_done_again() {
    let fleet = unknown_hook();
    migrate(&fleet).run(&["resolve", "web", "web/dal-1/before_shift", "--not-done", "--why", "I looked"]).expect(0);
    migrate(&fleet).run(&["apply", RAMP, "--yes"]).expect(0);
    assert_eq!(hook_lines(&fleet), ["do", "do"]);
}

#[test]
fn a_command_that_outlives_its_controller_is_undone_after_its_end_and_not_before() {
    let fleet = ramp(1);
    with_hook(
        &fleet,
        "at: before_shift, run: 'touch {{ lab }}/began; sleep 2; echo do >> {{ lab }}/hooks', undo: 'echo undo >> {{ lab }}/hooks'",
    );
    let mut running = apply(&fleet, RAMP);
    wait_for_intent(&mut running, "web/dal-1/before_shift", false);
    while !fleet.place.root().join("began").exists() {
        std::thread::sleep(Duration::from_millis(20));
    }
    running.kill();
    migrate(&fleet).run(&["rollback", "web", "--yes"]).expect(0);
    while !fleet.host("fra-1").sshd.session_processes().is_empty() {
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(hook_lines(&fleet), ["do", "undo"]);
}

#[test]
fn a_command_that_had_not_begun_when_its_controller_died_never_does_after_the_way_back() {
    let mut late = 0;
    for n in 0..if long() { 100 } else { 3 } {
        let fleet = ramp(1);
        with_hook(&fleet, "at: before_pair, run: 'echo do >> {{ lab }}/hooks', undo: 'echo undo >> {{ lab }}/hooks'");
        let mut running = apply(&fleet, RAMP);
        wait_for_intent(&mut running, "web/dal-1/before_pair", false);
        std::thread::sleep(Duration::from_millis(n * 7 % 50));
        running.kill();
        migrate(&fleet).run(&["rollback", "web", "--yes"]).expect(0);
        while !fleet.host("dal-1").sshd.session_processes().is_empty() {
            std::thread::sleep(Duration::from_millis(20));
        }
        let lines = hook_lines(&fleet);
        // Undone if it ran, and nothing at all if it never did.
        assert!(lines == ["do", "undo"] || lines.is_empty(), "{lines:?}");
        late += u32::from(lines.is_empty());
    }
    println!("{late} never began");
}
