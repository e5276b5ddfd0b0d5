//! Hosts, groups and selectors.
//!
//! Owns which hosts a selector picks and in which order. Must never contact a host.

mod natural;
mod selector;

pub use natural::natural_cmp;
pub use selector::Selector;
