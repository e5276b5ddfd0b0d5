//! One directory tree on this host: paths, entries, metadata, filters and walks.
//!
//! Owns every system call that reads a tree. Must never resolve a symlink, and never name anything outside the root.

pub mod acl;
pub mod file;
pub mod filter;
pub mod listing;
pub mod mapped;
pub mod metadata;
pub mod mounts;
pub mod path;
pub mod sync_point;
pub mod tree;
pub mod walk;
