//! What a run has set is changed behind its back: it is noticed, told, and never taken for done.

use std::fs;
use std::io::Write;
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use migrate::event::Event;

use super::support::*;
use crate::lab::bind::Key;
use crate::lab::command::Running;
use crate::lab::fleet::{BACKEND, Director, Fleet, NAME, Size, Storage};
use crate::lab::place::Place;

/// Lets the freeze of every pair wait until the test says so: what happens meanwhile happens in the freeze.
fn wait_in_freeze(fleet: &Fleet) {
    fleet.place.edit(
        CUTOVER,
        "          echo frozen > mode\n",
        "          echo frozen > mode\n          while [ ! -e {{ lab }}/go ]; do sleep 0.02; done\n",
    );
}

fn go(fleet: &Fleet) {
    fs::write(fleet.place.root().join("go"), "").unwrap();
}

/// What a plan's traffic says besides.
fn traffic(fleet: &Fleet, plan: &str, more: &str) {
    let (from, pool) = match plan {
        CUTOVER => ("{director: front, pool: uploads}", "uploads"),
        _ => ("{director: front, pool: uploads}", "uploads"),
    };
    fleet.place.edit(plan, from, &format!("{{director: front, pool: {pool}, {more}}}"));
}

/// The records of drift of a run: what each says of the members, with clues, and whether it was set again.
fn drifts(fleet: &Fleet, run: &str) -> Vec<(String, bool)> {
    let told = records(fleet, run).into_iter().filter_map(|record| match record.event {
        Event::Drifted { members, clues, restores, .. } => {
            let said = members.iter().map(ToString::to_string).chain(clues).collect::<Vec<_>>();
            Some((said.join("; "), restores))
        }
        _ => None,
    });
    told.collect()
}

fn freeze(fleet: &Fleet) -> Running {
    let mut running = apply(fleet, CUTOVER);
    wait_for_intent(&mut running, "uploads/dal-1/freeze", false);
    running
}

#[test]
fn a_reload_in_the_freeze_never_ends_in_moved() {
    let mut fleet = cutover(2);
    wait_in_freeze(&fleet);
    let running = freeze(&fleet);
    fleet.haproxy_mut().reload();
    assert_eq!(weight(&fleet, "dal-1"), 100);
    go(&fleet);
    let ended = running.finish().expect(3);
    println!("{}", ended.stderr);
    let told = drifts(&fleet, "uploads-1");
    assert_eq!(told.len(), 1, "{told:?}");
    for words in ["dal-1 was set to drain by uploads/dal-1/drain and is weight 100", "reloaded or restarted since"] {
        assert!(told[0].0.contains(words), "does not say {words:?}: {told:?}");
    }
    assert!(!told[0].1);
    let begun = begun(&records(&fleet, "uploads-1"), false);
    assert!(!begun.iter().any(|id| id == "uploads/dal-1/last-pass" || id == "uploads/dal-1/thaw"), "{begun:?}");
    for args in [["status", "uploads"], ["explain", "uploads"]] {
        let said = migrate(&fleet).run(&args).expect(0).stdout;
        assert!(said.contains("dal-1 was set to drain"), "{args:?}: {said}");
    }
    // It is still so: the run is held again, and begins nothing new.
    migrate(&fleet).run(&["apply", CUTOVER, "--yes"]).expect(3);
    // Once it is set again by hand, the run goes on to its end.
    assert_eq!(fleet.haproxy().command(&format!("set server {BACKEND}/dal-1 state drain")).trim(), "");
    migrate(&fleet).run(&["apply", CUTOVER, "--yes"]).expect(0);
    assert_status(&fleet, "uploads-1", "finished");
    assert_eq!((weight(&fleet, "fra-1"), weight(&fleet, "fra-2")), (100, 100));
}

#[test]
fn a_reload_in_the_freeze_is_set_again_and_copied_again_where_the_plan_says_so() {
    let mut fleet = cutover(2);
    traffic(&fleet, CUTOVER, "on_drift: restore");
    wait_in_freeze(&fleet);
    let mut running = freeze(&fleet);
    // The last pass goes on until the reload is over, whatever the pace of the machine.
    fs::write(fleet.host("dal-1").root.join("data/late"), vec![7; 64 << 20]).unwrap();
    migrate(&fleet).run(&["set", "uploads", "bandwidth=1MiB"]).expect(0);
    go(&fleet);
    // It has looked once, and reads the pool again when the copy is proved.
    wait_for_outcome(&mut running, "uploads/dal-1/confirm-drain");
    fleet.haproxy_mut().reload();
    migrate(&fleet).run(&["set", "uploads", "bandwidth=0"]).expect(0);
    let ended = running.finish().expect(0);
    let told = drifts(&fleet, "uploads-1");
    assert!(told.len() == 1 && told[0].1, "{told:?}\n{}", ended.stdout);
    assert_eq!((weight(&fleet, "fra-1"), settings(&fleet)[0].contains(" 1 ")), (100, true), "{:?}", settings(&fleet));
}

