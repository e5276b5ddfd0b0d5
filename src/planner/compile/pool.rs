//! One pool of a director: members, full weights, and the changes that give targets a share.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::service::ServicePlan;
use super::share::{self, portion};
use crate::model::Host;
use crate::model::finding::Finding;
use crate::model::{Capabilities, Change, Kept, Member as PoolMember, Mode, Pool, PoolFacts, Sharing, Weights};
use crate::planner::observed::Observed;
use crate::spec::{Service, Spec, Traffic};
use crate::step::{Live, MeasuredPool, Purpose, StepKind, TrafficStep, WayBack};
use crate::traffic::{DirectorKind, Intent, ReachedShare};

/// Weight of a member that has never been seen with one.
const DEFAULT_WEIGHT: u16 = 100;

/// Members that are named where one is missing.
const SHOWN: usize = 20;

/// A pool as the plan uses it.
pub struct PoolPlan<'a> {
    pub traffic: &'a Traffic,
    /// What its steps are told by, where the service has several pools.
    label: Option<String>,
    director: &'a dyn DirectorKind,
    pub can: Capabilities,
    /// As it is now; `None` offline or when it did not answer.
    pub now: Option<&'a Pool>,
    /// What decides who gets how much; `None` where nobody has looked.
    pub facts: Option<&'a PoolFacts>,
    members: HashMap<&'a str, &'a PoolMember>,
    /// Members that no host of the plan has.
    others: Vec<&'a PoolMember>,
}

/// The members of every pool that hosts of the plan have, by director and pool.
pub type Covered<'a> = BTreeMap<(&'a str, &'a str), HashSet<String>>;

