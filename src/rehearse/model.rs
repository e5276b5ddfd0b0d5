//! The simulated world: pools, pairs with their services and files, users who never stop writing.
//!
//! Owns what is so in that world, apart from what a controller believes. Must never know of journals or steps' states.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{Hash, Hasher};
use std::time::Duration;

use super::invariants::Violation;
use super::pool::{MemberModel, PoolModel};
use super::provider::Given;
use super::replica::{Means, ReplicaModel};
use crate::model::{Change, Mode};

/// The end of the name of a job that goes from the target to the source.
const BACK: &str = ".back";
/// Time users need to leave a member that gets nothing new.
const LEAVING: Duration = Duration::from_millis(300);

/// Everything that is so.
#[derive(Debug, Clone, Default)]
pub(super) struct Model {
    pub pools: Vec<PoolModel>,
    pub pairs: Vec<PairModel>,
    pub hooks: Vec<HookModel>,
    /// Hosts that were given back to whom they are rented from.
    pub given: BTreeMap<String, Given>,
    /// Pairs whose alerts nobody hears.
    pub silenced: BTreeSet<String>,
}

/// A source, its target, and the service on them.
#[derive(Debug, Clone, Default)]
pub(super) struct PairModel {
    pub source: String,
    pub target: String,
    /// One writer at a time.
    pub cutover: bool,
    /// Its pools, and the members in each.
    pub memberships: Vec<Membership>,
    /// Freeze hooks on the source that must take hold before it takes no writes.
    pub freezes: u32,
    /// Those that have.
    pub frozen: u32,
    /// Whether the target takes writes only after a thaw.
    pub thaws: bool,
    pub thawed: bool,
    /// Whether the plan waits until the source is empty, and never goes on before.
    pub waits_for_empty: bool,
    /// Whether its targets are checked while they get the work of its sources, all pairs together.
    pub watched: bool,
    /// The services on both sides are broken.
    pub source_sick: bool,
    pub target_sick: bool,
    /// Number of the last write that a user was told is safe.
    pub acked: u64,
    pub trees: Vec<Tree>,
    pub replicas: Vec<ReplicaModel>,
}

/// A side of a pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum At {
    Source,
    Target,
}

impl At {
    fn other(self) -> Self {
        if self == Self::Source { Self::Target } else { Self::Source }
    }
}

/// Where a pair's members are.
#[derive(Debug, Clone, Copy)]
pub(super) struct Membership {
    pub pool: usize,
    pub source: usize,
    pub target: usize,
}

/// A directory on both sides.
#[derive(Debug, Clone, Default)]
pub(super) struct Tree {
    pub job: String,
    pub source: Copy,
    pub target: Copy,
    /// Traces of the copy engine are on the hosts.
    pub traces: bool,
}

impl Tree {
    fn at(&self, side: At) -> &Copy {
        match side {
            At::Source => &self.source,
            At::Target => &self.target,
        }
    }

    fn at_mut(&mut self, side: At) -> &mut Copy {
        match side {
            At::Source => &mut self.source,
            At::Target => &mut self.target,
        }
    }
}

/// What one side has of a directory.
#[derive(Debug, Clone, Copy, Default, Hash)]
pub(super) struct Copy {
    /// The last write that it has, when it is whole.
    pub has: u64,
    /// A pass ended in the middle.
    pub torn: bool,
    /// A pass has left out something, and believes it has not.
    pub hole: bool,
}

impl Copy {
    fn has_all(&self, acked: u64) -> bool {
        !self.torn && !self.hole && self.has == acked
    }
}

/// What a hook has done.
#[derive(Debug, Clone, Default)]
pub(super) struct HookModel {
    pub pair: Option<usize>,
    pub does: Does,
    /// How often it took hold since it was last taken back.
    pub took: u32,
    /// How often it was taken back since it last took hold.
    pub taken_back: u32,
    /// Whether more than once does no harm.
    pub repeatable: bool,
}

/// What a hook means for the service.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Does {
    #[default]
    Something,
    /// The nth freeze of its pair.
    Freeze(u32),
    Thaw,
    /// Something for the nth replica of its pair.
    Replica(usize, Means),
}

impl PairModel {
    pub fn is_frozen(&self) -> bool {
        self.freezes > 0 && self.frozen.count_ones() == self.freezes
    }

    /// Whether a side has all that users were promised.
    fn is_whole(&self, side: At) -> bool {
        let replica_has = |r: &ReplicaModel| match side {
            At::Source => r.source_has,
            At::Target => r.has,
        };
        self.trees.iter().all(|t| t.at(side).has_all(self.acked))
            && self.replicas.iter().all(|r| replica_has(r) == self.acked)
    }

