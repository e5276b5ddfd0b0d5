//! `kill -9` in the middle of every phase, then `apply` again: it ends where an undisturbed run ends.

use std::collections::BTreeSet;
use std::time::Duration;

use super::moves::{assert_done, assert_nothing_left_behind};
use super::{assert_kept, migrate};
use crate::lab::command::Migrate;
use crate::lab::fleet::{BACKEND, Fleet, Size, Storage};
use crate::lab::place::Place;

const SIZE: Size = Size { pairs: 2, common: 300, own: 300 };
const USERS: usize = 32;

fn apply_with_kills(migrate: &Migrate, plan: &str) -> BTreeSet<String> {
    with_kills(migrate, &["apply", plan, "--yes", "--format", "json"])
}

/// Works until it is done, and kills it once in each step that it begins: the first time soon after the step's intent is in the
/// journal, so that its effect may or may not have happened.
pub fn with_kills(migrate: &Migrate, command: &[&str]) -> BTreeSet<String> {
    let mut killed = BTreeSet::new();
    for round in 0u64.. {
        assert!(round < 200, "it does not come to an end; killed in {killed:?}");
        let mut apply = migrate.start(command);
        let begun = apply.read_until(|line| step_begun(line).is_some_and(|step| !killed.contains(&step)));
        match begun {
            Some(line) => {
                // Sometimes at once, sometimes when the effect is under way or over.
                std::thread::sleep(Duration::from_millis(round % 4 * 40));
                apply.kill();
                killed.insert(step_begun(&line).unwrap());
            }
            None => {
                apply.finish().expect(0);
                return killed;
            }
        }
    }
    unreachable!("the loop has no end of its own")
}

/// The step that a line says is about to act.
fn step_begun(line: &str) -> Option<String> {
    if line.trim_end().ends_with(": nothing to roll back") {
        // It was killed when all was done.
        return None;
    }
    let line: serde_json::Value = serde_json::from_str(line).unwrap_or_else(|e| panic!("not JSON: {e}: {line}"));
    let event = &line["event"];
    (event["event"] == "intent").then(|| event["step"].as_str().unwrap().to_owned())
}

#[test]
fn killed_once_in_every_step_a_cutover_still_ends_well_and_nobody_notices() {
    let fleet = Fleet::behind_haproxy(Place::private(), SIZE, Storage::Own);
    fleet.place.edit("plans/uploads.yaml", "hold: 2s", "hold: 200ms");
    let load = fleet.load(USERS);
    load.wait_for(500);
    let killed = apply_with_kills(&migrate(&fleet), "plans/uploads.yaml");
    for phase in [
        "seed",
        "catch-up",
        "verify-ahead",
        "catch-up-again",
        "drain",
        "empty",
        "freeze",
        "last-pass",
        "verify",
        "thaw",
        "check",
        "shift-100",
    ] {
        for source in ["dal-1", "dal-2"] {
            let step = format!("uploads/{source}/{phase}");
            assert!(killed.contains(&step), "never killed in {step}, only in {killed:?}");
        }
    }
    load.wait_for(load.requests() + 500);
    assert_kept(&fleet, &load.stop());
    assert_ended_well(&fleet, "plans/uploads.yaml");
    assert_nothing_left_behind(&fleet);
}

/// As after a run that nobody disturbed.
fn assert_ended_well(fleet: &Fleet, plan: &str) {
    let state = fleet.haproxy().command(&format!("show servers state {BACKEND}"));
    let column = |line: &str, n: usize| line.split(' ').nth(n).map(str::to_owned);
    let servers: Vec<&str> = state.lines().filter(|line| line.contains(BACKEND)).collect();
    assert_eq!(servers.len(), 2 * SIZE.pairs, "{state}");
    for line in servers {
        // Name, administrative state (1 is maintenance), weight.
        let (name, mode, weight) = (column(line, 3).unwrap(), column(line, 6).unwrap(), column(line, 7).unwrap());
        match name.starts_with("fra") {
            true => assert_eq!((mode.as_str(), weight.as_str()), ("0", "100"), "{name}"),
            false => assert_eq!(mode, "1", "{name}"),
        }
    }
    assert_done(fleet, plan);
}

#[test]
fn killed_once_in_every_step_a_move_in_dns_still_ends_well_and_nobody_notices() {
    let fleet = Fleet::behind_dns(Place::private(), SIZE, Storage::Own, 2);
    fleet.place.edit("plans/uploads-dns.yaml", "hold: 2s", "hold: 200ms");
    let load = fleet.load(USERS);
    load.wait_for(500);
    let killed = apply_with_kills(&migrate(&fleet), "plans/uploads-dns.yaml");
    assert!(killed.len() >= 20, "{killed:?}");
    load.wait_for(load.requests() + 500);
    assert_kept(&fleet, &load.stop());
    assert_done(&fleet, "plans/uploads-dns.yaml");
    assert_nothing_left_behind(&fleet);
}

#[test]
fn killed_once_in_every_step_a_ramp_still_ends_well_and_nobody_notices() {
    let fleet = Fleet::behind_haproxy(Place::private(), SIZE, Storage::Shared);
    fleet.place.edit("plans/web.yaml", "hold: 2s", "hold: 200ms");
    let load = fleet.load(USERS);
    load.wait_for(500);
    let killed = apply_with_kills(&migrate(&fleet), "plans/web.yaml");
    assert!(killed.len() >= 8, "{killed:?}");
    load.wait_for(load.requests() + 500);
    assert_kept(&fleet, &load.stop());
    assert_ended_well(&fleet, "plans/web.yaml");
}
