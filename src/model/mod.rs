//! The typed model of an inventory and a plan: what everything behind the YAML works with.
//!
//! Owns the words and their defaults. Must never hold a YAML node, a source position or a resolved
//! secret: what is here has passed validation and is safe to print.

pub mod finding;
mod hook;
mod inventory;
mod plan;
mod pool;
mod selector;
pub mod template;

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

pub use hook::*;
pub use inventory::*;
pub use plan::*;
pub use pool::*;
pub use selector::Selector;
pub use template::TemplateError;

/// A plan and its inventory, validated against each other, with the digests of every file read.
#[derive(Debug, Clone)]
pub struct Spec {
    /// What moves, and under which rules.
    pub plan: Plan,
    /// Where it moves from and to.
    pub inventory: Inventory,
    /// Every file that was read, in reading order.
    pub inputs: Vec<Input>,
}

/// One file that went into a [`Spec`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Input {
    /// The path as the user named it.
    pub path: PathBuf,
    /// BLAKE3 of its bytes, hex.
    pub digest: String,
}
