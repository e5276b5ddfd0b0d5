//! `migrate` moves live services from rented bare metal into another datacenter.
//!
//! Data flows one way:
//!
//! ```text
//! plan YAML ─┐
//!            ├─ config ── spec ─── planner ── step graph ── engine ── effects (ssh, copy, traffic, check)
//! inventory ─┘    │                   │                       │
//!              problems           live reads              journal ── events ── render
//! ```
//!
//! Rules of the house, which `tests/architecture.rs` checks:
//! - Rooms use only what docs/architecture.md says, and never in a circle.
//! - `planner` and `engine` know traits and steps, never a provider.
//! - The library never prints and never reads the environment; `cli` does both.
//! - `async` only where there is I/O. Planning is pure.
//!
//! Every write is read back. Unknown is neither success nor failure: it holds.

#[cfg(test)]
extern crate self as migrate;

#[cfg(feature = "controller")]
pub mod alerts;
#[cfg(feature = "controller")]
pub mod audit;
#[cfg(feature = "controller")]
pub mod check;
#[cfg(feature = "controller")]
pub mod cli;
pub mod clock;
#[cfg(feature = "controller")]
pub mod config;
pub mod connection;
#[cfg(feature = "controller")]
pub mod control;
pub mod copy;
#[cfg(feature = "controller")]
pub mod engine;
#[cfg(feature = "controller")]
pub mod event;
#[cfg(feature = "controller")]
pub mod fields;
#[cfg(feature = "controller")]
pub mod gate;
pub mod host;
#[cfg(feature = "controller")]
pub mod inventory;
#[cfg(feature = "controller")]
pub mod journal;
#[cfg(feature = "controller")]
pub mod lock;
#[cfg(feature = "controller")]
pub mod metrics;
pub mod model;
#[cfg(feature = "controller")]
mod mutant;
#[cfg(feature = "controller")]
pub mod nameserver;
#[cfg(feature = "controller")]
pub mod notify;
pub mod outside;
#[cfg(feature = "controller")]
pub mod planner;
#[cfg(feature = "controller")]
pub mod provider;
#[cfg(feature = "controller")]
pub mod redfish;
#[cfg(feature = "controller")]
pub mod rehearse;
#[cfg(feature = "controller")]
pub mod render;
pub mod retry;
pub mod secret;
#[cfg(feature = "controller")]
pub mod serve;
#[cfg(feature = "controller")]
pub mod softlayer;
#[cfg(feature = "controller")]
pub mod spec;
#[cfg(feature = "controller")]
pub mod ssh;
#[cfg(feature = "controller")]
pub mod state;
#[cfg(feature = "controller")]
pub mod step;
#[cfg(feature = "controller")]
pub mod store;
pub mod text;
#[cfg(feature = "controller")]
pub mod traffic;
#[cfg(feature = "controller")]
pub mod web;
#[cfg(feature = "controller")]
pub mod yaml;
