//! Alerts of the hosts of a pair are silenced while it moves, by a real Alertmanager, and always heard again.

use std::fs;

use serde_json::Value;

use super::support::*;
use crate::lab::alertmanager::Alertmanager;
use crate::lab::command::{Ended, Running};
use crate::lab::fleet::Fleet;

const GATE: &str = "web/dal-1/gate-after_shift";

/// The ramp whose pair waits, once it has its share, until somebody says go; with these settings beside the address.
fn silenced(alerts: &Alertmanager, settings: &str) -> Fleet {
    let fleet = ramp(1);
    let text = fs::read_to_string(fleet.place.root().join(RAMP)).unwrap();
    let (service, _) = text.split_once("    hooks:").unwrap();
    let matchers = r#"{instance: "{{ name }}:9100", alertname: {like: "Host.*|{{ address }}"}}"#;
    let silence =
        format!("    silence: {{alertmanager: \"http://{}\", matchers: {matchers}{settings}}}\n", alerts.addr);
    fs::write(fleet.place.root().join(RAMP), format!("{service}{silence}    gates: {{at: after_shift, approve: 1}}\n"))
        .unwrap();
    fleet
}

/// The hosts that are silenced.
fn hosts(alerts: &Alertmanager) -> Vec<String> {
    let of = |silence: &Value| {
        let matchers = silence["matchers"].as_array().unwrap();
        let instance = matchers.iter().find(|m| m["name"] == "instance").unwrap();
        instance["value"].as_str().unwrap().trim_end_matches(":9100").to_owned()
    };
    let mut hosts: Vec<String> = alerts.silences().iter().map(of).collect();
    hosts.sort();
    hosts
}

fn at_the_gate(fleet: &Fleet) -> Running {
    let mut running = apply(fleet, RAMP);
    wait_for_intent(&mut running, GATE, false);
    running
}

fn go_on(fleet: &Fleet) {
    migrate(fleet).run(&["approve", "web", GATE, "--why", "seen"]).expect(0);
}

#[track_caller]
fn says(ended: &Ended, words: &str) {
    assert!(ended.stdout.contains(words), "does not say {words:?}: {}", ended.stdout);
}

#[test]
fn alerts_are_silenced_while_a_pair_moves_and_heard_again_there_and_back() {
    let alerts = Alertmanager::start();
    let others = alerts.amtool(&["silence", "add", "-a", "somebody", "-c", "else", "instance=dal-1:9100"]);
    let fleet = silenced(&alerts, "");
    let plan = migrate(&fleet).run(&["plan", RAMP]).expect(0);
    says(&plan, "alerts of dal-1 and fra-1 at");
    says(&plan, "Alertmanager 0.");
    let running = at_the_gate(&fleet);
    assert_eq!(hosts(&alerts), ["dal-1", "dal-1", "fra-1"], "{:#?}", alerts.silences());
    let own = alerts.silences().into_iter().find(|silence| silence["createdBy"] == "migrate web-1").unwrap();
    assert!(own["comment"].as_str().unwrap().contains("web/dal-1, run web-1"), "{own}");
    // The value of a variable stands for itself in an expression.
    let like = own["matchers"].as_array().unwrap().iter().find(|m| m["name"] == "alertname").unwrap();
    assert!(like["isRegex"] == true && like["value"].as_str().unwrap().contains("\\."), "{like}");
    go_on(&fleet);
    running.finish().expect(0);
    let left = alerts.silences();
    assert!(left.len() == 1 && left[0]["id"] == others.trim(), "{left:#?}");
    assert_eq!(alerts.ended(), 2);
    // The way back is a move, too.
    migrate(&fleet).run(&["rollback", "web", "--yes"]).expect(0);
    assert_eq!((alerts.silences().len(), alerts.ended()), (1, 4));
}

