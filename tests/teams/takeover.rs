//! A machine stands by: the controller of a run dies on another, and the run ends as if nobody had died.

use std::process::Command;
use std::time::{Duration, Instant};

use migrate::event::Operator;
use migrate::lock::{Locks, Validity};

use super::cluster::open_at;
use super::machines::{assert_sealed, on, wait_for};
use crate::lab::command::{Migrate, Running};
use crate::lab::etcd::Etcd;
use crate::operations::support::*;

/// In seconds; the shortest that a cluster keeps.
const LEASE: &str = "15";

fn apply(machine: &Migrate, plan: &str) -> Running {
    machine.start(&["apply", plan, "--yes", "--format", "json", "--lease", LEASE])
}

fn stand_by(machine: &Migrate) -> Running {
    machine.start(&["controller", "--format", "json", "--lease", LEASE])
}

/// Reads on until a controller has taken a run up.
#[track_caller]
fn wait_for_takeover(standby: &mut Running) {
    let found = standby.read_until(|line| json(line)["event"]["event"] == "resumed");
    assert!(found.is_some(), "nobody took it over");
}

#[track_caller]
fn wait_for_end(standby: &mut Running) {
    let found = standby.read_until(|line| json(line)["event"]["event"] == "finished");
    assert!(found.is_some(), "it never came to its end");
}

/// `kill -9` for the process that has a run, wherever that was started.
fn kill_owner(machine: &Migrate) {
    let held = json(&machine.run(&["lock", "show", "--format", "json"]).expect(0).stdout);
    let pid = held[0]["owner"]["pid"].to_string();
    assert!(Command::new("kill").args(["-9", &pid]).status().unwrap().success(), "{held}");
}

/// Asks one that stands by to end.
fn dismiss(standby: Running) {
    standby.signal("TERM");
    standby.finish().expect(0);
}

#[test]
fn a_cutover_whose_machine_is_gone_is_ended_by_another_and_nobody_notices() {
    let (etcd, fleet) = (Etcd::cluster(), cutover(2));
    // Long enough for orders from other machines in between.
    fleet.place.edit(CUTOVER, "hold: 200ms", "hold: 5s");
    let desk = on("desk", &fleet, &etcd).with_its_own_kernel("desk");
    let other = on("other", &fleet, &etcd).with_its_own_kernel("other");
    let load = fleet.load(USERS);
    load.wait_for(100);
    let mut standby = stand_by(&other);
    let mut first = apply(&desk, CUTOVER);
    // Its source is frozen, or about to be: that pair is brought to its end first.
    wait_for_intent(&mut first, "uploads/dal-1/freeze", false);
    first.kill();
    let killed = Instant::now();
    wait_for_takeover(&mut standby);
    println!(
        "taken over {:.1} s after its controller was killed, with leases of {LEASE} s",
        killed.elapsed().as_secs_f64()
    );
    // The one that has it now dies, too, on a machine that can tell. What was paused stays so.
    wait_for_intent(&mut standby, "uploads/dal-1/shift-50", false);
    desk.run(&["pause", "uploads", "--why", "a look"]).expect(0);
    kill_owner(&other);
    wait_for_takeover(&mut standby);
    desk.run(&["resume", "uploads"]).expect(0);
    wait_for_end(&mut standby);
    dismiss(standby);
    let status = json(&desk.run(&["status", "uploads-1", "--format", "json"]).expect(0).stdout);
    assert_eq!(status["status"], "finished", "{status}");
    assert_once(&fleet, lines(&fleet, "do", "uploads", &["after_drain", "freeze", "thaw", "after_shift"]));
    assert_sealed("uploads-1", &[&desk, &other]);
    load.wait_for(load.requests() + 100);
    assert_kept(&fleet, &load.stop());
}

#[test]
fn a_run_that_somebody_stopped_stays_so_and_one_that_goes_back_goes_on_back() {
    let (etcd, fleet) = (Etcd::single(), ramp(1));
    fleet.place.edit(RAMP, "hold: 200ms", "hold: 1h");
    // The way back is under way for long enough to be killed in.
    fleet.place.edit(RAMP, "undo: sleep 0.3;", "undo: sleep 20;");
    let before = pool(&fleet);
    let (desk, other) = (on("desk", &fleet, &etcd), on("other", &fleet, &etcd));
    let mut standby = stand_by(&other);
    let mut running = apply(&desk, RAMP);
    wait_for_intent(&mut running, "web/watch-10", false);
    desk.run(&["abort", "web"]).expect(0);
    running.finish().expect(3);
    std::thread::sleep(Duration::from_secs(2));
    let status = json(&desk.run(&["status", "web-1", "--format", "json"]).expect(0).stdout);
    assert_eq!(status["status"], "held", "{status}");
    desk.run(&["set", "web", "hold=200ms"]).expect(0);
    let mut back = desk.start(&["rollback", "web", "--yes", "--format", "json", "--lease", LEASE]);
    wait_for_intent(&mut back, "web/dal-1/before_shift", true);
    back.kill();
    // The machine is the same to it, and sees that the process is gone.
    wait_for_takeover(&mut standby);
    let ended = standby.read_until(|line| json(line)["event"]["event"] == "rolled_back");
    assert!(ended.is_some(), "it did not go back");
    dismiss(standby);
    assert_eq!(pool(&fleet), before);
    assert_sealed("web-1", &[&desk, &other]);
}

/// The locks in which it is.
fn leave_a_lease_of_a_run_that_is_not_there(etcd: &Etcd) -> Locks {
    let by = Operator { user: "ada".into(), host: "desk".into(), pid: std::process::id() };
    let locks = Locks::new(open_at(&etcd.address(), &etcd.dir().join("here")).lock_table(), &by, Duration::ZERO);
    let lease = locks.acquire(["plan:ghost".to_owned()].into(), "a test").unwrap();
    lease.name_run("ghost-1").unwrap();
    lease.leave();
    locks
}

#[test]
fn of_two_that_stand_by_one_takes_a_run_over() {
    let (etcd, fleet) = (Etcd::single(), ramp(1));
    let (desk, left, right) = (on("desk", &fleet, &etcd), on("left", &fleet, &etcd), on("right", &fleet, &etcd));
    let ghost = leave_a_lease_of_a_run_that_is_not_there(&etcd);
    let standing = [stand_by(&left), stand_by(&right)];
    // Others are not kept waiting by what nobody can go on with.
    wait_for("the end of a lease", || {
        let grants = ghost.show().unwrap();
        grants.iter().any(|grant| grant.validity(ghost.here()) == Validity::Expired)
    });
    let mut running = apply(&desk, RAMP);
    wait_for_intent(&mut running, "web/watch-10", false);
    running.kill();
    let followed = desk.start(&["status", "web-1", "--follow", "--format", "json"]).finish().expect(0);
    let records: Vec<_> = followed.stdout.lines().map(json).filter(|line| line["notice"] == "recorded").collect();
    assert_eq!(records.iter().filter(|line| line["event"]["event"] == "resumed").count(), 1);
    standing.into_iter().for_each(dismiss);
    let points = ["before_pair", "before_shift", "after_shift", "after_drain", "after_pair"];
    assert_once(&fleet, lines(&fleet, "do", "web", &points));
}
