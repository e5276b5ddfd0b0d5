//! Simulated pools: members, what they get, and the capacity that serves.

use std::time::Duration;

use super::invariants::Violation;
use crate::model::Mode;

/// A pool of a director.
#[derive(Debug, Clone)]
pub(super) struct PoolModel {
    pub director: String,
    pub name: String,
    /// Members are there or not, and answers are cached.
    pub presence: bool,
    pub ttl: Option<Duration>,
    /// Until when somebody may have an answer from before a change of the TTL.
    pub stale_until: Duration,
    pub members: Vec<MemberModel>,
    /// The least capacity that the plan's rails leave.
    pub floor: u64,
}

impl PoolModel {
    /// Capacity of those who serve.
    pub fn serving(&self) -> u64 {
        self.members.iter().filter(|m| m.serves()).map(|m| m.capacity).sum()
    }

    /// Judges a write that found `before` serving.
    pub fn keeps_floor(&self, before: u64) -> Result<(), Violation> {
        let serves = self.serving();
        match serves < before.min(self.floor) {
            true => Err(Violation::BelowFloor { pool: self.title(), serves, floor: self.floor }),
            false => Ok(()),
        }
    }

    fn title(&self) -> String {
        format!("{} {}", self.director, self.name)
    }

    pub fn without_anybody(&self) -> Violation {
        Violation::NobodyServes { pool: self.title() }
    }
}

/// A member of a pool.
#[derive(Debug, Clone)]
pub(super) struct MemberModel {
    pub name: String,
    /// As the inventory says.
    pub capacity: u64,
    pub weight: u16,
    pub mode: Mode,
    /// Until when users are still on it after it gets nothing new.
    pub users_until: Duration,
}

impl MemberModel {
    pub fn serves(&self) -> bool {
        self.mode == Mode::Ready && self.weight > 0
    }

    pub fn has_users(&self, now: Duration) -> bool {
        self.serves() || now < self.users_until
    }
}
