//! Plan and inventory files to the validated model, with every problem reported at once.
//!
//! ```text
//! file ── yaml ── read/* ── draft ── validate/* ── model
//!           └────────┴── problems ──┘
//! ```
//!
//! Must never contact anything and never resolve a secret.

mod load;
mod pairing;
mod read;
mod validate;

pub use load::{LoadOptions, load, load_inventory};
