//! One file per concept of the language: nodes to drafts.
//!
//! A draft is the model with the places where things were written and with names still unresolved. What needs
//! a second file or another concept to be judged is left to [`super::validate`].

pub mod audit;
pub mod becoming;
pub mod bmc;
pub mod connections;
pub mod decommission;
pub mod freeze;
pub mod gate;
pub mod group;
pub mod hook;
pub mod host;
pub mod inventory;
pub mod limits;
pub mod moves;
pub mod parity;
pub mod plan;
pub mod relay;
pub mod reverse;
pub mod service;
pub mod traffic;

use crate::yaml::reader::Value;

/// Keys that only a plan has.
const OF_PLANS: [&str; 3] = ["migration", "services", "waves"];
/// Keys that only an inventory has.
const OF_INVENTORIES: [&str; 5] = ["hosts", "groups", "directors", "sites", "sources"];

/// Whether a file that is read as a plan is an inventory.
fn is_inventory(root: Value<'_>) -> bool {
    has_only(root, &OF_INVENTORIES, &OF_PLANS)
}

/// Whether a file that is read as an inventory is a plan.
fn is_plan(root: Value<'_>) -> bool {
    has_only(root, &OF_PLANS, &OF_INVENTORIES)
}

fn has_only(root: Value<'_>, some: &[&str], none: &[&str]) -> bool {
    let keys = root.keys();
    keys.iter().any(|key| some.contains(key)) && !keys.iter().any(|key| none.contains(key))
}