/// Looks up the members of all hosts of a plan.
pub fn covered(spec: &Spec) -> Covered<'_> {
    let mut covered = Covered::new();
    for service in &spec.plan.services {
        for traffic in &service.traffic {
            let names = covered.entry((traffic.director.as_str(), traffic.pool.as_str())).or_default();
            let hosts = service.pairs.iter().flat_map(|pair| [&pair.source, &pair.target]);
            let hosts = hosts.filter_map(|name| spec.inventory.hosts.get(name));
            names.extend(hosts.filter_map(|host| host.fill(&traffic.member).ok()));
        }
    }
    covered
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
        covered: &Covered<'_>,
        service: &Service,
        traffic: &'a Traffic,
    ) -> Result<Self, Finding> {
        let config = spec.inventory.directors.get(&traffic.director).ok_or_else(|| {
            Finding::refused(&*service.name, format!("director {} is not in the inventory", traffic.director))
        })?;
        let now = observed.pool(&traffic.director, &traffic.pool);
        let members = now.map(Pool::by_name).unwrap_or_default();
        let facts = observed.facts.get(&Observed::pool_key(&traffic.director, &traffic.pool));
        let ours = covered.get(&(traffic.director.as_str(), traffic.pool.as_str()));
        let is_other = |m: &&PoolMember| ours.is_none_or(|ours| !ours.contains(&m.name));
        let others = now.map(|pool| pool.members.iter().filter(is_other).collect()).unwrap_or_default();
        let director = config.kind();
        let label = label(&service.traffic, traffic);
        Ok(Self { traffic, label, director, can: director.capabilities(), now, facts, members, others })
    }

    /// The name of a step in this pool: of its own, where there are others.
    pub fn named(&self, name: &str) -> String {
        self.label.as_ref().map_or_else(|| name.to_owned(), |label| format!("{name}@{label}"))
    }

    /// What a finding of this pool is about.
    pub fn about(&self) -> String {
        format!("{} {}", self.traffic.director, self.traffic.pool)
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
                let scaled = u16::try_from(scaled.clamp(1, u64::from(max))).unwrap_or(max);
                (full, self.only_weight(&target_name).unwrap_or(scaled))
            }
        };
        for member in [&source_name, &target_name] {
            self.must_exist(member)?;
        }
        Ok((Member { name: source_name, full: full_source }, Member { name: target_name, full: full_target }))
    }

    /// The one weight besides 0 that a member can have, where weights are fixed.
    fn only_weight(&self, member: &str) -> Option<u16> {
        self.facts
            .filter(|facts| matches!(facts.sharing, Sharing::Fixed | Sharing::FixedKeys))?
            .members
            .get(member)?
            .configured
    }

    /// A member as it is now.
    pub fn member(&self, name: &str) -> Option<&PoolMember> {
        self.members.get(name).copied()
    }

    /// Where a director adds no members, they must be configured.
    fn must_exist(&self, member: &str) -> Result<(), Finding> {
        if self.now.is_none() || self.can.adds_members || self.member(member).is_some() {
            return Ok(());
        }
        let what = format!("has no member `{member}`; {}", self.there());
        Err(Finding::refused(self.about(), what).hint(self.director.missing_member()))
    }

    /// Its members, for people.
    pub fn there(&self) -> String {
        let members = self.now.map_or(&[][..], |pool| &pool.members);
        let mut names: Vec<String> = members.iter().take(SHOWN).map(|m| m.name.clone()).collect();
        if members.len() > SHOWN {
            names.push(format!("{} more", members.len() - SHOWN));
        }
        match names.as_slice() {
            [] => "it has none".to_owned(),
            [one] => format!("there is {one}"),
            names => format!("there are {}", crate::text::list(names)),
        }
    }

    /// What the director has to say about the move of this service.
    /// `at`: its place among the pools of the service.
    pub fn advice(&self, plan: &ServicePlan<'_>, at: usize, shares: &[ReachedShare]) -> Vec<Finding> {
        let members = || plan.pairs.iter().filter_map(|pair| pair.members.get(at));
        self.director.advice(&Intent {
            director: &self.traffic.director,
            pool: &self.traffic.pool,
            now: self.now,
            facts: self.facts,
            strategy: plan.service.strategy,
            sources: members().map(|(source, _)| source.name.as_str()).collect(),
            targets: members().map(|(_, target)| target.name.as_str()).collect(),
            others: self.others.clone(),
            others_stay: self.traffic.others_stay,
            steps: &plan.service.shift.steps,
            shares,
            hold: plan.service.shift.hold,
        })
    }

    /// What is measured while these targets get a share.
    pub fn measured(&self, targets: Vec<String>) -> MeasuredPool {
        let pool = self.traffic.pool_ref();
        // Clients that are pinned come back to the source without anybody asking for weights.
        let follows_weights = self.facts.is_some_and(|f| f.sharing == Sharing::Weights) && !self.pins();
        MeasuredPool { pool, targets, follows_weights }
    }

    /// Whether clients stay at a member that is drained.
    pub fn pins(&self) -> bool {
        self.facts.is_some_and(|facts| !facts.pins.is_empty())
    }

    /// Weights for every step of all pairs together.
    pub fn fit(&self, max: u16, members: &[&(Member, Member)], steps: &[u8]) -> share::Fit {
        let fixed = self.facts.is_some_and(|facts| matches!(facts.sharing, Sharing::Fixed | Sharing::FixedKeys));
        // Whoever serves beside them would lose its part by it.
        let alone = self.others.iter().all(|m| m.mode != Mode::Ready || m.weight == 0);
        let sources = members.iter().map(|(s, _)| if self.may_serve(&s.name) { s.full } else { 0 }).collect();
        let whole = share::Weights { sources, targets: members.iter().map(|(_, t)| t.full).collect() };
        share::fit(&whole, steps, max, alone && !fixed)
    }

    /// Whether a member gets new traffic now, as far as anybody has looked.
    pub fn may_serve(&self, member: &str) -> bool {
        self.now.is_none() || self.serves(member)
    }

    /// Whether a restart keeps these settings, where the pool was looked at.
    pub fn kept(&self, members: &[Change]) -> Option<Kept> {
        Some(self.director.kept(self.facts?, members))
    }

    /// What of the pool as it runs a restart would make otherwise.
    pub fn restarted(&self) -> Option<Kept> {
        Some(self.director.restarted(self.facts?, self.now?))
    }

    /// Whether what is read at a restart is for the run to change.
    pub fn writes(&self) -> bool {
        self.director.cannot_write().is_none() && !self.can.ttl
    }

    /// A step with these changes.
    pub fn step(&self, changes: Vec<Change>, purpose: Purpose, back: WayBack) -> StepKind {
        let (director, pool) = (self.traffic.director.clone(), self.traffic.pool.clone());
        let on_drift = self.traffic.on_drift;
        StepKind::Traffic(TrafficStep {
            director,
            pool,
            changes,
            purpose,
            back,
            on_drift,
            was_writer: false,
            targets_get: None,
            over_all: None,
        })
    }

    /// Whether a step sets members of this pool.
    pub fn is_set_by(&self, step: &TrafficStep) -> bool {
        (&step.director, &step.pool) == (&self.traffic.director, &self.traffic.pool)
    }

    /// Whether a pair has nothing left to do here: the target has its full weight and the source gets nothing.
    pub fn moved(&self, source: &Member, target: &Member) -> bool {
        let arrived = self.member(&target.name).is_some_and(|m| m.mode == Mode::Ready && m.weight >= target.full);
        arrived && !self.serves(&source.name)
    }

    /// Whether a member gets new traffic now.
    pub fn serves(&self, member: &str) -> bool {
        self.member(member).is_some_and(|m| m.mode == Mode::Ready && m.weight > 0)
    }
}

/// By what the steps of a pool are told apart from those of the others: its director; `edge:2` for the second pool of `edge`.
fn label(all: &[Traffic], one: &Traffic) -> Option<String> {
    let before = all.iter().take_while(|other| *other != one).filter(|other| other.director == one.director).count();
    let director = &one.director;
    (all.len() > 1).then(|| if before == 0 { director.clone() } else { format!("{director}:{}", before + 1) })
}

/// The target's setting at a share.
pub fn raise(member: &Member, share: u8) -> Change {
    serving(member, portion(member.full, share))
}

/// A member in service with this weight.
pub fn serving(member: &Member, weight: u16) -> Change {
    Change { member: member.name.clone(), weight, mode: Mode::Ready }
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
