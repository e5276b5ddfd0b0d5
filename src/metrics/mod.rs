//! What Prometheus says: a query, and one number or why there is none.
//!
//! Owns the settings of servers and queries, the way to them, and the judgement of answers. Must never give a number that is none (no data, NaN, stale, of
//! several series, from an answer that is not whole), and never take a silence for one.

mod answer;
mod bound;
mod reader;
mod selectors;
mod settings;
mod wire;

use serde::{Deserialize, Serialize};

pub use bound::{Bound, Comparison, shown};
pub use reader::{History, Reader, Reading};
pub use selectors::longest_range;
pub use settings::{Ask, Server, Words, max_age, query};
pub use wire::{Request, Wire};

/// Why there is no number.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{why}")]
pub struct Silence {
    /// What is wrong, in one sentence, escaped.
    pub why: String,
    /// What somebody can do about it.
    pub help: String,
}

impl Silence {
    fn new(why: impl Into<String>, help: impl Into<String>) -> Self {
        Self { why: why.into(), help: help.into() }
    }
}

/// How much of a query or an answer is quoted, in characters.
const QUOTE: usize = 160;

fn quote(text: &str) -> String {
    crate::text::escape(text.as_bytes(), QUOTE)
}
