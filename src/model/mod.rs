//! The words that everything else speaks in: hosts, pairs, pools, members, hooks, templates, findings.
//!
//! Plain data and its defaults. Must never hold a YAML node, a source position or a resolved secret, and never name a provider.

mod connections;
pub mod finding;
mod hook;
mod inventory;
mod kept;
mod limit;
mod message;
mod paced;
mod parity;
mod plan;
mod pool;
mod pool_facts;
mod portion;
#[cfg(feature = "controller")]
mod selector;
pub mod shared;
pub mod template;

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

pub use connections::*;
pub use hook::*;
pub use inventory::*;
pub use kept::*;
pub use limit::*;
pub use message::*;
pub use paced::*;
pub use parity::*;
pub use plan::*;
pub use pool::*;
pub use pool_facts::*;
pub use portion::*;
#[cfg(feature = "controller")]
pub use selector::Selector;
pub use template::{Template, TemplateError};

/// One file that went into a [`Spec`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Input {
    /// The path as the user named it.
    pub path: PathBuf,
    /// BLAKE3 of its bytes, hex.
    pub digest: String,
    /// Whether it may say something else at the next time without anybody having edited it: a run goes on with what it said at first.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub live: bool,
}
