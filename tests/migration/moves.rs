//! The main job: a service moves while it is used, and nobody notices.

use std::sync::atomic::Ordering;

use super::{SIZE, assert_kept, migrate};
use crate::lab::fleet::{BACKEND, Director, Fleet, LabHost, NAME, Storage};
use crate::lab::haproxy::Haproxy;
use crate::lab::place::Place;

/// Requests that must have been made in all.
const ENOUGH: u64 = 6_000;
/// Their connections.
const USERS: usize = 48;

/// Moves a fleet by a plan while users are at it; they go on for a while afterwards, with the sources gone.
fn move_under_load(mut fleet: Fleet, plan: &str) -> Fleet {
    fleet.place.edit(plan, "hold: 2s", "hold: 1s");
    let load = fleet.load(USERS);
    load.wait_for(1_000);
    let ended = migrate(&fleet).run(&["apply", plan, "--yes"]).expect(0);
    println!("{}", ended.stdout);
    if let Director::Haproxy(_) = fleet.director {
        let told = |line: &&str| line.contains("targets got ") && line.contains(" by weight ");
        assert!(ended.stdout.lines().filter(told).count() >= 2, "every watch tells the measured share");
    }
    // Nothing may depend on them any more.
    for source in &mut fleet.sources {
        source.service.stop();
        source.sshd.stop();
    }
    load.wait_for(ENOUGH.max(load.requests() + 1_000));
    let report = load.stop();
    println!(
        "{} requests, {} uploads, p50 {:?}, p99 {:?}, slowest {:?}, longest gap {:?}",
        report.requests,
        report.uploads.len(),
        report.latency(0.5),
        report.latency(0.99),
        report.latency(1.0),
        report.longest_gap
    );
    assert!(report.requests >= ENOUGH);
    assert_kept(&fleet, &report);
    for host in fleet.sources.iter().chain(&fleet.targets) {
        assert!(report.uploads.iter().any(|u| u.host == host.name), "{} has never served", host.name);
    }
    fleet
}

/// A second apply finds that all is done.
pub fn assert_done(fleet: &Fleet, plan: &str) {
    let before = weights(fleet);
    let ended = migrate(fleet).run(&["apply", plan, "--yes"]).expect(0);
    assert!(ended.stdout.contains("nothing to do"), "{}", ended.stdout);
    assert_eq!(before, weights(fleet));
}

/// What directs traffic, as text.
pub fn weights(fleet: &Fleet) -> String {
    weights_of(&fleet.director)
}

fn weights_of(director: &Director) -> String {
    match director {
        Director::Both(haproxy, name) => {
            format!("{}\n{}", weights_of_haproxy(haproxy), weights_of(name))
        }
        Director::Haproxy(haproxy) => weights_of_haproxy(haproxy),
        Director::Dns { primary, secondary, .. } => {
            let at = |bind: &crate::lab::bind::Bind| format!("{:?} {:?}", bind.dig(NAME, "A"), bind.ttl(NAME, "A"));
            format!("{}\n{}", at(primary), at(secondary))
        }
        Director::Route53 { api, .. } => format!("{:?}", api.sets()),
        Director::SoftLayer { api, .. } => format!("{:?}", api.world().records()),
    }
}

fn weights_of_haproxy(haproxy: &Haproxy) -> String {
    let state = haproxy.command(&format!("show servers state {BACKEND}"));
    // Name, address, administrative state, weights.
    let fields = |line: &str| line.split(' ').take(8).collect::<Vec<_>>().join(" ");
    state.lines().map(fields).collect::<Vec<_>>().join("\n")
}

#[test]
fn a_service_with_files_moves_behind_haproxy_and_nobody_notices() {
    let fleet = Fleet::behind_haproxy(Place::private(), SIZE, Storage::Own);
    let mut fleet = move_under_load(fleet, "plans/uploads.yaml");
    start_again(&mut fleet);
    assert_done(&fleet, "plans/uploads.yaml");
    assert_nothing_left_behind(&fleet);
}

#[test]
fn a_service_without_files_moves_behind_haproxy_and_nobody_notices() {
    let fleet = Fleet::behind_haproxy(Place::private(), SIZE, Storage::Shared);
    let mut fleet = move_under_load(fleet, "plans/web.yaml");
    start_again(&mut fleet);
    assert_done(&fleet, "plans/web.yaml");
}

