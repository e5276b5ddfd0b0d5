//! Pools and their members: what every director says of itself in the same words.
//!
//! Must never hold anything that only one kind of director knows.

use std::collections::HashMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// What a director can do, so that the planner can say at plan time what it cannot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capabilities {
    /// How finely a member's share can be set.
    pub weights: Weights,
    /// Whether a change may name a member that the pool does not have yet; else it must be configured there first.
    pub adds_members: bool,
    /// Whether it counts connections per member.
    pub connections: bool,
    /// Whether it has a drain mode in which in-flight work ends by itself.
    pub drain: bool,
    /// Whether what it says is cached by others for a time.
    pub ttl: bool,
    /// Whether it can end the sessions of a member one by one.
    #[serde(default)]
    pub ends_sessions: bool,
}

/// How finely a member's share can be set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Weights {
    /// Any weight from 0 to this one.
    Exact(u16),
    /// A member is there or not.
    Presence,
}

/// One member of a pool as the director has it now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// HAProxy server name, or address in the RRset.
    pub name: String,
    /// Its weight in use; for presence directors 1, absent members are not listed.
    pub weight: u16,
    /// Its administrative state.
    pub mode: Mode,
    /// Connections now held by it, summed over everything that answers; `None` when the director cannot know.
    pub connections: Option<u64>,
    /// Sessions that it has got since its processes began, summed over everything that answers; `None` when the director cannot know.
    #[serde(default)]
    pub sessions: Option<u64>,
    /// What the director's own check says; `None` without one.
    pub up: Option<bool>,
}

/// Administrative state of a member.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// Takes traffic according to its weight.
    Ready,
    /// Keeps what it has and gets nothing new.
    Drain,
    /// Gets nothing.
    Maint,
}

/// A pool as read back from every place that answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pool {
    /// Backend or owner name.
    pub name: String,
    /// Its members in the director's order.
    pub members: Vec<Member>,
    /// How long others may cache it, where [`Capabilities::ttl`].
    pub ttl: Option<Duration>,
}

impl Pool {
    /// The member of that name.
    pub fn member(&self, name: &str) -> Option<&Member> {
        self.members.iter().find(|m| m.name == name)
    }

    /// All members by name, for whoever looks up many.
    pub fn by_name(&self) -> HashMap<&str, &Member> {
        self.members.iter().map(|m| (m.name.as_str(), m)).collect()
    }
}

/// An absolute setting of one member. Applying it twice is the same as once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// The member.
    pub member: String,
    /// Weight to set; 0 takes an address out of an RRset.
    pub weight: u16,
    /// Administrative state to set.
    pub mode: Mode,
}

impl std::fmt::Display for Change {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.mode {
            Mode::Ready => write!(f, "{} weight {}", self.member, self.weight),
            Mode::Drain => write!(f, "{} drain", self.member),
            Mode::Maint => write!(f, "{} maintenance", self.member),
        }
    }
}

/// What became of a wish to end sessions of a member.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ended {
    /// Sessions that were ended.
    pub ended: u64,
    /// Sessions that it has besides.
    pub left: u64,
    /// Whose they are: some clients, those first that have been there longest.
    pub clients: Vec<Client>,
}

/// A client of a member.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Client {
    /// Its address.
    pub address: String,
    /// Its sessions.
    pub sessions: u64,
    /// Since when it has the oldest of them; `None` where nobody knows.
    pub oldest: Option<Duration>,
}

impl std::fmt::Display for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({}", self.address, crate::text::count(self.sessions, "session"))?;
        match self.oldest {
            Some(age) => write!(f, ", the oldest for {})", crate::text::duration(age)),
            None => f.write_str(")"),
        }
    }
}
