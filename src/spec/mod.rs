//! YAML to a typed, validated model, with every problem reported at once.
//!
//! Must never contact anything and never resolve a secret.

pub mod model;
