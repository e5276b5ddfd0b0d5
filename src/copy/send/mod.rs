//! The sending agent: finds out what the target lacks and sends it.
//!
//! Owns the manifest on the source. Must never write into the tree that it reads.
//!
//! Its rooms, from the ground up: `ledger` counts what is under way; `link` leads to the target and to the controller; `source` is
//! what is found here; `target` is what is settled with the other side; `transfer` sends; `verify` compares by content; `pass`,
//! `preview` and `stream` put these in order; `serve` does one task.

mod ledger;
mod link;
mod pass;
mod preview;
mod room;
mod serve;
mod source;
mod stream;
mod target;
mod transfer;
mod verify;

pub use self::serve::{serve, serve_by};