#[test]
fn a_service_with_files_moves_in_dns_and_nobody_notices() {
    let fleet = Fleet::behind_dns(Place::private(), SIZE, Storage::Own, 2);
    let before = fleet.sources.iter().map(address).collect::<Vec<_>>();
    let mut fleet = move_under_load(fleet, "plans/uploads-dns.yaml");
    let Director::Dns { primary, secondary, .. } = &fleet.director else { panic!("no DNS") };
    for bind in [primary, secondary] {
        assert_eq!(bind.dig(NAME, "A"), fleet.targets.iter().map(address).collect::<Vec<_>>());
        assert_eq!(bind.ttl(NAME, "A"), Some(2), "the TTL from before is back");
    }
    assert!(!before.is_empty());
    start_again(&mut fleet);
    assert_done(&fleet, "plans/uploads-dns.yaml");
    assert_nothing_left_behind(&fleet);
}

#[test]
fn a_service_without_files_moves_in_dns_and_nobody_notices() {
    let fleet = Fleet::behind_dns(Place::private(), SIZE, Storage::Shared, 2);
    let binding = "{director: front, pool: uploads}";
    fleet.place.edit("plans/web.yaml", binding, "{director: zone, pool: uploads.lab.example, port: 7080, ttl: 1s}");
    fleet.place.edit("plans/web.yaml", "[5%, 25%, 50%, 100%]", "[50%, 100%]");
    let mut fleet = move_under_load(fleet, "plans/web.yaml");
    start_again(&mut fleet);
    assert_done(&fleet, "plans/web.yaml");
}

fn address(host: &LabHost) -> String {
    host.sshd.addr().ip().to_string()
}

/// The sources' SSH servers, so that a plan can look at them.
fn start_again(fleet: &mut Fleet) {
    for source in &mut fleet.sources {
        source.sshd.start_again();
    }
}

/// The program takes along what it has put on the hosts.
pub fn assert_nothing_left_behind(fleet: &Fleet) {
    for host in fleet.sources.iter().chain(&fleet.targets) {
        let left = crate::lab::command::files_below(&host.sshd.home().join(".migrate"));
        assert!(left.is_empty(), "{}: {left:?}", host.name);
        assert!(host.sshd.session_processes().is_empty(), "{} still runs something", host.name);
        assert_eq!(host.service.counters().refused.load(Ordering::Relaxed), 0);
    }
}

/// Hosts that SoftLayer rents out, with a name in a zone that it serves: by fit, under load, and given back at last.
#[test]
fn a_service_leaves_softlayer_and_its_hosts_are_given_back() {
    const PLAN: &str = "plans/softlayer.yaml";
    let fleet = Fleet::behind_softlayer(Place::private(), SIZE, Storage::Own, 1);
    fleet.place.edit(PLAN, "quiet_for: 3s", "quiet_for: 500ms");
    let bill = migrate(&fleet).run(&["cost", PLAN]).expect(0).stdout;
    assert!(bill.contains("2354.00 USD"), "{bill}");
    let load = fleet.load(USERS);
    load.wait_for(500);
    let mut apply = migrate(&fleet).start(&["apply", PLAN, "--yes", "--format", "json"]);
    let mut given = 0;
    while given < 3 {
        // Whoever is not ready to be given back is not given back.
        let waits = |line: &str| line.contains("\"notice\":\"waiting\"") && line.contains("/give-back\"");
        assert!(apply.read_until(waits).is_some(), "it ended before its hosts were given back");
        let ended = migrate(&fleet).run(&["retire", "softlayer", "--yes"]);
        given += ended.stdout.matches("says that it is given back").count();
    }
    let mut followed = std::collections::BTreeSet::new();
    while followed.len() < 3 {
        let line = apply.read_until(|line| line.contains("/reclaimed\"") && line.contains("to be reclaimed: ticket"));
        let line: serde_json::Value = serde_json::from_str(&line.expect("all are followed")).unwrap();
        followed.insert(line["step"].to_string());
    }
    assert_eq!(fleet.softlayer().world().cancellations.len(), 3);
    fleet.softlayer().world().reclaim();
    apply.finish().expect(0);
    let report = load.stop();
    assert!(report.requests > 1_000, "{}", report.requests);
    assert_kept(&fleet, &report);
    assert!(fleet.softlayer().world().hardware.is_empty());
}
