//! Plan and inventory files to the validated model, with every problem reported at once.
//!
//! ```text
//! file ── yaml ── read/* ── draft ── validate/* ── model
//!           └────────┴── problems ──┘
//! ```
//!
//! Must never contact anything by itself and never resolve a secret: sources of inventories do, which `inventory` owns.

mod fit;
mod gather;
mod load;
mod pairing;
mod places;
mod read;
mod replay;
pub mod schema;
mod todo;
mod validate;

pub use gather::{Fetched, fetch_sources};
pub use load::{Ask, LoadOptions, Sources, load, load_from, load_inventory, load_inventory_from, name_of};
pub use places::Places;
pub use replay::replay;
