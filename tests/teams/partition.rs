//! The network between a controller and the cluster, and among its servers, lets nothing through: in namespaces, where that is so without a
//! word to either side.

use std::time::Duration;

use super::trial::{Trial, undisturbed};
use crate::lab::etcd::Etcd;
use crate::lab::namespace;

fn inside(test: &str) -> bool {
    namespace::inside(&format!("teams::partition::{test}"))
}

#[test]
fn a_controller_that_is_cut_off_from_the_cluster_does_nothing_more_and_another_ends_its_move() {
    if !inside("a_controller_that_is_cut_off_from_the_cluster_does_nothing_more_and_another_ends_its_move") {
        return;
    }
    let (etcd, undisturbed) = (Etcd::apart(), undisturbed());
    let others = etcd.other_servers();
    let other = others.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
    let address = |machine: &str| match machine {
        "desk" => format!("etcd://{other}/migrate"),
        _ => etcd.address(),
    };
    let mut trial = Trial::begin(address, "1s");
    trial.wait_for_step("uploads/dal-1/freeze");
    let ips: Vec<String> = others.iter().map(|at| at.ip().to_string()).collect();
    // One server of three is enough: it asks the others.
    namespace::cut_off_from(&ips[..1]);
    trial.wait_for_step("uploads/dal-1/thaw");
    namespace::cut_off_from(&ips[1..2]);
    trial.wait_for_step("uploads/dal-1/watch-50");
    println!("with one server left it was taken over {} times", trial.taken_up().len());
    namespace::cut_off_from(&ips[2..]);
    trial.wait_for("the end of the one that is cut off", |trial| !trial.first_runs());
    trial.wait_for("a takeover", |trial| !trial.taken_up().is_empty());
    println!("the one that was cut off said: {}", trial.complaints());
    trial.wait_for("the end", |trial| trial.has_ended());
    namespace::heal();
    assert!(trial.ends_well(&undisturbed) > 0);
}

#[test]
fn a_move_goes_on_when_the_leader_is_cut_off_and_after_all_servers_were_cut_off_from_each_other() {
    if !inside("a_move_goes_on_when_the_leader_is_cut_off_and_after_all_servers_were_cut_off_from_each_other") {
        return;
    }
    let (etcd, undisturbed) = (Etcd::apart(), undisturbed());
    let mut trial = Trial::begin(|_| etcd.address(), "1s");
    trial.wait_for_step("uploads/dal-1/freeze");
    let leader = etcd.leader();
    etcd.part(leader);
    trial.wait_for_step("uploads/dal-1/watch-100");
    etcd.heal(leader);
    trial.wait_for_step("uploads/dal-2/freeze");
    (0..3).for_each(|n| etcd.part(n));
    std::thread::sleep(Duration::from_secs(8));
    (0..3).for_each(|n| etcd.heal(n));
    let taken_up = trial.ends_well(&undisturbed);
    println!("taken over {taken_up} times");
}
