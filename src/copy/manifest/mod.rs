//! The source's durable record of what the target has, so that a later pass sends only what changed.
//!
//! Owns the files of a job beside the tree: the whole manifest, the changes since it was written, and the hashes of the blocks of
//! large files.

pub mod blocks;
pub mod delta;
pub mod format;
pub mod full;
