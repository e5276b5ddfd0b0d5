//! Limits by place: bandwidth that copies share, streams at once, pairs out of service at once.

use std::collections::BTreeSet;

use migrate::config::{self, LoadOptions};
use migrate::event::{Event, Record};
use migrate::planner;

use super::support::*;
use crate::lab::fleet::Fleet;
use crate::lab::tree::Entry;

/// Three pairs, two of which may be out of service at once, but for these limits.
fn limited(limits: &str) -> Fleet {
    let fleet = cutover(3);
    let wave = format!("limits: [{limits}]\nwaves: [{{name: all, services: uploads, max_unavailable: 2}}]\nservices:");
    fleet.place.edit(CUTOVER, "services:", &wave);
    fleet.place.edit(CUTOVER, "    drain:", "    min_capacity: 1%\n    drain:");
    fleet
}

/// When the first of these steps began, and the last one ended, in seconds.
fn took(records: &[Record], is: impl Fn(&str) -> bool) -> f64 {
    let began = records.iter().find(|r| matches!(&r.event, Event::Intent { step, .. } if is(step))).unwrap();
    let ended = records.iter().rfind(|r| matches!(&r.event, Event::Outcome { step, .. } if is(step))).unwrap();
    ended.at.duration_since(began.at).as_secs_f64()
}

#[test]
fn copies_over_the_uplink_of_a_site_share_it() {
    let rate = 4 << 20;
    let fleet = limited("{site: dal, bandwidth: 4MiB/s}, {streams: 3}");
    let planned = migrate(&fleet).run(&["plan", CUTOVER]).expect(0).stdout;
    assert!(planned.contains("site dal: at most 4.0 MiB/s"), "{planned}");
    apply(&fleet, CUTOVER).finish().expect(0);
    let bytes: u64 = fleet.sources.iter().flat_map(|source| source.seeds.values()).map(Entry::bytes).sum();
    let took = took(&records(&fleet, "uploads-1"), |id| id.ends_with("/seed"));
    println!("{bytes} bytes in {took:.1} s");
    assert!(took >= bytes as f64 / f64::from(rate) * 0.7, "{bytes} bytes took only {took} s");
}

/// The most of these steps that were under way at once when one of them began.
fn most_at_once(records: &[Record], is: impl Fn(&str) -> bool) -> usize {
    let mut under_way = BTreeSet::new();
    let mut most = 0;
    for record in records {
        match &record.event {
            Event::Intent { step, .. } if is(step) => {
                under_way.insert(step.clone());
                most = most.max(under_way.len());
            }
            Event::Outcome { step, .. } => _ = under_way.remove(step),
            _ => {}
        }
    }
    most
}

#[test]
fn no_more_streams_begin_in_a_place_than_its_limit_says_and_frozen_pairs_do_not_wait() {
    let fleet = limited("{each: site, streams: 1}");
    let load = fleet.load(USERS);
    apply(&fleet, CUTOVER).finish().expect(0);
    let records = records(&fleet, "uploads-1");
    let live = |id: &str| id.ends_with("/seed") || id.ends_with("/catch-up") || id.ends_with("/compare-ahead");
    assert_eq!(most_at_once(&records, live), 1);
    let state = migrate::store::file::load(&journal(&fleet, "uploads-1")).unwrap();
    let streams: Vec<_> = state.graph.steps.iter().filter(|step| step.kind.is_stream()).collect();
    assert!(streams.iter().any(|step| live(&step.id)) && streams.iter().any(|step| step.urgent), "{streams:?}");
    assert_kept(&fleet, &load.stop());
}

#[test]
fn no_more_pairs_of_a_place_leave_service_than_its_limit_says() {
    let fleet = limited("{site: dal, max_unavailable: 1}");
    let load = fleet.load(USERS);
    apply(&fleet, CUTOVER).finish().expect(0);
    let records = records(&fleet, "uploads-1");
    let mut out = BTreeSet::new();
    for record in &records {
        match &record.event {
            Event::Intent { step, .. } if step.ends_with("/drain") => {
                assert!(out.insert(step.replace("/drain", "")) && out.len() == 1, "{out:?} are out of service at once");
            }
            Event::Outcome { step, .. } if step.ends_with("/shift-100") => {
                _ = out.remove(&step.replace("/shift-100", ""))
            }
            _ => {}
        }
    }
    assert!(out.is_empty(), "{out:?}");
    assert_kept(&fleet, &load.stop());
}

#[test]
fn pairs_of_one_rack_do_not_wait_for_each_other_where_there_are_others() {
    let dir = tempfile::tempdir().unwrap();
    let inventory = "hosts:\n  \"dal-[1-3]\": { address: \"{{ name }}.example\", vars: { rack: r1 } }\n  \
                     \"dal-[4-6]\": { address: \"{{ name }}.example\", vars: { rack: r2 } }\n  \
                     \"fra-[1-6]\": { address: \"{{ name }}.example\", vars: { rack: far } }\n";
    let plan = "migration: x\ninventory: inventory.yaml\n\
                limits: { each: rack, max_unavailable: 2 }\n\
                waves: [{ name: w, services: up, max_unavailable: 4, batches: 4 }]\n\
                services: { up: { move: { from: \"dal-[1-6]\", to: \"fra-[1-6]\" }, state: { directory: /srv/up } } }\n";
    std::fs::write(dir.path().join("inventory.yaml"), inventory).unwrap();
    let path = dir.path().join("plan.yaml");
    std::fs::write(&path, plan).unwrap();
    let (spec, _) = config::load(&path, None, &LoadOptions::default()).unwrap_or_else(|e| panic!("{e}"));
    let graph = planner::propose(&spec, None).graph;
    let seeds: Vec<&str> =
        graph.steps.iter().filter_map(|step| step.id.strip_prefix("up/")?.strip_suffix("/seed")).collect();
    assert_eq!(seeds, ["dal-1", "dal-4", "dal-2", "dal-3", "dal-5", "dal-6"]);
    // All targets are in one rack, of which two may be out of service: the third waits for the first.
    let after = |of: &str| graph.steps.by_id(&format!("up/{of}/catch-up")).unwrap().after.clone();
    assert!(after("dal-2").iter().any(|id| id.starts_with("up/dal-1/")), "{:?}", after("dal-2"));
    assert!(after("dal-4").iter().all(|id| id.starts_with("up/dal-4/")), "{:?}", after("dal-4"));
}
