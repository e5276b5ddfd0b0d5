//! Setting members of a pool.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize};

use super::{Class, ConnectionsStep, EmptyStep, Kind, Lane, Live, Look, Mark, Preview, Step, Undo};
use crate::check::{Checks, PoolRef};
use crate::model::{Change, Mode, OnDrift, Pool};

/// Absolute settings of members of one pool.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TrafficStep {
    /// Inventory name of the director.
    pub director: String,
    /// The pool.
    pub pool: String,
    /// Applied in this order.
    pub changes: Vec<Change>,
    /// What they are for.
    pub purpose: Purpose,
    /// What the way back has to respect.
    pub back: WayBack,
    /// What happens when a member is found otherwise afterwards.
    #[serde(default)]
    pub on_drift: OnDrift,
    /// Whether its members must not take a write any more once they have been copied.
    #[serde(default)]
    pub was_writer: bool,
    /// In a ramp: what targets then get of all that sources and targets get, in tenths of a percent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub targets_get: Option<u16>,
    /// The same over all directors of its service, where there are several: at least, and at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub over_all: Option<(u16, u16)>,
}

impl TrafficStep {
    /// The pool of the director.
    pub fn pool(&self) -> PoolRef {
        PoolRef { director: self.director.clone(), pool: self.pool.clone() }
    }
}

/// What a change of traffic is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Purpose {
    /// Weights that are too small to be divided are multiplied; shares stay as they are.
    Scale,
    /// Targets get this share, in percent.
    Shift(u8),
    /// A source leaves service: it gets nothing new, and what it has may end.
    Drain,
    /// A source that has left service is kept out for good.
    Retire,
}

impl Purpose {
    /// The share that targets have afterwards.
    pub fn share(self) -> Option<u8> {
        match self {
            Self::Shift(share) => Some(share),
            Self::Scale | Self::Drain | Self::Retire => None,
        }
    }
}

/// The rails of a traffic step's undo: going back is moving traffic, too.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct WayBack {
    /// Hosts that get traffic again must pass these before.
    pub checks: Checks,
    /// Time to let pass afterwards, as on the way there.
    pub hold: Duration,
    /// Whether caches must run out before the next step back.
    pub settle: bool,
    /// Whether its target is frozen behind it, so that no cache may hold an older answer.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub freezes: bool,
    /// Where the target must be without connections before it is frozen.
    #[serde(default, skip_serializing_if = "<[EmptyStep]>::is_empty", deserialize_with = "one_or_many")]
    pub empty: Box<[EmptyStep]>,
    /// What the targets still hold then, and do not let go by themselves.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub connections: Vec<ConnectionsStep>,
}

/// A graph of before a service could have several directors has one.
fn one_or_many<'de, D: Deserializer<'de>>(from: D) -> Result<Box<[EmptyStep]>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Given {
        Many(Box<[EmptyStep]>),
        One(EmptyStep),
    }
    Ok(match Given::deserialize(from)? {
        Given::Many(many) => many,
        Given::One(one) => Box::new([one]),
    })
}

/// Pools as the steps so far leave them, when a plan is played through.
#[derive(Debug, Default)]
pub struct Played {
    by_presence: BTreeSet<String>,
    pools: BTreeMap<(String, String), PlayedPool>,
}

/// The members of a pool.
#[derive(Debug)]
struct PlayedPool {
    /// Mode and weight by name.
    members: HashMap<String, (Mode, u16)>,
    /// Connections by name, as they were seen.
    connections: HashMap<String, u64>,
    /// A member is there or not.
    by_presence: bool,
}

impl Played {
    /// Nothing played yet; members of the directors of these names are there or not, whatever their weight.
    pub fn new(by_presence: BTreeSet<String>) -> Self {
        Self { by_presence, pools: BTreeMap::new() }
    }

