//! The lab: real servers on loopback addresses and in private directories, for tests and the demo.

#![allow(dead_code, reason = "each test binary uses its own part of the lab")]

pub mod accounts;
pub mod agent;
pub mod alertmanager;
pub mod authority;
pub mod bind;
pub mod bird;
pub mod browser;
pub mod certificates;
pub mod cloud_dns;
pub mod command;
pub mod content;
pub mod databases;
pub mod etcd;
pub mod far;
pub mod fleet;
pub mod haproxy;
pub mod http;
pub mod load;
pub mod meddler;
pub mod names;
pub mod namespace;
pub mod netbox;
pub mod nginx;
pub mod packages;
pub mod place;
pub mod postgres;
pub mod process;
pub mod prometheus;
pub mod python;
pub mod receiver;
pub mod redfish;
pub mod requests;
pub mod resolver;
pub mod route53;
pub mod service;
pub mod skip;
pub mod softlayer;
pub mod sshd;
pub mod tree;
pub mod userland;
