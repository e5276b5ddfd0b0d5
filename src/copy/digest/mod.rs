//! BLAKE3 of a tree, for comparing source and target by content.
//!
//! Owns how content and attributes become a digest, and the cache of digests from one comparison to the next.

pub mod cache;
mod cache_file;
pub mod hash;
mod segments;
pub mod tree;