    /// A user writes on a side, and is told that it is safe; whether everything from before is there.
    fn take_write(&mut self, side: At) -> bool {
        if !self.is_whole(side) {
            return false;
        }
        self.acked += 1;
        let acked = self.acked;
        self.trees.iter_mut().for_each(|t| t.at_mut(side).has = acked);
        match side {
            At::Source => self.replicas.iter_mut().for_each(|r| r.source_has = acked),
            At::Target => self.replicas.iter_mut().for_each(|r| r.has = acked),
        }
        true
    }

    /// The host of a side.
    fn host(&self, side: At) -> &str {
        if side == At::Source { &self.source } else { &self.target }
    }
}

impl Model {
    pub fn pool(&self, director: &str, name: &str) -> Option<usize> {
        self.pools.iter().position(|p| p.director == director && p.name == name)
    }

    /// Source and target in each pool of a pair.
    pub fn members<'a>(&'a self, pair: &'a PairModel) -> impl Iterator<Item = (&'a MemberModel, &'a MemberModel)> {
        let found = |place: &Membership| {
            let members = &self.pools.get(place.pool)?.members;
            Some((members.get(place.source)?, members.get(place.target)?))
        };
        pair.memberships.iter().filter_map(found)
    }

    /// Whether users reach the source and the target of a pair, by whatever director.
    pub fn reached(&self, pair: &PairModel, now: Duration) -> (bool, bool) {
        if pair.memberships.is_empty() {
            return (!pair.is_frozen(), pair.thawed || !pair.thaws && !pair.replicas.is_empty());
        }
        let reached = self.members(pair).map(|(source, target)| (source.has_users(now), target.has_users(now)));
        reached.fold((false, false), |(a, b), (source, target)| (a || source, b || target))
    }

    /// Whether the source and the target of a pair would take a write.
    fn writable(&self, pair: &PairModel, now: Duration) -> (bool, bool) {
        let (source, target) = self.reached(pair, now);
        let (from, to) = pair.replicas_let();
        let replicated = !pair.replicas.is_empty();
        (
            from && if pair.freezes > 0 { !pair.is_frozen() } else { source },
            to && if pair.thaws { pair.thawed } else { target && (!pair.memberships.is_empty() || replicated) },
        )
    }

    /// Users write wherever they are sent and may.
    pub fn users_write(&mut self, now: Duration) -> Result<(), Violation> {
        for n in 0..self.pairs.len() {
            let carries = |p: &&PairModel| p.cutover && !(p.trees.is_empty() && p.replicas.is_empty());
            let Some(pair) = self.pairs.get(n).filter(carries) else { continue };
            let ((at_source, at_target), (source, target)) = (self.reached(pair, now), self.writable(pair, now));
            let set_back = self.is_set_back(pair);
            let Some(pair) = self.pairs.get_mut(n) else { continue };
            for (side, may) in [(At::Source, at_source && source), (At::Target, at_target && target)] {
                if may && !pair.take_write(side) {
                    match set_back {
                        true => break,
                        false => return Err(Violation::WriteLost { host: pair.host(side).to_owned() }),
                    }
                }
            }
        }
        Ok(())
    }

    /// What must hold at every instant.
    pub fn check(&self, now: Duration) -> Result<(), Violation> {
        for pair in self.pairs.iter().filter(|p| p.cutover && !self.is_set_back(p)) {
            if self.writable(pair, now) == (true, true) || pair.has_two_writers() {
                return Err(Violation::TwoWriters { old: pair.source.clone(), new: pair.target.clone() });
            }
            for (source, target) in self.members(pair) {
                if pair.is_frozen() && pair.waits_for_empty && source.has_users(now) {
                    return Err(Violation::UsersCutOff { host: pair.source.clone() });
                }
                let cut_off = if pair.waits_for_empty { target.has_users(now) } else { target.serves() };
                if pair.thaws && !pair.thawed && cut_off {
                    return Err(Violation::UsersCutOff { host: pair.target.clone() });
                }
            }
        }
        match self.pools.iter().filter(|pool| !pool.set_back).find(|pool| !pool.members.iter().any(MemberModel::serves))
        {
            Some(pool) => Err(pool.without_anybody()),
            None => Ok(()),
        }
    }

    /// Whether every target that gets files has all of them.
    pub fn targets_are_whole(&self) -> bool {
        self.pairs.iter().filter(|pair| pair.cutover).all(|pair| pair.is_whole(At::Target))
    }

    /// Sets members, the first `count` of the changes.
    pub fn set_weights(
        &mut self,
        pool: usize,
        changes: &[Change],
        count: usize,
        now: Duration,
    ) -> Result<(), Violation> {
        let served = self.has_healthy(pool);
        let before = self.pools.get(pool).map_or(0, PoolModel::serving);
        self.set_members(pool, changes, count, now)?;
        self.pools.get(pool).map_or(Ok(()), |pool| pool.keeps_floor(before))?;
        match self.pools.get(pool) {
            // Services may break by themselves; taking the last good one away is something else.
            Some(without) if served && !self.has_healthy(pool) => Err(without.without_anybody()),
            _ => Ok(()),
        }
    }

    fn set_members(&mut self, pool: usize, changes: &[Change], count: usize, now: Duration) -> Result<(), Violation> {
        for change in changes.iter().take(count) {
            let Some(found) = self.pools.get(pool) else { return Ok(()) };
            let Some(m) = found.members.iter().position(|m| m.name == change.member) else { continue };
            let before = found.members.get(m).map_or(0, |m| if m.serves() { m.weight } else { 0 });
            let raised = change.mode == Mode::Ready && change.weight > before;
            if raised && self.is_sick(pool, m) {
                return Err(Violation::WeightOnSick { member: change.member.clone() });
            }
            let Some(pool) = self.pools.get_mut(pool) else { return Ok(()) };
            let cached = pool.ttl.map_or(now + LEAVING, |ttl| (now + ttl).max(pool.stale_until));
            let Some(member) = pool.members.get_mut(m) else { continue };
            let served = member.serves();
            (member.weight, member.mode) = (change.weight, change.mode);
            if served && !member.serves() {
                member.leaves_service(cached);
            }
            // Whoever mends the pool later leaves what the run has written since.
            if let Some(was) = pool.was.get_mut(m) {
                *was = (change.weight, change.mode);
            }
        }
        Ok(())
    }

    /// Somebody else sets every member to what it was.
    pub fn set_back(&mut self, pool: usize, members: &[MemberModel], now: Duration) {
        let Some(pool) = self.pools.get_mut(pool) else { return };
        if !pool.set_back {
            pool.was = pool.members.iter().map(|m| (m.weight, m.mode)).collect();
        }
        for (member, before) in pool.members.iter_mut().zip(members) {
            let served = member.serves();
            (member.weight, member.mode) = (before.weight, before.mode);
            if served && !member.serves() {
                member.users_until = now + pool.ttl.unwrap_or(LEAVING);
            }
        }
        pool.set_back = true;
    }

    /// Whether somebody has set a pool of a pair back.
    pub fn is_set_back(&self, pair: &PairModel) -> bool {
        pair.memberships.iter().any(|place| self.pools.get(place.pool).is_some_and(|pool| pool.set_back))
    }

    pub fn set_ttl(&mut self, pool: usize, ttl: Duration, now: Duration) {
        let Some(pool) = self.pools.get_mut(pool) else { return };
        pool.stale_until = pool.stale_until.max(now + pool.ttl.unwrap_or_default());
        pool.ttl = Some(ttl);
    }

    /// A hook takes hold.
    pub fn run_hook(&mut self, hook: usize) -> Result<(), Violation> {
        let Some(hook) = self.hooks.get_mut(hook) else { return Ok(()) };
        (hook.took, hook.taken_back) = (hook.took + 1, 0);
        if hook.took > 1 && !hook.repeatable {
            return Err(Violation::RanTwice);
        }
        let (does, pair) = (hook.does, hook.pair);
        self.does(does, pair, false)
    }

    /// A hook is taken back.
    pub fn take_back(&mut self, hook: usize) -> Result<(), Violation> {
        let Some(hook) = self.hooks.get_mut(hook) else { return Ok(()) };
        (hook.took, hook.taken_back) = (0, hook.taken_back + 1);
        if hook.taken_back > 1 && !hook.repeatable {
            return Err(Violation::RanTwice);
        }
        let (does, pair) = (hook.does, hook.pair);
        self.does(does, pair, true)
    }

    fn does(&mut self, does: Does, of: Option<usize>, back: bool) -> Result<(), Violation> {
        let Some((of, pair)) = of.and_then(|p| Some((p, self.pairs.get_mut(p)?))) else { return Ok(()) };
        match (does, back) {
            (Does::Something, _) => {}
            (Does::Freeze(n), false) => pair.frozen |= 1 << n.min(31),
            (Does::Freeze(n), true) => pair.frozen &= !(1 << n.min(31)),
            (Does::Thaw, _) => pair.thawed = !back,
            (Does::Replica(replica, means), _) => return self.act_on_replica(of, replica, means, back),
        }
        Ok(())
    }

    /// The pair whose tree a job carries, which of its trees that is, and to which side it goes. `None` for a job that nobody has.
    pub fn tree_of(&self, job: &str) -> Option<(usize, usize, At)> {
        let (own, to) = match job.strip_suffix(BACK) {
            Some(own) => (own, At::Source),
            None => (job, At::Target),
        };
        let mut places =
            self.pairs.iter().zip(0..).flat_map(|(p, n)| p.trees.iter().zip(0..).map(move |(t, at)| (n, at, t)));
        places.find(|(_, _, tree)| tree.job == own).map(|(pair, at, _)| (pair, at, to))
    }

    /// Brings the side to which a job goes up to what the other one has.
    pub fn copy(&mut self, job: &str, whole: bool) -> Result<(), Violation> {
        let Some((pair, at, to)) = self.tree_of(job) else { return Ok(()) };
        let Some(pair) = self.pairs.get_mut(pair) else { return Ok(()) };
        let host = pair.host(to).to_owned();
        let Some(tree) = pair.trees.get_mut(at) else { return Ok(()) };
        let from = *tree.at(to.other());
        if tree.at(to).has > from.has {
            return Err(Violation::WriteLost { host });
        }
        tree.traces = true;
        let copy = tree.at_mut(to);
        copy.torn = !whole || from.torn;
        copy.hole |= from.hole;
        if whole {
            copy.has = from.has;
        }
        Ok(())
    }

    /// A pass leaves something out, and will not find that by itself.
    pub fn leave_out(&mut self, job: &str) {
        let Some((pair, at, to)) = self.tree_of(job) else { return };
        if let Some(tree) = self.pairs.get_mut(pair).and_then(|pair| pair.trees.get_mut(at)) {
            tree.at_mut(to).hole = true;
        }
    }

    /// Whether users are still on a host.
    pub fn has_users(&self, host: &str, now: Duration) -> bool {
        let mut sides = self.pairs.iter().flat_map(|pair| self.members(pair).map(move |members| (pair, members)));
        let on = |name: &str, member: &MemberModel| name == host && member.has_users(now);
        sides.any(|(pair, (source, target))| on(&pair.source, source) || on(&pair.target, target))
    }

    /// Whether a tree is the same on both sides, but for what users of a source that is `live` have changed since the last pass; the copy
    /// engine learns of what differs.
    pub fn compare(&mut self, job: &str, live: bool) -> bool {
        let Some((pair, at, to)) = self.tree_of(job) else { return true };
        let Some(pair) = self.pairs.get_mut(pair) else { return true };
        let cutover = pair.cutover;
        let Some(tree) = pair.trees.get_mut(at) else { return true };
        let from = *tree.at(to.other());
        let copy = tree.at_mut(to);
        let same = !copy.torn && !copy.hole && (live || !cutover || copy.has == from.has);
        copy.hole = false;
        same
    }

    /// All that can make a difference to what comes next: times count from now, and writes as far as one side lacks them.
    pub fn fingerprint(&self, now: Duration, to: &mut impl Hasher) {
        for pool in &self.pools {
            (pool.ttl, pool.set_back).hash(to);
            if pool.set_back {
                pool.was.iter().for_each(|(weight, mode)| (weight, *mode as u8).hash(to));
            }
            pool.stale_until.saturating_sub(now).hash(to);
            for m in &pool.members {
                (m.weight, m.mode as u8, m.users_for(now)).hash(to);
            }
        }
        for p in &self.pairs {
            (p.frozen, p.thawed, p.source_sick, p.target_sick).hash(to);
            for t in &p.trees {
                (t.source.has.cmp(&t.target.has), t.traces).hash(to);
                for copy in [&t.source, &t.target] {
                    (copy.has == p.acked, copy.torn, copy.hole).hash(to);
                }
            }
            p.replicas.iter().for_each(|r| r.fingerprint(p, to));
        }
        self.hooks.iter().for_each(|h| (h.took, h.taken_back).hash(to));
        self.given.hash(to);
        self.silenced.hash(to);
    }

    /// Where everything stands, for comparing ends; `files`: what is on the targets' disks counts.
    pub fn facts(&self, files: bool) -> Vec<String> {
        let mut facts = self.given_facts();
        facts.extend(self.silenced.iter().map(|pair| format!("{pair}: alerts are silenced")));
        for pool in &self.pools {
            for m in &pool.members {
                let about = format!("{} {} {}", pool.director, pool.name, m.name);
                facts.push(format!("{about}: {:?}, weight {}", m.mode, m.weight));
            }
            facts.extend(pool.ttl.map(|t| format!("{} {}: TTL {} s", pool.director, pool.name, t.as_secs())));
        }
        for p in &self.pairs {
            facts.push(format!("{}: {}", p.source, if p.is_frozen() { "frozen" } else { "not frozen" }));
            facts.push(format!("{}: {}", p.target, if p.thawed { "takes writes" } else { "takes no writes" }));
            facts.extend(p.replicas.iter().flat_map(|r| r.facts(p)));
            if files {
                let whole = if p.is_whole(At::Target) { "has" } else { "lacks some of" };
                facts.extend(p.trees.iter().map(|t| format!("{} {whole} the files of {}", p.target, t.job)));
            }
        }
        facts
    }
}
