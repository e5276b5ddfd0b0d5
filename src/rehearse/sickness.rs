//! Services that break: of their own, or of the traffic that they get.
//!
//! Owns who is broken, and what that means to those who are sent there.

use super::model::Model;

impl Model {
    /// Whether somebody serves in a pool whose service is not broken.
    pub(super) fn has_healthy(&self, pool: usize) -> bool {
        let members = self.pools.get(pool).map(|p| p.members.as_slice()).unwrap_or_default();
        members.iter().enumerate().any(|(n, m)| m.serves() && !self.is_sick(pool, n))
    }

    /// Whether somebody serves in a pool whose service is broken.
    pub fn sends_to_sick(&self, pool: usize) -> bool {
        let members = self.pools.get(pool).map(|p| p.members.as_slice()).unwrap_or_default();
        members.iter().enumerate().any(|(n, m)| m.serves() && self.is_sick(pool, n))
    }

    pub(super) fn is_sick(&self, pool: usize, member: usize) -> bool {
        self.pairs.iter().any(|pair| {
            pair.memberships.iter().any(|p| {
                p.pool == pool && ((p.source == member && pair.source_sick) || (p.target == member && pair.target_sick))
            })
        })
    }

    fn serves(&self, pool: usize, member: usize) -> bool {
        self.pools.get(pool).and_then(|pool| pool.members.get(member)).is_some_and(|member| member.serves())
    }

    /// Somebody mends what is broken on the hosts.
    pub fn mend(&mut self) {
        for pair in &mut self.pairs {
            (pair.source_sick, pair.target_sick) = (false, false);
        }
    }

    /// Whether the targets of a pool are watched while they get more, so that what breaks then must be noticed.
    pub fn may_break(&self, pool: usize) -> bool {
        self.pairs.iter().any(|pair| pair.watched && pair.memberships.iter().any(|place| place.pool == pool))
    }

    /// The targets that serve in a pool break of what they get.
    pub fn break_targets(&mut self, pool: usize) {
        let members = self.pools.get(pool).map(|p| p.members.as_slice()).unwrap_or_default();
        for pair in self.pairs.iter_mut().filter(|pair| pair.watched) {
            let Some(place) = pair.memberships.iter().find(|place| place.pool == pool) else { continue };
            pair.target_sick |= members.get(place.target).is_some_and(|member| member.serves());
        }
    }

    /// A target that serves and is broken.
    pub fn sick_target(&self) -> Option<&str> {
        let sick = self.pairs.iter().filter(|pair| pair.target_sick);
        let mut serving = sick.filter(|pair| pair.memberships.iter().any(|p| self.serves(p.pool, p.target)));
        serving.next().map(|pair| pair.target.as_str())
    }
}
