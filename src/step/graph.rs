//! Steps and what each waits for.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Step;

/// Steps and what each waits for.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Graph {
    /// Steps in an order in which each stands behind all it waits for.
    pub steps: Vec<Step>,
    /// Pairs that may fail before others are held, too.
    #[serde(default)]
    pub budgets: Budgets,
    /// Bytes per second of all copies together.
    #[serde(default)]
    pub total_bandwidth: Option<u64>,
}

/// Pairs that may fail before others are held, too.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Budgets {
    /// By wave; none is 0.
    pub waves: BTreeMap<String, usize>,
    /// In all; `None` leaves it to the waves.
    pub all: Option<usize>,
}

impl Graph {
    /// The step with that id.
    pub fn step(&self, id: &str) -> Option<&Step> {
        self.steps.iter().find(|s| s.id == id)
    }
}
