//! A service behind a zone and a balancer at once: one move over both, whichever way users come.

use super::crash::with_kills;
use super::moves::{assert_done, weights};
use super::{assert_kept, migrate, together};
use crate::lab::fleet::{Director, Fleet, Size, Storage};
use crate::lab::load::Load;
use crate::lab::place::Place;
use crate::lab::route53::{Route53, Set};

const SIZE: Size = Size { pairs: 2, common: 100, own: 50 };
/// Connections of users by each way.
const USERS: usize = 16;
const BALANCER: &str = "{director: front, pool: uploads}";
const ZONE: &str = "{director: zone, pool: uploads.lab.example, port: 7080, ttl: 1s}";

/// A fleet whose plan names both, and users by both ways.
fn fleet(plan: &str, binding: &str, storage: Storage) -> (Fleet, Vec<Load>) {
    under_load(Fleet::behind_both(Place::private(), SIZE, storage, 2), plan, binding)
}

fn under_load(fleet: Fleet, plan: &str, binding: &str) -> (Fleet, Vec<Load>) {
    fleet.place.edit(plan, binding, &format!("[{ZONE}, {BALANCER}]"));
    fleet.place.edit(plan, "hold: 2s", "hold: 300ms");
    // HAProxy keeps idle connections to a server for a while, and they count on its host.
    fleet.place.edit(plan, "deadline: 30s", "deadline: 3m");
    let loads = fleet.loads(USERS);
    loads.iter().for_each(|load| load.wait_for(300));
    (fleet, loads)
}

/// The hosted zone beside the balancer.
fn hosted(fleet: &Fleet) -> &Route53 {
    let Director::Both(_, zone) = &fleet.director else { panic!("it has both") };
    let Director::Route53 { api, .. } = &**zone else { panic!("the zone is hosted") };
    api
}

#[track_caller]
fn go_on(loads: &[Load]) {
    loads.iter().for_each(|load| load.wait_for(load.requests() + 300));
}

#[test]
fn killed_once_in_every_step_a_cutover_by_two_ways_still_ends_well_and_nobody_notices() {
    let plan = "plans/uploads.yaml";
    let (mut fleet, loads) = fleet(plan, BALANCER, Storage::Own);
    let killed = with_kills(&migrate(&fleet), &["apply", plan, "--yes", "--format", "json"]);
    // Those that take longer than a kill.
    for phase in ["drain-settle@zone", "empty@zone", "empty@front", "shift-10-settle@zone"] {
        for source in ["dal-1", "dal-2"] {
            let step = format!("uploads/{source}/{phase}");
            assert!(killed.contains(&step), "never killed in {step}, only in {killed:?}");
        }
    }
    go_on(&loads);
    // Whichever way users come, nothing depends on the sources any more.
    fleet.sources.iter_mut().for_each(|source| source.service.stop());
    go_on(&loads);
    assert_kept(&fleet, &together(loads));
    assert_done(&fleet, plan);
}

#[test]
fn a_ramp_over_two_ways_tells_what_each_gives_goes_back_after_a_crash_and_nobody_notices() {
    let plan = "plans/web.yaml";
    let (fleet, loads) = fleet(plan, BALANCER, Storage::Shared);
    fleet.place.edit(plan, "[5%, 25%, 50%, 100%]", "[25%, 50%, 100%]");
    let before = weights(&fleet);
    let shown = migrate(&fleet).run(&["plan", plan, "--verbose"]).expect(0).stdout;
    // Of two addresses one more is a third; the balancer gives a quarter.
    let line = "targets get 33.3 %, sources 66.7 %; over all directors 25 % to 33.3 %";
    assert!(shown.contains(line), "{shown}");
    // Inner first, where something is added.
    let shown = migrate(&fleet).run(&["plan", plan, "--format", "json"]).expect(0).stdout;
    let at = |step: &str| shown.find(step).unwrap_or_else(|| panic!("{step} is not in\n{shown}"));
    assert!(at("web/shift-25@front") < at("web/shift-25@zone"));
    assert!(at("web/dal-1/drain@zone") < at("web/dal-1/drain@front"));

    let mut apply = migrate(&fleet).start(&["apply", plan, "--yes", "--format", "json"]);
    let begun = |line: &str| line.contains("\"intent\"") && line.contains("\"web/dal-2/drain@front\"");
    assert!(apply.read_until(begun).is_some(), "it ended before it was killed");
    apply.kill();
    assert_ne!(before, weights(&fleet));
    let killed = with_kills(&migrate(&fleet), &["rollback", "web", "--yes", "--format", "json"]);
    for step in ["web/shift-25@front", "web/shift-25@zone", "web/shift-100@zone", "web/dal-1/drain@zone"] {
        assert!(killed.contains(step), "never killed on the way back in {step}, only in {killed:?}");
    }
    assert_eq!(before, weights(&fleet), "both are as they were");
    go_on(&loads);
    // And there after all.
    let ended = migrate(&fleet).run(&["apply", plan, "--yes"]).expect(0);
    // The zone counts nobody.
    let told = |line: &str| line.contains("targets got ") && line.contains(" by weight ");
    assert!(ended.stdout.lines().any(told), "{}", ended.stdout);
    go_on(&loads);
    assert_kept(&fleet, &together(loads));
    assert_done(&fleet, plan);
}

#[test]
fn a_service_behind_route53_and_haproxy_moves_and_goes_back_and_nobody_notices() {
    let plan = "plans/web.yaml";
    let fleet = Fleet::behind_route53_and_haproxy(Place::private(), SIZE, Storage::Shared, 2);
    let (mut fleet, loads) = under_load(fleet, plan, BALANCER);
    fleet.place.edit(plan, "[5%, 25%, 50%, 100%]", "[25%, 100%]");
    let before = hosted(&fleet).sets();
    migrate(&fleet).run(&["apply", plan, "--yes"]).expect(0);
    let targets = fleet.targets.iter().map(|target| target.sshd.addr().ip().to_string()).collect::<Vec<_>>();
    for set in hosted(&fleet).sets() {
        let wanted = if targets.contains(&set["values"]) { "100" } else { "0" };
        assert_eq!((set["Weight"].as_str(), set["TTL"].as_str()), (wanted, "2"), "{set:?}");
    }
    go_on(&loads);
    migrate(&fleet).run(&["rollback", "web", "--yes"]).expect(0);
    // Sets that came with the move stay, and get nothing.
    let is_new = |set: &Set| targets.contains(&set["values"]);
    let (new, old): (Vec<Set>, Vec<Set>) = hosted(&fleet).sets().into_iter().partition(is_new);
    assert!(new.iter().all(|set| set["Weight"] == "0"), "{new:?}");
    assert_eq!(old, before);
    go_on(&loads);
    migrate(&fleet).run(&["apply", plan, "--yes"]).expect(0);
    fleet.sources.iter_mut().for_each(|source| source.service.stop());
    go_on(&loads);
    assert_kept(&fleet, &together(loads));
    assert_done(&fleet, plan);
}
