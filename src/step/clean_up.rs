//! Removing what a run has put on hosts.

use serde::{Deserialize, Serialize};

use super::{Class, Kind};
use crate::text;

/// Removes what was put on the pair's hosts: agents, manifests, receipts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CleanUpStep {
    /// Inventory names.
    pub hosts: Vec<String>,
    /// Ids of the copy jobs.
    pub jobs: Vec<String>,
}

impl Kind for CleanUpStep {
    fn class(&self) -> Class {
        Class::Convergent
    }

    fn phase(&self) -> &'static str {
        "clean up"
    }

    fn describe(&self) -> String {
        format!("nothing of migrate is left on {}", text::list(&self.hosts))
    }

    fn hosts(&self) -> Option<Vec<&str>> {
        Some(self.hosts.iter().map(String::as_str).collect())
    }
}
