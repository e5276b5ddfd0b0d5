//! A whole move out of SoftLayer, killed wherever it writes to SoftLayer: every machine is given back once, and only when nobody needs it.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::kill::run_with_kills_at;
use super::support::*;
use crate::lab::fleet::{Fleet, Size, Storage};
use crate::lab::place::Place;

const PLAN: &str = "plans/softlayer.yaml";
const RUN: &str = "softlayer-1";
const PAIRS: usize = 3;

/// Raises it when it is dropped, after a failed test too.
struct Ends<'a>(&'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Says the word for each machine that can go, and lets the day come on which they are reclaimed.
fn give_back(fleet: &Fleet, over: &AtomicBool) {
    while !over.load(Ordering::Relaxed) {
        let _ = migrate(fleet).command(&["retire", RUN, "--yes", "--why", "CHG-1234"]).output().unwrap();
        if fleet.softlayer().world().cancellations.len() == PAIRS {
            fleet.softlayer().world().reclaim();
        }
        std::thread::sleep(Duration::from_millis(200));
    }
}

#[test]
fn a_move_out_of_softlayer_killed_at_every_write_to_it_gives_each_machine_back_once() {
    let size = Size { pairs: PAIRS, common: 30, own: 10 };
    let fleet = Fleet::behind_softlayer(Place::private(), size, Storage::Own, 1);
    fleet.place.edit(PLAN, "quiet_for: 3s", "quiet_for: 1s");
    fleet.place.edit(PLAN, "steps: [100%], hold: 2s", "steps: [100%], hold: 200ms");
    let rented: BTreeSet<u64> =
        fleet.softlayer().world().hardware.iter().map(|machine| machine["id"].as_u64().unwrap()).collect();
    let load = fleet.load(USERS);
    load.wait_for(100);
    let over = AtomicBool::new(false);
    let kills = std::thread::scope(|scope| {
        scope.spawn(|| give_back(&fleet, &over));
        let _over = Ends(&over);
        // Copies and hooks are killed elsewhere.
        let acts = ["ttl", "drain", "shift", "give-back", "reclaimed"];
        let at = |point: &str| acts.iter().any(|act| point.contains(act));
        let args = ["apply", PLAN, "--yes", "--format", "json"];
        run_with_kills_at(&fleet, RUN, &args, |point| long() || at(point))
    });
    assert_status(&fleet, RUN, "finished");
    for act in ["drain", "shift-100", "give-back"] {
        assert!(kills.points.iter().any(|point| point.contains(act)), "{act}: {:#?}", kills.points);
    }
    let world = fleet.softlayer().world();
    let given: Vec<u64> = world.cancellations.iter().map(|request| request["machine"].as_u64().unwrap()).collect();
    assert_eq!((given.len(), given.iter().copied().collect::<BTreeSet<_>>()), (PAIRS, rented));
    assert!(world.cancellations.iter().all(|request| request["status"]["name"] == "Complete"));
    drop(world);
    load.wait_for(load.requests() + 100);
    let report = load.stop();
    println!("{} requests, {} failed; killed {} times", report.requests, report.failed, kills.points.len());
    assert_unnoticed(&fleet, &report);
}
