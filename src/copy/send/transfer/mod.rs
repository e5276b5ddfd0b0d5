//! Sends what the target lacks: contents, entries without content, hard links, deletions, metadata of directories.
//!
//! Owns the order of these, and the manifest that follows from what became of each entry.

pub mod context;
mod directories;
mod files;
mod large;
pub mod moved;
pub mod next_manifest;
mod nodes;
pub mod results;
mod run;
