//! What operators are promised, proved with the real program on real hosts with real traffic: kill it anywhere, go back, steer it,
//! cut its connections.
//!
//! `MIGRATE_LONG=1` runs the longer modes: all three pairs, a second kill for every kill, a thousand hooks.

mod batches;
mod claims;
mod connections;
mod control;
mod cut;
mod cut_off;
mod decommission;
mod drift;
mod empty;
mod fence;
mod gates;
mod interrupt;
mod kill;
mod leaving;
mod limits;
mod notify;
mod on_controller;
mod persist;
mod pinned;
mod policy;
mod redfish;
mod relay;
mod rented;
mod rollback;
mod silences;
pub mod support;
mod terminal;
mod trouble;
mod two;
mod unreachable;
