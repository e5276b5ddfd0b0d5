//! The SoftLayer API (IBM Cloud Classic) over REST: how it is asked, and what its answers are worth.
//!
//! Owns how credentials are found, the pace, the retries of reads, paging, and the words for its errors. Must never send a write twice,
//! never believe a list that changed while it was read, and never know what is asked for.

pub mod access;
mod answer;
mod client;
mod list;
mod pace;

pub use access::{Access, Login};
pub use client::{Api, Call, Failed, Why};
