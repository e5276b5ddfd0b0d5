//! Events and plans to text, for people and programs.
//!
//! Sees events, ids and proposals only. Writes to what it is given, and decides nothing.

mod alike;
mod bars;
mod chronicle;
mod cost;
mod cut_off;
mod ending;
mod explain;
mod exposition;
mod fit;
mod format;
mod hosts;
mod json;
mod junit;
mod lines;
mod markup;
mod paint;
mod plan;
mod plan_in_ci;
mod plan_markdown;
mod plan_waves;
mod remarks;
mod report;
mod table;

pub use alike::{Names, findings};
pub use bars::Bars;
pub use chronicle::{Audit, Beside, Chronicle, ServiceShare, shares};
pub use cost::PlanCost;
pub use cut_off::Outage;
pub use ending::{apply, apply_again, ending, resuming, when};
pub use explain::{Explanation, Wait, explain};
pub use exposition::{Told, exposition};
pub use fit::fitted;
pub use format::{Format, Show, Style, Topic};
pub use hosts::{HostRow, Hosts, host_entry};
pub use json::Json;
pub use junit::{Case, Suite};
pub use lines::{Lines, LogLines};
pub use plan_in_ci::PlanInCi;
pub use remarks::{Level, Remark, Spot};
pub use report::{PairReport, RunReport, RunRow, Runs, readiness};
