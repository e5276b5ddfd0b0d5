//! What is known of the live system when a plan is made, as far as steps ask for it.

use serde::{Deserialize, Serialize};

use crate::host::{AgentFacts, Facts, TreeSize};
use crate::model::Pool;
use crate::provider::Prospect;

/// The live system as it was seen; `None` for what was not seen.
pub trait Live {
    /// The size of a tree on a host.
    fn tree(&self, host: &str, path: &str) -> Option<&TreeSize>;

    /// A host.
    fn host(&self, host: &str) -> Option<&Facts>;

    /// What an agent saw that was started on a host; `None`: none was.
    fn agent(&self, host: &str) -> Option<&AgentFacts>;

    /// What a host has answered to a question about something; `None`: it was not asked, or did not answer.
    fn answer(&self, host: &str, about: &str) -> Option<&Answer>;

    /// Whether the firewall of a host would take the rules of a fence.
    fn takes_fences(&self, host: &str) -> bool;

    /// Whether a host that would take the rules of a relay reaches the new side now; `None`: it would not, or was not asked.
    fn relay(&self, host: &str) -> Option<bool>;

    /// What its provider says of a source that is to be given back.
    fn machine(&self, host: &str) -> Option<&Prospect>;

    /// The version of an Alertmanager, by its URL.
    fn alertmanager(&self, url: &str) -> Option<&str>;

    /// A pool.
    fn pool(&self, director: &str, pool: &str) -> Option<&Pool>;

    /// What the first check of a host or a service says now.
    fn health(&self, subject: &str) -> Option<&str>;
}

/// How a command ended that only asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// Exit status.
    pub status: i32,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

/// What a step will find.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Preview {
    /// Before → after, or what was seen.
    pub seen: Option<String>,
    /// How sure that is.
    pub mark: Mark,
}

/// How sure a line of a plan is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mark {
    /// Seen on the live system.
    Verified,
    /// Follows from the plan, or from an estimate.
    Assumed,
    /// Nobody can tell before it is done.
    CannotBeChecked,
}
