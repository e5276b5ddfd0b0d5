//! Gates on a live run: people, the calendar and the clock.

use std::fs;
use std::time::Duration;

use jiff::{Timestamp, ToSpan};
use migrate::event::{Event, Record};

use super::lab::fleet::Fleet;
use super::support::*;
use super::terminal::Terminal;

const GATE: &str = "web/dal-1/gate-before_shift";

/// The ramp with this gate before the first shift.
fn with_gate(gate: &str) -> Fleet {
    let fleet = ramp(1);
    fleet.place.edit(RAMP, "    hooks:", &format!("    gates: {{at: before_shift, {gate}}}\n    hooks:"));
    fleet
}

fn approve(fleet: &Fleet, user: &str, step: &str) -> (String, i32) {
    run_as(fleet, user, &["approve", "web", step, "--why", "it looks good"])
}

/// The gate has not opened.
#[track_caller]
fn assert_closed(fleet: &Fleet) {
    let begun = begun(&records(fleet, "web-1"), false);
    assert_eq!(begun.last().map(String::as_str), Some(GATE), "{begun:?}");
}

#[test]
fn one_person_opens_a_gate_and_is_in_the_journal() {
    let fleet = with_gate("approve: 1");
    let before = pool(&fleet);
    let mut running = apply(&fleet, RAMP);
    wait_for_words(&mut running, GATE, "approval (0 of 1)");
    for (step, why) in [("web/dal-1/check", "is not a gate"), ("web/nothing", "there is no step")] {
        let (said, code) = approve(&fleet, "ada", step);
        assert!(code == 1 && said.contains(why), "{said}");
    }
    assert_eq!(pool(&fleet), before);
    assert_eq!(approve(&fleet, "ada", GATE), (format!("{GATE} is approved by ada\n"), 0));
    running.finish().expect(0);
    let is_it =
        |r: &Record| matches!(&r.event, Event::Approved { by, why, .. } if by.user == "ada" && why == "it looks good");
    assert!(records(&fleet, "web-1").iter().any(is_it));
}

#[test]
fn two_people_are_not_one_person_twice_whether_the_run_lives_or_not() {
    let fleet = with_gate("approve: 2");
    let mut running = apply(&fleet, RAMP);
    wait_for_words(&mut running, GATE, "approval (0 of 2)");
    assert_eq!(approve(&fleet, "ada", GATE).1, 0);
    wait_for_words(&mut running, GATE, "approval (1 of 2)");
    let twice = |state: &str| {
        let (said, code) = approve(&fleet, "ada", GATE);
        assert!(code == 1 && said.contains("ada has approved"), "{state}: {said}");
        assert_closed(&fleet);
    };
    twice("live");
    running.kill();
    twice("dead");
    assert_eq!(approve(&fleet, "bob", GATE).1, 0);
    let ended = migrate(&fleet).run(&["apply", RAMP, "--yes"]).expect(0);
    assert!(ended.stdout.contains("ada@") && ended.stdout.contains("bob@"), "{}", ended.stdout);
}

/// When a step began.
fn began(fleet: &Fleet, id: &str) -> Timestamp {
    let records = records(fleet, "web-1");
    let intent = records.iter().find(|r| matches!(&r.event, Event::Intent { step, .. } if step == id));
    intent.unwrap_or_else(|| panic!("{id} never began")).at
}

#[test]
fn a_gate_does_not_open_before_its_time_and_does_then() {
    let fleet = ramp(1);
    let opens = Timestamp::now().checked_add(6.seconds()).unwrap();
    let gate =
        format!("    gates: {{at: before_shift, not_before: {}}}\n    hooks:", opens.strftime("%Y-%m-%dT%H:%M:%SZ"));
    fleet.place.edit(RAMP, "    hooks:", &gate);
    let mut running = apply(&fleet, RAMP);
    wait_for_intent(&mut running, GATE, false);
    running.finish().expect(0);
    let (opens, first) = (opens.as_second(), began(&fleet, "web/dal-1/before_shift").as_second());
    println!("opened {} s after its time", first - opens);
    assert!(first >= opens);
}

#[test]
fn a_gate_that_does_not_open_in_time_does_what_it_says() {
    let fleet = with_gate("approve: 1, within: 2s, on_failure: rollback");
    let before = pool(&fleet);
    let ended = apply(&fleet, RAMP).finish().expect(4);
    assert!(ended.stdout.contains("did not open within 2 s: it waits for approval (0 of 1)"), "{}", ended.stdout);
    assert_eq!(pool(&fleet), before);
    assert_status(&fleet, "web-1", "rolled back");
}

#[test]
fn before_the_point_of_no_return_the_run_asks_again() {
    let fleet = cutover(2);
    fleet.place.edit(CUTOVER, "    hooks:", "    reverse: off\n    hooks:");
    let load = fleet.load(USERS);
    let mut terminal = Terminal::start(&fleet, &format!("apply {CUTOVER}"));
    terminal.wait_for("Apply this plan?");
    terminal.say_yes();
    terminal.wait_for("approval (0 of 1): migrate approve uploads-1 uploads/no-return");
    let seeded = |r: &Record| matches!(&r.event, Event::Outcome { step, .. } if step == "uploads/dal-1/seed");
    while !records(&fleet, "uploads-1").iter().any(seeded) {
        std::thread::sleep(Duration::from_millis(50));
    }
    // Longer than all that would come before the freeze.
    std::thread::sleep(Duration::from_secs(2));
    let begun = begun(&records(&fleet, "uploads-1"), false);
    assert!(!begun.iter().any(|id| id.ends_with("/drain") || id.ends_with("/freeze")), "{begun:?}");
    let (said, code) = run_as(&fleet, "ada", &["approve", "uploads", "uploads/no-return", "--why", "all is copied"]);
    assert_eq!(code, 0, "{said}");
    assert_eq!(terminal.finish().1, 0);
    assert_kept(&fleet, &load.stop());
}

/// A window around a time of day, in UTC.
fn window(from: Timestamp, to: Timestamp) -> String {
    let clock = |at: Timestamp| at.strftime("%H:%M").to_string();
    format!("window: {{from: \"{}\", to: \"{}\", zone: UTC}}", clock(from), clock(to))
}

#[test]
fn a_gate_is_open_in_its_window_and_closed_outside() {
    let now = Timestamp::now();
    let in_hours = |n: i64| now.checked_add(n.hours()).unwrap();
    let fleet = with_gate(&window(in_hours(2), in_hours(4)));
    let mut running = apply(&fleet, RAMP);
    wait_for_words(&mut running, GATE, "its window, next at");
    std::thread::sleep(Duration::from_millis(1500));
    assert_closed(&fleet);
    let explained = migrate(&fleet).run(&["explain", "web"]).expect(0).stdout;
    assert!(explained.contains(GATE) && explained.contains("its window, next at"), "{explained}");
    running.signal("TERM");
    running.finish().expect(3);
    // Another plan, so another run: this one is in its window.
    let path = fleet.place.root().join(RAMP);
    let text = fs::read_to_string(&path)
        .unwrap()
        .replace(&window(in_hours(2), in_hours(4)), &window(in_hours(-1), in_hours(2)));
    fs::write(fleet.place.root().join("plans/open.yaml"), text.replace("migration: web", "migration: open")).unwrap();
    migrate(&fleet).run(&["apply", "plans/open.yaml", "--yes"]).expect(0);
}
