//! Reading YAML: bounded, with the place of every value, and every problem reported at once.
//!
//! ```text
//! file ── source ── node ── reader ── whatever a room makes of it
//!                     └───────┴── diagnostics
//! ```
//!
//! Owns limits, places, scalars and problems. Must never know what a plan or an inventory is.

pub mod diagnostic;
pub mod edited;
pub mod map;
pub mod node;
pub mod reader;
pub mod scalar;
pub mod source;
pub mod trace;

pub use diagnostic::{Diagnostic, Diagnostics, Place, Severity};
