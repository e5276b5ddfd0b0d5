//! The command line as its users meet it: what it prints and how it exits, without anything to contact.

mod ci;
mod cost;
mod decommission;
mod first_hour;
mod look;
mod metrics;
mod offline;
pub mod played;
mod readme;
mod report;
pub mod run;
mod schema;
mod softlayer;
mod sources;
