//! The source's side of a copy: the tree, the records of the job, and what a scan finds changed.
//!
//! Must never write into the tree.

pub mod actions;
pub mod baseline;
pub mod mounts;
pub mod records;
pub mod scan;
pub mod survey;
mod watched;
