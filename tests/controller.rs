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

#[path = "controller/support.rs"]
mod support;

#[path = "controller/audit.rs"]
mod audit;
