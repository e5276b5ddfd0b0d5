//! Talking to a live run from another terminal: a socket in the run's directory; from another machine, by letters that lie in the store.
//!
//! Owns the wire: one JSON request a connection, and one JSON answer, or a notice a line for who follows. Must never act itself: orders go to
//! the engine, which writes them to the journal before they are answered.

mod client;
mod feed;
mod letters;
mod server;

use serde::{Deserialize, Serialize};

use crate::engine::orders::Order;
use crate::event::{LastWords, Operator};

pub use client::{ControlError, ask, follow};
pub use feed::Feed;
pub use letters::{Postman, answer_letters, ask_run};
pub use server::{Served, serve};

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
    /// The records from this one on, from 0, and then everything as it happens, until the run or the client ends.
    Follow {
        /// Number of the first record.
        from: u64,
    },
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
    Waiting(LastWords),
}
