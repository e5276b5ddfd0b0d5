//! One pool of a director: members, full weights, and the changes that give targets a share.

use std::collections::HashMap;

use crate::model::Host;
use crate::model::finding::Finding;
use crate::model::{Capabilities, Change, Member as PoolMember, Mode, Pool, Weights};
use crate::planner::observed::Observed;
use crate::spec::{Service, Spec, Traffic};
use crate::step::{Live, Purpose, StepKind, TrafficStep, WayBack};
use crate::traffic::{DirectorKind, Intent};

/// Weight of a member that has never been seen with one.
const DEFAULT_WEIGHT: u16 = 100;

/// Members that are named where one is missing.
const SHOWN: usize = 20;

/// A pool as the plan uses it.
pub struct PoolPlan<'a> {
    pub traffic: &'a Traffic,
    director: &'a dyn DirectorKind,
    pub can: Capabilities,
    /// As it is now; `None` offline or when it did not answer.
    pub now: Option<&'a Pool>,
    members: HashMap<&'a str, &'a PoolMember>,
}

/// A host's place in the pool.
#[derive(Debug, Clone)]
pub struct Member {
    pub name: String,
    /// What it has, or is to have, when it takes its whole share.
    pub full: u16,
}

impl<'a> PoolPlan<'a> {
    pub fn new(
        spec: &'a Spec,
        observed: &'a Observed,
        service: &Service,
        traffic: &'a Traffic,
    ) -> Result<Self, Finding> {
        let config = spec.inventory.directors.get(&traffic.director).ok_or_else(|| {
            Finding::refused(&service.name, format!("director {} is not in the inventory", traffic.director))
        })?;
        let now = observed.pool(&traffic.director, &traffic.pool);
        let members = now.map(Pool::by_name).unwrap_or_default();
        let director = config.kind();
        Ok(Self { traffic, director, can: director.capabilities(), now, members })
    }

    /// The members of a pair. The target's full weight is the source's, scaled by their capacities.
    pub fn members(&self, source: &Host, target: &Host) -> Result<(Member, Member), Finding> {
        let name = |host: &Host| host.fill(&self.traffic.member);
        let (source_name, target_name) = (name(source)?, name(target)?);
        let (full_source, full_target) = match self.can.weights {
            Weights::Presence => (1, 1),
            Weights::Exact(max) => {
                let seen = self.member(&source_name).map(|m| m.weight).filter(|w| *w > 0);
                let full = seen.unwrap_or(DEFAULT_WEIGHT);
                let scaled = u64::from(full) * u64::from(target.capacity) / u64::from(source.capacity.max(1));
                (full, scaled.clamp(1, u64::from(max)) as u16)
            }
        };
        for member in [&source_name, &target_name] {
            self.must_exist(member)?;
        }
        Ok((Member { name: source_name, full: full_source }, Member { name: target_name, full: full_target }))
    }

    /// A member as it is now.
    fn member(&self, name: &str) -> Option<&PoolMember> {
        self.members.get(name).copied()
    }

    /// Where a director adds no members, they must be configured.
    fn must_exist(&self, member: &str) -> Result<(), Finding> {
        let Some(pool) = self.now else { return Ok(()) };
        if self.can.adds_members || self.member(member).is_some() {
            return Ok(());
        }
        let mut there: Vec<String> = pool.members.iter().take(SHOWN).map(|m| m.name.clone()).collect();
        if pool.members.len() > SHOWN {
            there.push(format!("{} more", pool.members.len() - SHOWN));
        }
        Err(Finding::refused(
            format!("{} {}", self.traffic.director, self.traffic.pool),
            format!("has no member `{member}`; there are {}", crate::text::list(&there)),
        )
        .hint("add it to the director's configuration, or correct `member` in the plan"))
    }

    /// What the director has to say about the move of these members.
    pub fn advice(&self, members: &[&(Member, Member)], shares: &[u8], idle: &[u8]) -> Vec<Finding> {
        let (director, pool) = (self.traffic.director.as_str(), self.traffic.pool.as_str());
        let targets = members.iter().map(|(_, target)| target.name.as_str()).collect();
        self.director.advice(&Intent { director, pool, now: self.now, targets, shares, idle })
    }

    /// A step with these changes.
    pub fn step(&self, changes: Vec<Change>, purpose: Purpose, back: WayBack) -> StepKind {
        let (director, pool) = (self.traffic.director.clone(), self.traffic.pool.clone());
        StepKind::Traffic(TrafficStep { director, pool, changes, purpose, back })
    }

    /// Whether a pair has nothing left to do here: the target has its full weight and the source gets nothing.
    pub fn moved(&self, (source, target): &(Member, Member)) -> bool {
        let arrived = self.member(&target.name).is_some_and(|m| m.mode == Mode::Ready && m.weight >= target.full);
        arrived && !self.serves(&source.name)
    }

    /// Whether a member gets new traffic now.
    pub fn serves(&self, member: &str) -> bool {
        self.member(member).is_some_and(|m| m.mode == Mode::Ready && m.weight > 0)
    }
}

/// The weight that gives `share` percent of `full`; never 0 for a share above 0, nor full below 100.
pub fn portion(full: u16, share: u8) -> u16 {
    let exact = (u32::from(full) * u32::from(share) + 50) / 100;
    let least = u32::from(share > 0);
    u16::try_from(exact.max(least)).unwrap_or(full).min(full)
}

/// The target's setting at a share.
pub fn raise(member: &Member, share: u8) -> Change {
    Change { member: member.name.clone(), weight: portion(member.full, share), mode: Mode::Ready }
}

/// The source's setting while targets have a share; stays above 0 until they have all.
pub fn lower(member: &Member, share: u8) -> Change {
    Change {
        member: member.name.clone(),
        weight: portion(member.full, 100_u8.saturating_sub(share)),
        mode: Mode::Ready,
    }
}

/// Takes a source out: nothing new, what it has may end.
pub fn drain(member: &Member, can: Capabilities) -> Change {
    match can.drain {
        true => Change { member: member.name.clone(), weight: member.full, mode: Mode::Drain },
        false => Change { member: member.name.clone(), weight: 0, mode: Mode::Ready },
    }
}

/// Keeps a drained source out for good.
pub fn retire(member: &Member) -> Change {
    Change { member: member.name.clone(), weight: member.full, mode: Mode::Maint }
}