#[test]
fn a_killed_controller_leaves_no_silence_twice_and_none_at_the_end() {
    let alerts = Alertmanager::start();
    let fleet = silenced(&alerts, ", unreachable: hold");
    // Whatever it had come to do before it died.
    for _ in 0..3 {
        let mut running = apply(&fleet, RAMP);
        let silence = running.read_until(|line| {
            let event = &json(line)["event"];
            event["event"] == "intent" && [GATE, "web/dal-1/silence"].iter().any(|step| event["step"] == *step)
        });
        assert!(silence.is_some());
        running.kill();
    }
    let mut running = apply(&fleet, RAMP);
    wait_for_words(&mut running, GATE, "approv");
    assert_eq!(hosts(&alerts), ["dal-1", "fra-1"], "{:#?}", alerts.silences());
    running.kill();
    let mut back = migrate(&fleet).start(&["rollback", "web", "--yes", "--format", "json"]);
    wait_for_intent(&mut back, "web/dal-1/silence", true);
    back.kill();
    migrate(&fleet).run(&["rollback", "web", "--yes"]).expect(0);
    assert_eq!(hosts(&alerts), [""; 0]);
    // In one direction the same without any hand.
    let mut running = apply(&fleet, RAMP);
    wait_for_words(&mut running, GATE, "approv");
    go_on(&fleet);
    wait_for_intent(&mut running, "web/dal-1/unsilence", false);
    running.kill();
    migrate(&fleet).run(&["apply", RAMP, "--yes"]).expect(0);
    assert_eq!(hosts(&alerts), [""; 0]);
}

#[test]
fn an_alertmanager_that_is_away_is_told_of_and_the_move_goes_on() {
    let mut alerts = Alertmanager::start();
    let fleet = silenced(&alerts, ", on: target, for: 10m");
    alerts.stop();
    let plan = migrate(&fleet).run(&["plan", RAMP]).expect(0);
    says(&plan, "web: its alerts cannot be silenced now: Alertmanager");
    let running = at_the_gate(&fleet);
    go_on(&fleet);
    let ended = running.finish().expect(0);
    says(&ended, "alerts are not silenced: Alertmanager");
    says(&ended, "they end by themselves, at the latest 10m 00s after they were made");
}

#[test]
fn where_the_plan_asks_for_a_hold_an_alertmanager_that_is_away_holds_until_it_is_back() {
    let mut alerts = Alertmanager::start();
    let fleet = silenced(&alerts, ", on: target, unreachable: hold");
    let running = at_the_gate(&fleet);
    assert_eq!(hosts(&alerts), ["fra-1"]);
    alerts.stop();
    go_on(&fleet);
    let held = running.finish().expect(3);
    says(&held, "web/dal-1/unsilence");
    says(&held, "it cannot be reached");
    alerts.start_again();
    assert_eq!(hosts(&alerts), ["fra-1"]);
    migrate(&fleet).run(&["apply", RAMP, "--yes"]).expect(0);
    assert_eq!(hosts(&alerts), [""; 0]);
    alerts.stop();
    let refused = migrate(&fleet).run(&["plan", RAMP]).expect(1);
    says(&refused, "web: its alerts cannot be silenced: Alertmanager");
}

#[test]
fn a_run_that_is_given_up_leaves_no_silence() {
    let alerts = Alertmanager::start();
    let fleet = silenced(&alerts, "");
    at_the_gate(&fleet).kill();
    assert_eq!(hosts(&alerts), ["dal-1", "fra-1"]);
    let given_up = migrate(&fleet).run(&["abandon", "web", "--why", "a test", "--yes"]).expect(0);
    says(&given_up, "2 silences of web/dal-1 taken away");
    assert_eq!(hosts(&alerts), [""; 0]);
}

#[test]
fn what_alertmanager_refuses_and_what_silences_others_is_told() {
    let alerts = Alertmanager::start();
    let fleet = silenced(&alerts, ", unreachable: hold");
    fleet.place.edit(RAMP, "Host.*|", "Host.*|(");
    let held = migrate(&fleet).run(&["apply", RAMP, "--yes"]).expect(3);
    says(&held, "it answered 400");
    assert_eq!(weight(&fleet, "fra-1"), 0);
    migrate(&fleet).run(&["rollback", "web", "--yes"]).expect(0);
    fleet.place.edit(RAMP, "{{ name }}:9100", "any:9100");
    fleet.place.edit(RAMP, "Host.*|({{ address }}", "Host.*");
    let refused = migrate(&fleet).run(&["plan", RAMP]).expect(1);
    let said = format!("{}{}", refused.stdout, refused.stderr);
    assert!(said.contains("silences alerts of hosts that do not move"), "{said}");
}
