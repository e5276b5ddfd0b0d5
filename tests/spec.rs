//! The language: what a valid plan becomes, and how everything that is wrong is said.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    missing_docs
)]

#[path = "spec/support.rs"]
mod support;

#[path = "spec/model.rs"]
mod model;

#[path = "spec/problems.rs"]
mod problems;

#[path = "spec/bounds.rs"]
mod bounds;

#[path = "spec/mutations.rs"]
mod mutations;

#[path = "spec/inventories.rs"]
mod inventories;
