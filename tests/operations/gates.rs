//! Gates on a live run: people, the calendar and the clock.

use std::fs;
use std::time::Duration;

use jiff::{Timestamp, ToSpan};
use migrate::event::{Event, Record};

use super::support::*;
use super::terminal::Terminal;
use crate::lab::fleet::Fleet;
use crate::lab::prometheus::{Exporter, Prometheus};

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
    // Another plan, so another run, once the first one has nothing any more: this one is in its window.
    migrate(&fleet).run(&["rollback", "web", "--yes"]).expect(0);
    let path = fleet.place.root().join(RAMP);
    let text = fs::read_to_string(&path)
        .unwrap()
        .replace(&window(in_hours(2), in_hours(4)), &window(in_hours(-1), in_hours(2)));
    fs::write(fleet.place.root().join("plans/open.yaml"), text.replace("migration: web", "migration: open")).unwrap();
    migrate(&fleet).run(&["apply", "plans/open.yaml", "--yes"]).expect(0);
}

#[test]
fn a_gate_waits_for_a_number_and_never_takes_a_silence_for_one() {
    let exporter = Exporter::start("errors{host=\"fra-1\"} 7\n");
    let prometheus = Prometheus::start(&[exporter.addr]);
    let fleet = with_gate(&format!(
        "prometheus: {{server: \"http://{}\", query: 'sum(errors{{host=\"{{{{ name }}}}\"}})', below: 5, for: 2s}}",
        prometheus.addr
    ));
    // What `plan` shows is what is asked.
    let plan = migrate(&fleet).run(&["plan", RAMP]).expect(0).stdout;
    let wants = "`sum(errors{host=\"fra-1\"})` is below 5, for 2 s";
    assert!(plan.contains(&format!("until {wants} at {}", prometheus.addr)), "{plan}");
    let mut running = apply(&fleet, RAMP);
    wait_for_words(&mut running, GATE, &format!("{wants} (it is 7)"));
    exporter.say("");
    wait_for_words(
        &mut running,
        GATE,
        &format!("{wants}, which nobody can tell: {}: there is no data", prometheus.addr),
    );
    let explained = migrate(&fleet).run(&["explain", "web"]).expect(0).stdout;
    assert!(explained.contains("no series fits the query: look whether it is scraped"), "{explained}");
    exporter.say("errors{host=\"fra-1\"} 2.5\n");
    running.finish().expect(0);
    let outcome = records(&fleet, "web-1").into_iter().find_map(|r| match r.event {
        Event::Outcome { step, result, .. } if step == GATE => Some(serde_json::to_string(&result).unwrap()),
        _ => None,
    });
    let outcome = outcome.unwrap();
    assert!(outcome.contains("was 2.5, below 5, and at worst 2.5 in the last 2"), "{outcome}");
}

#[test]
fn a_gate_whose_prometheus_is_gone_holds_and_says_what_to_do() {
    let gate = "prometheus: {server: \"http://127.0.0.1:1\", query: up, at_least: 1}, within: 2s, on_failure: rollback";
    let fleet = with_gate(gate);
    let ended = apply(&fleet, RAMP).finish().expect(3);
    let said = "did not open within 2 s: it waits for `up` is at least 1, which nobody can tell: 127.0.0.1:1: it cannot be reached";
    assert!(ended.stdout.contains(said) && ended.stdout.contains("look whether Prometheus runs"), "{}", ended.stdout);
    assert_status(&fleet, "web-1", "held");
}

/// What each side says of itself, in the words of Prometheus.
fn latency(target: f64) -> String {
    format!("latency{{host=\"dal-1\"}} 0.1\nlatency{{host=\"fra-1\"}} {target}\n")
}

#[test]
fn between_two_shares_targets_are_compared_with_sources_and_a_worse_one_sends_the_run_back() {
    let exporter = Exporter::start(&latency(0.1));
    let prometheus = Prometheus::start(&[exporter.addr]);
    let fleet = ramp(1);
    let metrics = "{name: latency, query: 'latency{host=\"{{ name }}\"}', by: 20%, critical: true}";
    let gate = format!(
        "    gates:\n      at: each_shift\n      compare: {{server: \"http://{}\", over: 10s, every: 1s, metrics: {metrics}}}\n      on_failure: rollback\n    hooks:",
        prometheus.addr
    );
    fleet.place.edit(RAMP, "    hooks:", &gate);
    let before = pool(&fleet);
    let mut running = apply(&fleet, RAMP);
    wait_for_words(&mut running, "web/gate-10", "latency of the targets no worse than of the sources (samples of ");
    wait_for_outcome(&mut running, "web/gate-10");
    exporter.say(&latency(0.2));
    running.finish().expect(4);
    let said = |gate: &str| {
        let records = records(&fleet, "web-1");
        let mut outcomes = records.iter().filter_map(|r| match &r.event {
            Event::Outcome { step, result, .. } if step == gate => Some(serde_json::to_string(result).unwrap()),
            _ => None,
        });
        outcomes.next().unwrap_or_else(|| panic!("{gate} has no outcome"))
    };
    let open = said("web/gate-10");
    assert!(
        open.contains("no worse: 0.1 against 0.1, medians of 11 and 11, +0.0 %, p 1.0000; 20 % higher is too much"),
        "{open}"
    );
    let closed = said("web/gate-50");
    assert!(closed.contains("it does not open") && closed.contains(" worse: 0.2 against 0.1, medians of "), "{closed}");
    assert_eq!(pool(&fleet), before);
}
