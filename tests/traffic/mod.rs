//! Directors against the real servers.

mod cloud_dns;
mod command;
mod conformance;
mod dns;
mod dns_refusals;
mod haproxy;
mod lab_works;
mod meddling;
mod moves;
mod nginx;
mod pools;
mod powerdns;
mod route53;
mod show;
mod softlayer_dns;
mod softlayer_lb;
mod support;
