//! One controller and what makes it trustworthy: its journal when the disk fails it, its locks, its accounts.
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

#[path = "controller/support.rs"]
mod support;

#[path = "controller/audit.rs"]
mod audit;
#[path = "controller/audit_cli.rs"]
mod audit_cli;
#[path = "controller/failing_disk.rs"]
mod failing_disk;
#[path = "controller/large.rs"]
mod large;
#[path = "controller/lock.rs"]
mod lock;
#[path = "controller/stale.rs"]
mod stale;