    fn pool(&mut self, live: &dyn Live, director: &str, pool: &str) -> Option<&mut PlayedPool> {
        let seen = live.pool(director, pool)?;
        let by_presence = self.by_presence.contains(director);
        let key = (director.to_owned(), pool.to_owned());
        Some(self.pools.entry(key).or_insert_with(|| PlayedPool::new(seen, by_presence)))
    }

    /// Connections of a member, as they were seen.
    pub(super) fn connections(&mut self, live: &dyn Live, director: &str, pool: &str, member: &str) -> Option<u64> {
        self.pool(live, director, pool)?.connections.get(member).copied()
    }
}

impl PlayedPool {
    fn new(seen: &Pool, by_presence: bool) -> Self {
        let members = seen.members.iter().map(|m| (m.name.clone(), (m.mode, m.weight))).collect();
        let connections = seen.members.iter().filter_map(|m| Some((m.name.clone(), m.connections?))).collect();
        Self { members, connections, by_presence }
    }

    fn play(&mut self, change: &Change) {
        if self.by_presence && change.weight == 0 {
            self.members.remove(&change.member);
        } else {
            self.members.insert(change.member.clone(), (change.mode, change.weight));
        }
    }
}

impl Kind for TrafficStep {
    fn class(&self) -> Class {
        Class::Convergent
    }

    fn phase(&self) -> &'static str {
        match self.purpose {
            Purpose::Scale => "scale",
            Purpose::Shift(_) => "shift",
            Purpose::Drain => "drain",
            Purpose::Retire => "retire",
        }
    }

    fn describe(&self) -> String {
        let changes: Vec<String> = self.changes.iter().map(Change::to_string).collect();
        let set = format!("{} {}: {}", self.director, self.pool, changes.join(", "));
        let told = match self.targets_get {
            None => return set,
            Some(1000) => format!("{set}; targets get 100 %, sources nothing"),
            Some(tenths) => format!("{set}; targets get {}, sources {}", percent(tenths), percent(1000 - tenths)),
        };
        match self.over_all {
            None => told,
            Some((least, most)) if least == most => format!("{told}; over all directors {}", percent(least)),
            Some((least, most)) => format!("{told}; over all directors {} to {}", percent(least), percent(most)),
        }
    }

    fn lane(&self) -> Option<Lane> {
        Some(Lane::Director(self.director.clone()))
    }

    fn purpose(&self) -> Option<Purpose> {
        Some(self.purpose)
    }

    fn looks(&self) -> Option<Look<'_>> {
        Some(Look::Pool { director: &self.director, pool: &self.pool })
    }

    fn undo(&self) -> Undo<'_> {
        Undo::Members(self)
    }

    fn preview(&self, _: &Step, live: &dyn Live, played: &mut Played) -> Preview {
        let Some(now) = played.pool(live, &self.director, &self.pool) else {
            return Preview { seen: None, mark: Mark::Assumed };
        };
        let before = |change: &Change| match now.members.get(&change.member) {
            Some((mode, weight)) => setting(*mode, *weight),
            None => "absent".to_owned(),
        };
        let lines: Vec<String> =
            self.changes.iter().map(|c| format!("{} → {}", before(c), after(c, now.by_presence))).collect();
        self.changes.iter().for_each(|change| now.play(change));
        Preview { seen: Some(lines.join(", ")), mark: Mark::Verified }
    }
}

fn percent(tenths: u16) -> String {
    match tenths % 10 {
        0 => format!("{} %", tenths / 10),
        part => format!("{}.{part} %", tenths / 10),
    }
}

fn setting(mode: Mode, weight: u16) -> String {
    match mode {
        Mode::Ready => weight.to_string(),
        Mode::Drain => "drain".into(),
        Mode::Maint => "maintenance".into(),
    }
}

fn after(change: &Change, by_presence: bool) -> String {
    if by_presence && change.weight == 0 { "absent".into() } else { setting(change.mode, change.weight) }
}
