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

#[path = "traffic/command.rs"]
mod command;
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
#[path = "traffic/moves.rs"]
mod moves;
#[path = "traffic/nginx.rs"]
mod nginx;
#[path = "traffic/pools.rs"]
mod pools;
#[path = "traffic/route53.rs"]
mod route53;
#[path = "cli/run.rs"]
#[allow(dead_code, reason = "the tests of the command line use the rest")]
mod run;
#[path = "traffic/show.rs"]
mod show;
#[path = "traffic/softlayer_dns.rs"]
mod softlayer_dns;
#[path = "traffic/support.rs"]
mod support;
