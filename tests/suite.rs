//! All tests against real servers and of the whole program, in one binary: the lab is compiled once, and the tests of one feature run while
//! those of another wait. `cargo test --test suite migration::` runs those of a feature.
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

mod accounts;
mod ci;
mod cli;
mod controller;
mod copy;
mod fleet;
mod health;
mod migration;
mod operations;
mod rehearse;
mod serve;
mod spec;
mod ssh;
mod teams;
mod traffic;
