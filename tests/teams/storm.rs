//! Leaders of the cluster are killed one after the other, and controllers killed and stopped meanwhile.

use std::time::Duration;

use super::long;
use super::trial::{STANDBYS, Trial, undisturbed};
use crate::lab::etcd::Etcd;

/// A run is left alone after so many leaders, so that it comes to its end.
const ENOUGH: usize = 20;

#[test]
fn moves_end_as_undisturbed_ones_while_leaders_and_controllers_are_killed_and_stopped() {
    let (mut etcd, undisturbed) = (Etcd::cluster(), undisturbed());
    let wanted = if long() { 100 } else { 6 };
    let (mut leaders, mut runs, mut taken_up) = (0, 0, 0);
    while leaders < wanted {
        let mut trial = Trial::begin(|_| etcd.address(), "1s");
        for turn in 0..ENOUGH {
            if trial.has_ended() || leaders == wanted {
                break;
            }
            trial.wake();
            match turn % 6 {
                1 => trial.kill_owner(),
                3 => trial.stop_owner(),
                5 => trial.kill_standby(STANDBYS[turn / 6 % STANDBYS.len()]),
                _ => {}
            }
            let leader = etcd.leader();
            etcd.kill(leader);
            // At another moment each time.
            std::thread::sleep(Duration::from_millis(turn as u64 * 377 % 1400));
            etcd.start_again(leader);
            leaders += 1;
        }
        taken_up += trial.ends_well(&undisturbed);
        runs += 1;
    }
    println!("{runs} moves ended well while {leaders} leaders were killed; they were taken over {taken_up} times");
}
