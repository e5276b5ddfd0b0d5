//! `migrate` moves live services from rented bare metal into another datacenter.
//!
//! Data flows one way:
//!
//! ```text
//! plan YAML ─┐
//!            ├─ spec ── planner ── step graph ── engine ── effects (ssh, copy, traffic, health)
//! inventory ─┘   │         │                        │
//!           diagnostics  live reads              journal ── events ── render
//! ```
//!
//! Rules of the house:
//! - `spec`, `planner` and `engine` know traits, never a provider.
//! - `render` sees events and ids only.
//! - The library never prints and never reads the environment; `cli` does both.
//! - `async` only where there is I/O. Planning is pure.
//! - Every write is read back. Unknown is neither success nor failure: it holds.

#[cfg(test)]
extern crate self as migrate;

pub mod audit;
pub mod cli;
pub mod clock;
pub mod control;
pub mod copy;
pub mod engine;
pub mod event;
pub mod health;
pub mod inventory;
pub mod journal;
pub mod lock;
pub mod planner;
pub mod rehearse;
pub mod render;
pub mod secret;
pub mod spec;
pub mod ssh;
pub mod text;
pub mod traffic;
