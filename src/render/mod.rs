//! Events and plans to text, for people and programs.
//!
//! Sees events, ids and proposals only. Writes to what it is given, and decides nothing.

mod bars;
mod cost;
mod ending;
mod explain;
mod format;
mod hosts;
mod json;
mod lines;
mod paint;
mod plan;
mod plan_markdown;
mod report;
mod table;

pub use bars::Bars;
pub use cost::PlanCost;
pub use ending::{ending, resuming};
pub use explain::{Explanation, Wait, explain};
pub use format::{Format, Show, Style, Topic};
pub use hosts::{HostRow, Hosts};
pub use json::Json;
pub use lines::Lines;
pub use report::{PairReport, RunReport, RunRow, Runs, readiness};
