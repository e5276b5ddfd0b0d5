//! Simulated pools: members, what they get, and the capacity that serves.

use std::time::Duration;

use super::invariants::Violation;
use super::model::Model;
use crate::check::PoolRef;
use crate::event::Standing;
use crate::model::{Change, Mode};

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
    /// Somebody has set it back: what users suffer until it is set again is not the run's doing.
    pub set_back: bool,
    /// What its members were when somebody did that.
    pub was: Vec<(u16, Mode)>,
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

    /// Whether everything that the run has set here is so, and those whom somebody had sent elsewhere have left.
    pub fn is_as_set(&self, standing: &Standing, now: Duration) -> bool {
        let same = |member: &MemberModel, change: &Change| (member.weight, member.mode) == (change.weight, change.mode);
        let stands = |m: &MemberModel| self.set(standing, &m.name).is_none_or(|change| same(m, change));
        self.members.iter().all(|m| stands(m) && (m.serves() || !m.has_users(now)))
    }

    /// Somebody sees to it that it is as the run had set it, or as it was where nobody knows that, and that those leave who came meanwhile.
    pub fn set_again(&mut self, standing: &Standing, now: Duration) {
        let stands = |m: &MemberModel| self.set(standing, &m.name).map(|change| (change.weight, change.mode));
        let wanted: Vec<(u16, Mode)> =
            self.members.iter().zip(&self.was).map(|(m, was)| stands(m).unwrap_or(*was)).collect();
        for (member, wanted) in self.members.iter_mut().zip(wanted) {
            (member.weight, member.mode) = wanted;
            if !member.serves() {
                member.users_until = member.users_until.min(now);
            }
        }
        self.set_back = false;
    }

    fn set<'a>(&self, standing: &'a Standing, member: &str) -> Option<&'a Change> {
        let pool = PoolRef { director: self.director.clone(), pool: self.name.clone() };
        standing.in_pool(&pool)?.get(member).map(|set| &set.change)
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
    /// Whether they stay until they are let go.
    pub stays: bool,
}

impl MemberModel {
    pub fn serves(&self) -> bool {
        self.mode == Mode::Ready && self.weight > 0
    }

    pub fn has_users(&self, now: Duration) -> bool {
        self.serves() || now < self.users_until
    }

    /// It gets nothing new from now on; users who leave by themselves do so until then.
    pub fn leaves_service(&mut self, by_themselves: Duration) {
        self.users_until = if self.stays { Duration::MAX } else { by_themselves };
    }

    /// How long users are still on it, as far as that makes a difference.
    pub fn users_for(&self, now: Duration) -> Duration {
        if self.users_until == Duration::MAX { Duration::MAX } else { self.users_until.saturating_sub(now) }
    }
}

impl Model {
    /// Users of a member are let go.
    pub fn let_go(&mut self, pool: usize, member: &str, now: Duration) -> Result<(), Violation> {
        let found = self.pools.get_mut(pool).and_then(|pool| pool.members.iter_mut().find(|m| m.name == member));
        let Some(found) = found else { return Ok(()) };
        if found.serves() {
            return Err(Violation::LetGoInService { member: member.to_owned() });
        }
        found.users_until = found.users_until.min(now);
        Ok(())
    }

    /// A service asks its users to leave; where it still serves, they come back to it.
    pub fn ask_to_leave(&mut self, host: &str, now: Duration) {
        for pair in &self.pairs {
            for place in &pair.memberships {
                let Some(pool) = self.pools.get_mut(place.pool) else { continue };
                for (name, member) in [(&pair.source, place.source), (&pair.target, place.target)] {
                    if let Some(member) = pool.members.get_mut(member).filter(|_| name == host) {
                        member.users_until = member.users_until.min(now);
                    }
                }
            }
        }
    }
}
