//! Runs a step graph: intent → sync → act → read back → outcome → sync → publish.
//!
//! Owns a run's state. One loop owns it and never awaits work inside its body; steps run beside it and only report. Must never begin
//! a step whose intent is not on disk, and never guess what an unknown outcome was.

mod allowance;
mod back;
mod dispatch;
mod ending;
mod execute;
mod failures;
mod governor;
pub mod orders;
mod ready;
mod release;
mod streams;
mod undo;
pub mod world;

pub use dispatch::Engine;
pub use ending::{Ending, EngineError, Stop};
pub use execute::owner_of_silences;
pub(crate) use execute::signals::ASKS as SIGNALS;
pub(crate) use orders::aborted;
pub use undo::{NoWayBack, rollback_steps};
pub use world::{World, Worlds};
