//! What a comparison found: for people, and as it is for programs.

use std::fmt;

use jiff::Timestamp;
use serde::Serialize;

/// Something that must not be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What it is about.
    pub kind: Kind,
    /// The record, when it is about one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub record: Option<u64>,
    /// The checkpoint, when it is about one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub checkpoint: Option<u64>,
    /// In one sentence.
    pub what: String,
}

/// The kinds of findings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A record is not the one that was sealed, or cannot be one at all.
    Changed,
    /// Sealed records are not there.
    Missing,
    /// Records are not sealed.
    Unsealed,
    /// A checkpoint was edited, removed or moved.
    Checkpoint,
    /// Checkpoints are signed by another key.
    Key,
    /// The run's checkpoints are not those that were copied.
    Remade,
}

impl Finding {
    /// Whether only the key is in question.
    pub fn is_about_the_key(&self) -> bool {
        self.kind == Kind::Key
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}

/// What a comparison found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Name of the run.
    pub run: String,
    /// Whether there is nothing wrong.
    pub intact: bool,
    /// Records in the journal.
    pub records: u64,
    /// Checkpoints of the run.
    pub checkpoints: u64,
    /// Number of the last record that a valid checkpoint seals.
    pub sealed_to: Option<u64>,
    /// When that was.
    pub sealed_at: Option<Timestamp>,
    /// The key.
    pub key: String,
    /// How the copies from elsewhere compare, if there were any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outside: Option<Outside>,
    /// All that is wrong.
    pub findings: Vec<Finding>,
    /// What is worth knowing and no proof of anything.
    pub notes: Vec<String>,
    /// What this comparison cannot exclude.
    pub not_excluded: Vec<String>,
}

/// Copies from elsewhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Outside {
    /// How many there are of this run.
    pub checkpoints: u64,
    /// Number of the last record that they seal.
    pub sealed_to: Option<u64>,
}
