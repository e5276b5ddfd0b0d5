//! Runs in a cluster of etcd: the promises of all stores, what becomes of a run when servers die, hang, are full or refuse, and several
//! machines with one run.

mod cluster;
#[path = "../../src/store/tests.rs"]
mod conformance;
mod lost;
mod machines;
mod partition;
mod people;
mod seen;
mod storm;
mod takeover;
mod trial;

use std::path::Path;

use crate::lab::etcd::Etcd;

/// A new store in a cluster, for the tests of all kinds.
fn stores_under_test(_: &Path) -> (Etcd, Vec<String>) {
    let etcd = Etcd::single();
    let address = etcd.address();
    (etcd, vec![address])
}

/// Whether the longer modes were asked for.
fn long() -> bool {
    std::env::var_os("MIGRATE_LONG").is_some_and(|value| value == "1")
}
