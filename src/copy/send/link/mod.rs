//! The way from the sending agent to the receiving one and to the controller: frames out through one bounded queue, responses in.
//!
//! Owns ordering, rate limit, compression, and the connection of its own to the target.

mod compress;
pub mod direct;
mod outbox;
mod rate_limit;
mod session;
mod threads;
mod widen;

pub use self::session::{Link, Streams, start};
