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

pub mod audit;
pub mod check;
pub mod cli;
pub mod clock;
pub mod config;
pub mod control;
pub mod copy;
pub mod engine;
pub mod event;
pub mod fields;
pub mod gate;
pub mod host;
pub mod inventory;
pub mod journal;
pub mod lock;
pub mod model;
mod mutant;
pub mod outside;
pub mod planner;
pub mod rehearse;
pub mod render;
pub mod retry;
pub mod secret;
pub mod spec;
pub mod ssh;
pub mod state;
pub mod step;
pub mod store;
pub mod text;
pub mod traffic;
pub mod yaml;