#[test]
fn what_was_set_is_known_again_after_a_kill() {
    let mut fleet = cutover(2);
    wait_in_freeze(&fleet);
    let running = freeze(&fleet);
    running.kill();
    fleet.haproxy_mut().reload();
    go(&fleet);
    migrate(&fleet).run(&["apply", CUTOVER, "--yes"]).expect(3);
    let told = drifts(&fleet, "uploads-1");
    assert!(told[0].0.contains("dal-1 was set to drain by uploads/dal-1/drain"), "{told:?}");
    // An operator lets the run set it again.
    migrate(&fleet).run(&["set", "uploads", "on_drift=restore"]).expect(0);
    migrate(&fleet).run(&["apply", CUTOVER, "--yes"]).expect(0);
    assert_eq!(drifts(&fleet, "uploads-1").iter().map(|(_, again)| *again).collect::<Vec<_>>(), [false, true]);
}

/// In the middle of the first watch of a ramp, which goes on until the test has seen what it wants.
fn watching(fleet: &Fleet) -> Running {
    fleet.place.edit(RAMP, "hold: 200ms", "hold: 1h");
    let mut running = apply(fleet, RAMP);
    wait_for_intent(&mut running, "web/watch-10", false);
    running
}

#[test]
fn another_admin_on_the_socket_is_noticed_while_a_watch_goes_on() {
    let fleet = ramp(1);
    let running = watching(&fleet);
    assert_eq!(fleet.haproxy().command(&format!("set weight {BACKEND}/fra-1 80")).trim(), "");
    running.finish().expect(3);
    let told = drifts(&fleet, "web-1");
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].0.starts_with("fra-1 was set to weight 10 by web/shift-10 and is weight 80"), "{told:?}");
    let report = migrate(&fleet).run(&["status", "web", "--format", "json"]).expect(0).stdout;
    assert_eq!(json(&report)["drifts"][0]["members"][0]["found"], "weight 80", "{report}");
}

#[test]
fn a_health_tool_that_makes_a_server_ready_is_noticed_at_the_next_shift() {
    let fleet = cutover(2);
    wait_in_freeze(&fleet);
    fs::write(fleet.place.root().join("go"), "").unwrap();
    // The first pair has moved, and a tool brings its source back while the second one moves.
    let mut running = apply(&fleet, CUTOVER);
    wait_for_outcome(&mut running, "uploads/dal-1/retire");
    assert_eq!(fleet.haproxy().command(&format!("set server {BACKEND}/dal-1 state ready")).trim(), "");
    running.finish().expect(3);
    let told = drifts(&fleet, "uploads-1");
    assert!(told[0].0.contains("dal-1 was set to maintenance by uploads/dal-1/retire"), "{told:?}");
}

#[test]
fn a_reload_at_the_very_end_is_no_finished_run() {
    let mut fleet = cutover(2);
    fleet.place.edit(CUTOVER, "      - at: after_shift\n        run: echo \"do $MIGRATE_STEP\" >> {{ lab }}/hooks\n", "      - at: after_shift\n        run: echo \"do $MIGRATE_STEP\" >> {{ lab }}/hooks; while [ ! -e {{ lab }}/go ]; do sleep 0.02; done\n");
    let mut running = apply(&fleet, CUTOVER);
    wait_for_intent(&mut running, "uploads/dal-1/after_shift", false);
    fleet.haproxy_mut().reload();
    go(&fleet);
    let ended = running.finish().expect(3);
    let told = drifts(&fleet, "uploads-1");
    assert!(
        told[0].0.contains("dal-1 was set to maintenance") && told[0].0.contains("fra-1 was set to weight 100"),
        "{told:?}\n{}",
        ended.stderr
    );
}

/// What a program on a host answers HAProxy: nothing to change, and from a moment on another weight.
struct Agent(Arc<AtomicBool>);

impl Agent {
    fn start(fleet: &Fleet) -> (Self, u16) {
        let listener = TcpListener::bind((fleet.place.address(21), 0)).unwrap();
        let (port, speaks) = (listener.local_addr().unwrap().port(), Arc::new(AtomicBool::new(false)));
        let agent = Self(Arc::clone(&speaks));
        std::thread::spawn(move || {
            for mut haproxy in listener.incoming().flatten() {
                let _ = haproxy.write_all(if speaks.load(Ordering::Relaxed) { b"up 80%\n" } else { b"up\n" });
            }
        });
        (agent, port)
    }
}

