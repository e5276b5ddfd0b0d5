//! Directors against the real servers.
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

#[path = "traffic/conformance.rs"]
mod conformance;
#[path = "traffic/dns.rs"]
mod dns;
#[path = "traffic/dns_refusals.rs"]
mod dns_refusals;
#[path = "traffic/haproxy.rs"]
mod haproxy;
#[path = "traffic/lab_works.rs"]
mod lab_works;
#[path = "traffic/meddling.rs"]
mod meddling;
#[path = "traffic/pools.rs"]
mod pools;
#[path = "cli/run.rs"]
mod run;
#[path = "traffic/show.rs"]
mod show;
#[path = "traffic/support.rs"]
mod support;
