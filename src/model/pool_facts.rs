//! What decides who gets how much of a pool, besides weights and modes: looked at when a plan is made.
//!
//! Must never hold anything that only one kind of director knows.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Stored;

/// What a director tells of a pool.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PoolFacts {
    /// How members are chosen, as the director calls it: `roundrobin`.
    pub algorithm: Option<String>,
    /// What that makes of weights.
    pub sharing: Sharing,
    /// What keeps clients at the member that they have: `cookie SRV`.
    pub pins: Vec<String>,
    /// What keeps them there even where the member is out of service.
    pub persists: Vec<String>,
    /// Sessions that wait for any member with room.
    #[serde(default)]
    pub waiting: u64,
    /// Its members by name.
    pub members: BTreeMap<String, MemberFacts>,
    /// What was not looked at, and why.
    pub unseen: Vec<String>,
    /// What a start of the director would make of its members, by machine; empty where nobody may look.
    #[serde(default)]
    pub stored: Vec<Stored>,
}

/// What becomes of weights.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sharing {
    /// Nobody can tell.
    #[default]
    Unknown,
    /// New sessions follow them.
    Weights,
    /// Keys follow them; a key that has many sessions takes them all along.
    Keys,
    /// Keys do, and nothing but 0 and the configured weight can be set while it runs.
    FixedKeys,
    /// Keys do, and whether weights can be set while it runs cannot be told.
    MaybeFixedKeys,
    /// New sessions do, and nothing but 0 and the configured weight can be set while it runs.
    Fixed,
    /// Sessions that are held do; among idle members they do not count.
    Held,
    /// Nothing does: one member is filled after the other.
    Order,
}

/// What a director tells of a member.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberFacts {
    /// Where it sends its traffic.
    pub address: Option<IpAddr>,
    /// The name that the address is looked up by, now and again.
    pub looked_up: Option<String>,
    /// The weight that a restart would give it.
    pub configured: Option<u16>,
    /// Gets traffic only while no other member does.
    pub standby: bool,
    /// A program on the host may change its weight and mode.
    pub agent: bool,
    /// How long it takes to get its whole share after it comes into service.
    pub slow_start: Option<Duration>,
    /// Sessions at once; more wait.
    pub limit: Option<u64>,
    /// Sessions that wait now.
    pub waiting: u64,
    /// The member whose health it follows.
    pub follows: Option<String>,
    /// By what clients are pinned to it, where they are by a mark that each member has.
    pub mark: Option<String>,
}
