//! The TTL of a pool: lowered for the time of the move, and put back after it.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Class, Kind, Lane, Live, Look, Mark, Played, Preview, Step, Undo};
use crate::check::PoolRef;
use crate::model::OnDrift;
use crate::text;

/// Lowers the TTL of a pool for the time of the move.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LowerTtlStep {
    /// Inventory name of the director.
    pub director: String,
    /// The pool.
    pub pool: String,
    /// The TTL to set.
    pub ttl: Duration,
    /// What happens when it is found otherwise afterwards.
    #[serde(default)]
    pub on_drift: OnDrift,
}

impl LowerTtlStep {
    /// The pool of the director.
    pub fn pool(&self) -> PoolRef {
        PoolRef { director: self.director.clone(), pool: self.pool.clone() }
    }
}

impl RestoreTtlStep {
    /// The pool of the director.
    pub fn pool(&self) -> PoolRef {
        PoolRef { director: self.director.clone(), pool: self.pool.clone() }
    }
}

/// Puts the TTL back to what a [`LowerTtlStep`] found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RestoreTtlStep {
    /// Inventory name of the director.
    pub director: String,
    /// The pool.
    pub pool: String,
    /// Id of the step that found it.
    pub found_by: String,
}

impl Kind for LowerTtlStep {
    fn class(&self) -> Class {
        Class::Convergent
    }

    fn phase(&self) -> &'static str {
        "lower ttl"
    }

    fn describe(&self) -> String {
        format!("{} {}: TTL {}", self.director, self.pool, text::duration(self.ttl))
    }

    fn lane(&self) -> Option<Lane> {
        Some(Lane::Director(self.director.clone()))
    }

    fn looks(&self) -> Option<Look<'_>> {
        Some(Look::Ttl { director: &self.director, pool: &self.pool })
    }

    fn undo(&self) -> Undo<'_> {
        Undo::Ttl { director: &self.director, pool: &self.pool }
    }

    fn preview(&self, _: &Step, live: &dyn Live, _: &mut Played) -> Preview {
        match live.pool(&self.director, &self.pool).and_then(|p| p.ttl) {
            Some(now) => {
                let seen = format!("{} → {}", text::duration(now), text::duration(self.ttl));
                Preview { seen: Some(seen), mark: Mark::Verified }
            }
            None => Preview { seen: None, mark: Mark::Assumed },
        }
    }
}

impl Kind for RestoreTtlStep {
    fn class(&self) -> Class {
        Class::Convergent
    }

    fn phase(&self) -> &'static str {
        "restore ttl"
    }

    fn describe(&self) -> String {
        format!("{} {}: TTL as it was before", self.director, self.pool)
    }

    fn lane(&self) -> Option<Lane> {
        Some(Lane::Director(self.director.clone()))
    }

    fn looks(&self) -> Option<Look<'_>> {
        Some(Look::Ttl { director: &self.director, pool: &self.pool })
    }

    fn found_by(&self) -> Option<&str> {
        Some(&self.found_by)
    }

    fn undo(&self) -> Undo<'_> {
        Undo::Ttl { director: &self.director, pool: &self.pool }
    }
}
