//! Events and plans to text, for people and programs.
//!
//! Sees events, ids and proposals only. Writes to what it is given, and decides nothing.

mod bars;
mod ending;
mod explain;
mod json;
mod lines;
mod paint;
mod plan;
mod plan_markdown;
mod report;

pub use bars::Bars;
pub use ending::{ending, resuming};
pub use explain::{Explanation, Wait, explain};
pub use json::Json;
pub use lines::Lines;
pub use plan::plan_text;
pub use plan_markdown::plan_markdown;
pub use report::{PairReport, RunReport, RunRow, run_table, run_text};

use crate::event::Notice;

/// Shows a run while it goes on.
pub trait Watch: Send {
    /// Takes one notice in.
    fn see(&mut self, notice: &Notice);
    /// Clears what must not stay on the screen.
    fn close(&mut self) {}
}
