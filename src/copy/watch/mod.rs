//! The change watch: a process on the source that knows where to look, so that a pass costs what changed and not what there is.
//!
//! Owns what was changed between two passes. It may say too much, never too little: where it is not sure (too many events, an
//! unknown filesystem, a pass that did not end well) it says so, and the pass sweeps.
//!
//! A file can only change while somebody has it open for writing or mapped. What is closed raises an event at the latest then;
//! what is still open when a pass begins is found in `/proc` ([`writers`]), which covers stores through mappings and kernel
//! asynchronous writes, of which no event tells.

mod ask;
mod events;
mod index;
mod marks;
mod serve;
pub mod writers;

pub use self::ask::{Ask, Place, Watch};
pub use self::serve::serve;

/// The first word of what a watch says at its start when it works; anything else is why it does not.
pub const WATCHING: &str = "watching";
