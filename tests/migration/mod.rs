//! Whole migrations: real hosts, real traffic, the real program.

mod ahead;
mod bad;
mod both;
mod crash;
mod moves;
mod mysql;
mod plan;
mod pooler;
mod postgres;
mod postgres_logical;
mod redis;
mod replica;
mod stop;

use crate::lab::command::Migrate;
use crate::lab::fleet::{Fleet, Size};
use crate::lab::load::{Load, Report};

/// What the tests move under load.
const SIZE: Size = Size { pairs: 3, common: 500, own: 300 };

fn migrate(fleet: &Fleet) -> Migrate {
    Migrate::new(env!("CARGO_BIN_EXE_migrate"), &fleet.place)
}

/// What all users have seen together.
fn together(loads: Vec<Load>) -> Report {
    let mut all = Report::default();
    for seen in loads.into_iter().map(Load::stop) {
        all.requests += seen.requests;
        all.failed += seen.failed;
        all.failures.extend(seen.failures);
        all.uploads.extend(seen.uploads);
    }
    all
}

/// Nobody noticed, and everything is where it belongs.
#[track_caller]
fn assert_kept(fleet: &Fleet, report: &Report) {
    assert_eq!(report.failed, 0, "of {}: {:#?}", report.requests, report.failures);
    assert_eq!(fleet.refused(), 0, "a service was asked to write while it must not");
    for (host, difference) in fleet.compare(report) {
        assert!(difference.is_none(), "{host}: {difference:#?}");
    }
}