#[test]
fn an_agent_check_that_sets_another_weight_is_found_and_named() {
    let mut fleet = ramp(1);
    fleet.place.edit(RAMP, "persist: write", "persist: ignore");
    let (agent, port) = Agent::start(&fleet);
    let path = fleet.haproxy().config().to_owned();
    let text = fs::read_to_string(&path).unwrap();
    let checked = format!(" weight 100 disabled agent-check agent-inter 50ms agent-port {port}");
    fs::write(&path, text.replace(" weight 0 ", &checked)).unwrap();
    fleet.haproxy_mut().reload();
    let planned = migrate(&fleet).run(&["plan", RAMP]).expect(0).stdout;
    assert!(planned.contains("fra-1 has an agent-check"), "{planned}");
    let running = watching(&fleet);
    agent.0.store(true, Ordering::Relaxed);
    running.finish().expect(3);
    let told = drifts(&fleet, "web-1");
    for words in ["fra-1 was set to weight 10 by web/shift-10 and is weight 80", "fra-1 has an agent-check"] {
        assert!(told[0].0.contains(words), "does not say {words:?}: {told:?}");
    }
    // It goes on: what the run sets again does not stay.
    migrate(&fleet).run(&["set", "web", "on_drift=restore"]).expect(0);
    migrate(&fleet).run(&["set", "web", "hold=1h"]).expect(0);
    let held = migrate(&fleet).run(&["apply", RAMP, "--yes"]).expect(3);
    // The agent may be quicker than the look that follows each write.
    let seen = ["the run has set it again 3 times", "was set to weight 10 (ready) and reads back weight 80 (ready)"];
    assert!(seen.iter().any(|words| held.stdout.contains(words)), "{}", held.stdout);
}

#[test]
fn what_was_set_is_read_while_a_gate_waits() {
    let fleet = ramp(1);
    fleet.place.edit(RAMP, "    hooks:\n", "    gates: {at: before_drain, approve: 1}\n    hooks:\n");
    let mut running = apply(&fleet, RAMP);
    wait_for_intent(&mut running, "web/dal-1/gate-before_drain", false);
    assert_eq!(fleet.haproxy().command(&format!("set weight {BACKEND}/fra-1 7")).trim(), "");
    running.finish().expect(3);
    let told = drifts(&fleet, "web-1");
    assert!(told[0].0.starts_with("fra-1 was set to weight 100 by web/shift-100 and is weight 7"), "{told:?}");
}

#[test]
fn records_and_ttls_that_somebody_changes_between_two_steps_are_found_and_set_again() {
    const DNS: &str = "plans/uploads-dns.yaml";
    let fleet = Fleet::behind_dns(Place::private(), Size { pairs: 2, common: 20, own: 10 }, Storage::Own, 2);
    fleet.place.edit(
        DNS,
        "          echo frozen > mode\n",
        "          echo frozen > mode\n          while [ ! -e {{ lab }}/go ]; do sleep 0.02; done\n",
    );
    fleet.place.edit(DNS, "hold: 2s", "hold: 200ms");
    let Director::Dns { primary, secondary, .. } = &fleet.director else { panic!("no DNS") };
    let secret = fs::read_to_string(fleet.place.root().join("tsig.key")).unwrap().trim().to_owned();
    let key = Key { name: "migrate".into(), algorithm: "hmac-sha256".into(), secret };
    let mut running = apply(&fleet, DNS);
    wait_for_intent(&mut running, "uploads/dal-1/freeze", false);
    // With another TTL, which is then that of all addresses.
    primary.nsupdate(&key, &[&format!("update add {NAME}. 300 A {}", fleet.place.address(11))]);
    go(&fleet);
    let ended = running.finish().expect(3);
    let told = drifts(&fleet, "uploads-dns-1");
    let address = fleet.place.address(11);
    for words in [
        format!("{address} was set to absent by uploads/dal-1/drain and is there"),
        "the TTL was set to 1 s by uploads/lower-ttl and is 5m".to_owned(),
    ] {
        assert!(told[0].0.contains(&words), "does not say {words:?}: {told:?}{}", ended.stderr);
    }
    migrate(&fleet).run(&["set", "uploads-dns", "on_drift=restore"]).expect(0);
    // What the new TTL lets caches keep is none of the test's: it goes before anybody asks.
    migrate(&fleet).run(&["apply", DNS, "--yes"]).expect(0);
    for bind in [primary, secondary] {
        assert_eq!(bind.ttl(NAME, "A"), Some(2), "the TTL from before is back");
        assert!(!bind.dig(NAME, "A").contains(&address.to_string()));
    }
}
