//! Waiting until every condition of a gate holds.

use serde::{Deserialize, Serialize};

use super::{Class, Ends, Kind};
use crate::gate::Gate;

/// Waits until every condition of a gate holds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GateStep {
    /// What it asks.
    pub asks: Gate,
    /// Why there is no way back behind what it lets pass: a gate of its own asks before the first such step.
    pub past: Vec<String>,
}

impl Kind for GateStep {
    fn class(&self) -> Class {
        Class::Reading
    }

    fn phase(&self) -> &'static str {
        "gate"
    }

    fn describe(&self) -> String {
        describe_gate(&self.asks, &self.past)
    }

    fn ends(&self, run: &str, step: &str) -> Ends {
        Ends::when(format!("it opens; approve with: migrate approve {run} {step} --why …"))
    }
}

/// What a gate waits for. `past`: why there is no way back behind it, where it asks for that alone.
fn describe_gate(gate: &Gate, past: &[String]) -> String {
    match past {
        [] => format!("until {}", gate.describe()),
        [first, rest @ ..] => {
            // Pairs of a service are alike: the first stands for all.
            let more = if rest.is_empty() { String::new() } else { format!(", and {} more like it", rest.len()) };
            format!("until somebody approves that there is no way back: {first}{more}")
        }
    }
}
