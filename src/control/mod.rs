//! Talking to a live run from another terminal: a socket in the run's directory.
//!
//! Owns the wire: one JSON request a connection, one JSON answer. Must never act itself: orders go to the engine, which writes
//! them to the journal before they are answered.

mod client;
mod server;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::engine::orders::Order;
use crate::event::Operator;

pub use client::{ControlError, ask};
pub use server::{LastSeen, serve};

/// The longest request or answer.
const MAX_MESSAGE: u64 = 1 << 20;

/// What is asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Request {
    /// An order, and who gives it.
    Order {
        /// What.
        order: Order,
        /// Who.
        by: Operator,
    },
    /// What do your steps wait for?
    Waiting,
}

/// What is answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// The order is in the journal.
    Obeyed,
    /// The order was not obeyed.
    Refused(String),
    /// The last words of each step under way.
    Waiting(BTreeMap<String, String>),
}
