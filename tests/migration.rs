//! Whole migrations: real hosts, real traffic, the real program.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    missing_docs
)]

mod lab;

#[path = "migration/ahead.rs"]
mod ahead;
#[path = "migration/bad.rs"]
mod bad;
#[path = "migration/crash.rs"]
mod crash;
#[path = "migration/moves.rs"]
mod moves;
#[path = "migration/plan.rs"]
mod plan;
#[path = "migration/postgres.rs"]
mod postgres;
#[path = "migration/replica.rs"]
mod replica;
#[path = "migration/stop.rs"]
mod stop;

use lab::command::Migrate;
use lab::fleet::{Fleet, Size};
use lab::load::Report;

/// What the tests move under load.
const SIZE: Size = Size { pairs: 3, common: 500, own: 300 };

fn migrate(fleet: &Fleet) -> Migrate {
    Migrate::new(env!("CARGO_BIN_EXE_migrate"), &fleet.place)
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
