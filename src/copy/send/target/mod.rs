//! What is settled with the target before anything is sent: what it has, and how owners are named there.

pub mod listing;
pub mod owners;
