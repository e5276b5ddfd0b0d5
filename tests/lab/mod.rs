//! The lab: real servers on loopback addresses and in private directories, for tests and the demo.

#![allow(dead_code, reason = "each test binary uses its own part of the lab")]

pub mod accounts;
pub mod agent;
pub mod bind;
pub mod bird;
pub mod command;
pub mod content;
pub mod far;
pub mod fleet;
pub mod haproxy;
pub mod load;
pub mod names;
pub mod netbox;
pub mod nginx;
pub mod packages;
pub mod place;
pub mod postgres;
pub mod process;
pub mod python;
pub mod resolver;
pub mod route53;
pub mod service;
pub mod softlayer;
pub mod sshd;
pub mod tree;
pub mod userland;
