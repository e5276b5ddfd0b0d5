//! YAML to a typed, validated model, with every problem reported at once.
//!
//! ```text
//! file ── source ── node ── read/* ── draft ── validate/* ── model
//!                     └───────┴── diagnostics ──┘
//! ```
//!
//! Must never contact anything and never resolve a secret.

pub mod diagnostic;
mod load;
mod map;
pub mod model;
mod name;
mod node;
mod pairing;
mod read;
mod reader;
mod scalar;
pub mod shell;
pub mod source;
mod suggest;
pub mod template;
pub mod units;
mod validate;

pub use diagnostic::{Diagnostic, Diagnostics, Place, Severity};
pub use load::{LoadOptions, load, load_inventory};
pub use template::TemplateError;
