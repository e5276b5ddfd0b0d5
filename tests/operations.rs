//! What operators are promised, proved with the real program on real hosts with real traffic: kill it anywhere, go back, steer it,
//! cut its connections.
//!
//! `MIGRATE_LONG=1` runs the longer modes: all three pairs, a second kill for every kill, a thousand hooks.
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

#[path = "operations/control.rs"]
mod control;
#[path = "operations/cut.rs"]
mod cut;
#[path = "operations/drift.rs"]
mod drift;
#[path = "operations/empty.rs"]
mod empty;
#[path = "operations/fence.rs"]
mod fence;
#[path = "operations/gates.rs"]
mod gates;
#[path = "operations/interrupt.rs"]
mod interrupt;
#[path = "operations/kill.rs"]
mod kill;
#[path = "operations/persist.rs"]
mod persist;
#[path = "operations/policy.rs"]
mod policy;
#[path = "operations/rollback.rs"]
mod rollback;
#[path = "operations/support.rs"]
mod support;
#[path = "operations/terminal.rs"]
mod terminal;
#[path = "operations/trouble.rs"]
mod trouble;
#[path = "operations/two.rs"]
mod two;
