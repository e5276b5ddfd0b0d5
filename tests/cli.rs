//! The command line as its users meet it: what it prints and how it exits, without anything to contact.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    missing_docs
)]

#[path = "lab/mod.rs"]
mod lab;

#[path = "cli/cost.rs"]
mod cost;
#[path = "cli/offline.rs"]
mod offline;
#[path = "cli/run.rs"]
mod run;
#[path = "cli/softlayer.rs"]
mod softlayer;
#[path = "cli/sources.rs"]
mod sources;
