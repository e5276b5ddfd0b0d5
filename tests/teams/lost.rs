//! Machines that are lost in the middle of a move, one after the other: how long nobody has the run.

use std::time::Duration;

use super::long;
use super::trial::{LEASE, Trial, undisturbed};
use crate::lab::etcd::Etcd;

#[test]
fn a_run_goes_on_as_often_as_the_machine_that_has_it_is_lost() {
    let etcd = Etcd::cluster();
    let mut trial = Trial::begin(|_| etcd.address(), "1h");
    trial.wait_for_step("uploads/dal-1/watch-50");
    let wanted = if long() { 50 } else { 2 };
    let mut took: Vec<Duration> = (1..wanted).map(|_| trial.lose_the_machine_that_has_it()).collect();
    // Who takes it up begins the watch anew.
    trial.set_hold("200ms");
    took.push(trial.lose_the_machine_that_has_it());
    assert_eq!(trial.ends_well(&undisturbed()), wanted);
    took.sort();
    let at = |percent: usize| took[(wanted - 1) * percent / 100].as_secs_f64();
    println!(
        "taken over {wanted} times with leases of {LEASE} s: after {:.1} s at least, {:.1} s half of them, {:.1} s nine of ten, {:.1} s at most",
        at(0),
        at(50),
        at(90),
        at(100)
    );
}
