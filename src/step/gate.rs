//! Waiting until people, the calendar and the clock say yes.

use serde::{Deserialize, Serialize};

use super::{Class, Ends, Kind};
use crate::model::Gate;
use crate::text;

/// Waits until people, the calendar and the clock say yes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
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

/// What a gate waits for.
fn describe_gate(gate: &Gate, past: &[String]) -> String {
    let mut asks = Vec::new();
    match gate.approvals {
        0 => {}
        1 if !past.is_empty() => {
            // Pairs of a service are alike: the first stands for all.
            let more = if past.len() > 1 { format!(", and {} more like it", past.len() - 1) } else { String::new() };
            let first = past.first().map_or("", String::as_str);
            asks.push(format!("somebody approves that there is no way back: {first}{more}"));
        }
        1 => asks.push("somebody approves".to_owned()),
        n => asks.push(format!("{n} different people approve")),
    }
    if let Some(time) = gate.not_before {
        asks.push(format!("it is {time}"));
    }
    if let Some(window) = &gate.window {
        let clock = |minute: u16| format!("{:02}:{:02}", minute / 60, minute % 60);
        let names = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
        let days: Vec<&str> =
            (1_i8..).zip(names).filter(|(n, _)| window.days.contains(n)).map(|(_, name)| name).collect();
        let days = if days.len() == 7 { "any day".to_owned() } else { text::list(&days) };
        asks.push(format!("it is {days} between {} and {} in {}", clock(window.from), clock(window.to), window.zone));
    }
    let within = gate.within.map(|w| format!(", for at most {}", text::duration(w))).unwrap_or_default();
    format!("until {}{within}", text::list(&asks))
}
