//! A plan and its inventory as everything behind the YAML works with them: services, waves, hosts, and the settings of each kind of
//! director, state and check.
//!
//! Plain data that has passed validation and is safe to print. Must never hold a YAML node, a source position or a resolved secret.

mod plan;

use std::collections::BTreeMap;

use crate::model::finding::Finding;
use crate::model::{Bmc, Host, Input, Money, Site};
use crate::traffic::DirectorConfig;

pub use plan::{Decommission, Drain, Plan, Relay, Reverse, Service, Shift, Traffic, Unreachable, Wave, Wipe};

/// A plan and its inventory, validated against each other, with the digests of every file read.
#[derive(Debug, Clone)]
pub struct Spec {
    /// What moves, and under which rules.
    pub plan: Plan,
    /// Where it moves from and to.
    pub inventory: Inventory,
    /// Every file and document that was read, in reading order.
    pub inputs: Vec<Input>,
    /// What each of them said, for a run to keep.
    pub texts: Vec<String>,
    /// What sources of hosts say now that they did not say before.
    pub told: Vec<Finding>,
}

/// Sites, hosts, groups and directors.
#[derive(Debug, Clone, Default)]
pub struct Inventory {
    /// Sites by name.
    pub sites: BTreeMap<String, Site>,
    /// Hosts by name.
    pub hosts: BTreeMap<String, Host>,
    /// Members of each group, in the order that pairing `by: order` uses.
    pub groups: BTreeMap<String, Vec<String>>,
    /// Traffic directors by name.
    pub directors: BTreeMap<String, DirectorConfig>,
    /// What the next invoice of an account comes to, by the account.
    pub invoices: BTreeMap<String, Money>,
    /// What speaks against moving hosts, by their names.
    pub warnings: BTreeMap<String, Vec<String>>,
    /// How the management controllers of hosts are asked, by their names.
    pub bmcs: BTreeMap<String, Bmc>,
}
