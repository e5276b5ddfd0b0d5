//! Who may work on what: leases over plans, pairs and pools, with a fence number that only grows.
//!
//! Owns what a lease is, and the [`LockTable`] trait behind which stores keep the table. A lease is renewed while its controller lives, runs out when it does not, and is
//! taken over at once when its controller is provably dead. Must never let two leases over one thing be valid at once, never issue a
//! fence number twice, and never revive a lease that has run out, not even for its own holder.

mod clock;
mod fenced;
mod guard;
mod lease;
mod names;
mod owner;
mod table;
mod witness;

pub use fenced::Fenced;
pub use guard::{Barred, Guard};
pub use lease::{Lease, LockLost};
pub use names::{for_people, of_plan, of_run, plan as plan_name};
pub use owner::Owner;
pub use table::{Change, Claim, Grant, LENGTH, LockError, LockTable, Locks, Table, Validity};
pub use witness::{Ended, Witness};
