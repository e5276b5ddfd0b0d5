//! Pairs that a run moves without, because they could not be reached when it was planned.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::model::Pair;
use crate::text;

/// A pair that has no steps though it has not moved. It counts as one that has failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeftOut {
    /// Its wave.
    pub wave: Arc<str>,
    /// Its service.
    pub service: Arc<str>,
    /// The pair.
    pub pair: Arc<Pair>,
    /// Which of its hosts cannot be reached, and why.
    pub why: String,
}

impl LeftOut {
    /// `, without 2 pairs that could not be reached`; nothing where there are none.
    pub fn without(left_out: &[Self]) -> String {
        match left_out.len() {
            0 => String::new(),
            n => format!(", without {} that could not be reached", text::count(n as u64, "pair")),
        }
    }
}

impl std::fmt::Display for LeftOut {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { service, pair, why, .. } = self;
        write!(f, "{service} {} → {} is left out: {why}", pair.source, pair.target)
    }
}
