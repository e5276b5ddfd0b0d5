//! Setting members of a pool.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Class, Kind, Lane, Live, Look, Mark, Preview, Step, Undo};
use crate::check::Checks;
use crate::model::{Change, Member, Mode, Pool};

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
}

/// What a change of traffic is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Purpose {
    /// Targets get this share of their full weight, in percent.
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
            Self::Drain | Self::Retire => None,
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
}

/// Pools as the steps so far leave them, when a plan is played through.
#[derive(Debug, Default)]
pub struct Played {
    by_presence: BTreeSet<String>,
    pools: BTreeMap<(String, String), Pool>,
}

impl Played {
    /// Nothing played yet; members of the directors of these names are there or not, whatever their weight.
    pub fn new(by_presence: BTreeSet<String>) -> Self {
        Self { by_presence, pools: BTreeMap::new() }
    }
}

impl Kind for TrafficStep {
    fn class(&self) -> Class {
        Class::Convergent
    }

    fn phase(&self) -> &'static str {
        match self.purpose {
            Purpose::Shift(_) => "shift",
            Purpose::Drain => "drain",
            Purpose::Retire => "retire",
        }
    }

    fn describe(&self) -> String {
        let changes: Vec<String> = self.changes.iter().map(describe_change).collect();
        format!("{} {}: {}", self.director, self.pool, changes.join(", "))
    }

    fn lane(&self) -> Option<Lane<'_>> {
        Some(Lane::Director(&self.director))
    }

    fn looks(&self) -> Option<Look<'_>> {
        Some(Look::Pool { director: &self.director, pool: &self.pool })
    }

    fn undo(&self) -> Undo<'_> {
        Undo::Members(self)
    }

    fn preview(&self, _: &Step, live: &dyn Live, played: &mut Played) -> Preview {
        let Some(seen) = live.pool(&self.director, &self.pool) else {
            return Preview { seen: None, mark: Mark::Assumed };
        };
        let key = (self.director.clone(), self.pool.clone());
        let by_presence = played.by_presence.contains(&self.director);
        let now = played.pools.entry(key).or_insert_with(|| seen.clone());
        let before = |change: &Change| match now.member(&change.member) {
            Some(m) => setting(m.mode, m.weight),
            None => "absent".to_owned(),
        };
        let lines: Vec<String> =
            self.changes.iter().map(|c| format!("{} → {}", before(c), after(c, by_presence))).collect();
        for change in &self.changes {
            play(now, change, by_presence);
        }
        Preview { seen: Some(lines.join(", ")), mark: Mark::Verified }
    }
}

fn describe_change(change: &Change) -> String {
    match change.mode {
        Mode::Ready => format!("{} weight {}", change.member, change.weight),
        Mode::Drain => format!("{} drain", change.member),
        Mode::Maint => format!("{} maintenance", change.member),
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

fn play(pool: &mut Pool, change: &Change, by_presence: bool) {
    match pool.members.iter_mut().find(|m| m.name == change.member) {
        Some(_) if by_presence && change.weight == 0 => pool.members.retain(|m| m.name != change.member),
        Some(member) => (member.mode, member.weight) = (change.mode, change.weight),
        None => pool.members.push(Member {
            name: change.member.clone(),
            weight: change.weight,
            mode: change.mode,
            connections: None,
            up: None,
        }),
    }
}
