//! The capacity rail: at every step, and at every step back, enough of what serves now keeps serving.
//!
//! Going back passes through the same sets of serving hosts in reverse, so what holds for every step holds for its reverse.
//! Capacities come from the inventory; members of a pool that no pair of the plan covers count as they are.

mod moved;
mod now;

use std::collections::BTreeMap;
use std::ops::Range;

use super::observed::Observed;
use crate::model::Mode;
use crate::model::finding::Finding;
use crate::model::{Pair, Strategy};
use crate::spec::{Service, Spec, Traffic};
use crate::step::{Graph, Live, Purpose, Step, StepKind};
use moved::{Capacity, Moved, Sets};

pub use now::{Serving, Stands, serving};

/// Capacity of a member that the inventory does not know.
const DEFAULT_CAPACITY: u64 = 100;

/// What a plan does to the capacity of each pool that it must not.
pub fn check(spec: &Spec, observed: &Observed, graph: &Graph) -> Vec<Finding> {
    let mut rails = Rails::new(spec, observed);
    let mut moved: Vec<Moved> = Vec::with_capacity(graph.steps.len());
    for (at, step) in graph.steps.iter().enumerate() {
        let before = rails.sets.union(graph.steps.waits_for(at).filter_map(|earlier| moved.get(earlier)));
        rails.look_at(step, &before);
        moved.push(match rails.moves(step) {
            Some(pair) => rails.sets.with(&before, pair),
            None => before,
        });
    }
    rails.pools.iter().filter_map(Pool::finding).collect()
}

/// The least capacity that must serve in a pool.
pub fn floor(spec: &Spec, traffic: &Traffic) -> u64 {
    let name = pool_of(traffic);
    let own = spec.plan.services.iter().filter(|s| s.traffic.iter().any(|t| pool_of(t) == name));
    Pool::new(spec, &Observed::default(), name, &own.collect::<Vec<_>>(), &BTreeMap::new()).0.floor
}

fn pool_of(traffic: &Traffic) -> (&str, &str) {
    (&traffic.director, &traffic.pool)
}

/// All pools with everything that moves in them.
struct Rails<'a> {
    pools: Vec<Pool>,
    /// The pairs of a pool stand side by side in the list that `sets` is over, the largest sources first. A pair has a place in each of its
    /// pools.
    pairs: BTreeMap<(usize, &'a Pair), Position>,
    /// Pools by director and name.
    names: BTreeMap<(&'a str, &'a str), usize>,
    sets: Sets,
    /// What each pair of the list gives to its pool.
    capacities: Vec<Capacity>,
}

/// One pool.
struct Pool {
    name: String,
    /// Its pairs in the list.
    pairs: Range<usize>,
    /// Capacity that stays as it is.
    others: u64,
    /// Capacity of all sources, and of all targets.
    all: Capacity,
    floor: u64,
    max_unavailable: usize,
    /// The least that serves, and after which step.
    worst: Option<(u64, String)>,
}

/// Where a pair is.
#[derive(Clone, Copy)]
struct Position {
    pool: usize,
    /// In the list of all pairs.
    at: usize,
    strategy: Strategy,
}

/// A pair with its capacities.
struct Moving<'a> {
    pair: &'a Pair,
    strategy: Strategy,
    capacity: Capacity,
}

impl<'a> Rails<'a> {
    fn new(spec: &'a Spec, observed: &Observed) -> Self {
        let mut services: BTreeMap<(&str, &str), Vec<&Service>> = BTreeMap::new();
        for service in &spec.plan.services {
            for traffic in &service.traffic {
                services.entry(pool_of(traffic)).or_default().push(service);
            }
        }
        let waves = spec.plan.waves.iter().flat_map(|w| w.services.iter().map(|s| (s.as_str(), w.max_unavailable)));
        let at_once: BTreeMap<&str, usize> = waves.collect();
        let (mut pools, mut pairs, mut list) = (Vec::new(), BTreeMap::new(), Vec::new());
        let names = services.keys().zip(0..).map(|(name, at)| (*name, at)).collect();
        for (name, services) in services {
            let (mut pool, mut moving) = Pool::new(spec, observed, name, &services, &at_once);
            moving.sort_by_key(|m| std::cmp::Reverse(m.capacity.source));
            pool.pairs = list.len()..list.len() + moving.len();
            let n = pools.len();
            let place = |(m, at): (&Moving<'a>, usize)| ((n, m.pair), Position { pool: n, at, strategy: m.strategy });
            pairs.extend(moving.iter().zip(list.len()..).map(place));
            list.extend(moving.iter().map(|m| m.capacity));
            pools.push(pool);
        }
        Self { pools, pairs, names, sets: Sets::new(list.iter().copied()), capacities: list }
    }

    /// The pair that has its whole share on the target once a step is done.
    fn moves(&self, step: &Step) -> Option<usize> {
        self.place(step, Purpose::Shift(100)).map(|place| place.at)
    }

    /// The place of the pair of a step that is for this, in the pool that it sets.
    fn place(&self, step: &Step, purpose: Purpose) -> Option<Position> {
        let StepKind::Traffic(traffic) = &step.kind else { return None };
        let pool = self.names.get(&(&*traffic.director, &*traffic.pool)).filter(|_| traffic.purpose == purpose)?;
        self.pairs.get(&(*pool, step.pair.as_deref()?)).copied()
    }

    /// Looks at a step that takes a pair out of service.
    fn look_at(&mut self, step: &Step, before: &Moved) {
        let Some(place) = self.place(step, Purpose::Drain) else { return };
        let Some(pool) = self.pools.get_mut(place.pool) else { return };
        let least = match place.strategy {
            // Every source may have been drained, and every target has its full weight.
            Strategy::Ramp => pool.others + pool.all.target,
            Strategy::Cutover => pool.capacity_at(&mut self.sets, place.at, before),
        };
        if pool.worst.as_ref().is_none_or(|(worst, _)| least < *worst) {
            pool.worst = Some((least, step.id.clone()));
        }
    }
}

impl Pool {
    /// A pool of these services, and what moves in it.
    fn new<'a>(
        spec: &'a Spec,
        observed: &Observed,
        (director, pool): (&str, &str),
        services: &[&'a Service],
        at_once: &BTreeMap<&str, usize>,
    ) -> (Self, Vec<Moving<'a>>) {
        let capacity = |host: &str| spec.inventory.hosts.get(host).map_or(DEFAULT_CAPACITY, |h| u64::from(h.capacity));
        let pairs = services.iter().flat_map(|s| s.pairs.iter().map(|pair| (s.strategy, pair)));
        let moving: Vec<Moving<'_>> = pairs
            .map(|(strategy, pair)| Moving {
                pair,
                strategy,
                capacity: Capacity { source: capacity(&pair.source), target: capacity(&pair.target) },
            })
            .collect();
        let others = others(observed, director, pool, moving.len());
        let all = Capacity {
            source: moving.iter().map(|m| m.capacity.source).sum(),
            target: moving.iter().map(|m| m.capacity.target).sum(),
        };
        let largest = moving.iter().map(|m| m.capacity.source).max().unwrap_or(0);
        let floor = match services.iter().filter_map(|s| s.min_capacity).max() {
            Some(percent) => (all.source + others) * u64::from(percent) / 100,
            None => all.source + others - largest,
        };
        let of_waves = services.iter().filter_map(|s| at_once.get(&*s.name)).max().copied().unwrap_or(1);
        let max_unavailable = of_waves.min(by_places(spec, &moving)).max(1);
        let pool = Self {
            name: format!("{director} {pool}"),
            pairs: 0..0,
            others,
            all,
            // Whatever the floor: somebody has to be there.
            floor: floor.max(1),
            max_unavailable,
            worst: None,
        };
        (pool, moving)
    }

    fn finding(&self) -> Option<Finding> {
        let (least, step) = self.worst.as_ref()?;
        if *least >= self.floor {
            return None;
        }
        let total = self.all.source + self.others;
        let at = format!("at step {step} {least} of {total} capacity would serve, and {} must", self.floor);
        let what = if *least == 0 { format!("{at}: nobody would be left, and users would get errors") } else { at };
        let hint = "lower max_unavailable, give targets enough capacity, or set `min_capacity` to what is enough";
        Some(Finding::refused(&self.name, what).hint(hint))
    }

    /// The least that serves right after a pair is drained, whatever order independent steps happen to run in.
    fn capacity_at(&self, sets: &mut Sets, pair: usize, before: &Moved) -> u64 {
        let moved = sets.moved(before, &self.pairs);
        let without = sets.with(before, pair);
        let gone = sets.moved(&without, &self.pairs);
        let serving = self.others + self.all.source - gone.source + moved.target;
        serving - sets.first_absent(&without, &self.pairs, self.max_unavailable.saturating_sub(1))
    }
}

/// Most pairs that limits of places let be out of service at once: each takes room where its source stands, and where its target does.
fn by_places(spec: &Spec, moving: &[Moving<'_>]) -> usize {
    let mut rules: BTreeMap<String, BTreeMap<&str, (usize, usize)>> = BTreeMap::new();
    for (at, limit) in spec.plan.limits.iter().enumerate() {
        let Some(most) = limit.max_unavailable else { continue };
        let places = rules.entry(limit.place.kind()).or_default();
        places.extend(limit.hosts.iter().map(|host| (host.as_str(), (at, most))));
    }
    let rooms = rules
        .values()
        .flat_map(|places| [room(places, moving, |pair| &pair.source), room(places, moving, |pair| &pair.target)]);
    rooms.min().unwrap_or(usize::MAX)
}

/// Most pairs that can be out of service at once by what one of their hosts stands in: a place of each and how many it lets.
fn room(places: &BTreeMap<&str, (usize, usize)>, moving: &[Moving<'_>], host: fn(&Pair) -> &String) -> usize {
    let (mut there, mut free) = (BTreeMap::<(usize, usize), usize>::new(), 0);
    for moving in moving {
        match places.get(host(moving.pair).as_str()) {
            Some(place) => *there.entry(*place).or_default() += 1,
            None => free += 1,
        }
    }
    free + there.into_iter().map(|((_, most), pairs)| pairs.min(most)).sum::<usize>()
}

/// Capacity of the pool's members that serve now and that the plan does not move.
fn others(observed: &Observed, director: &str, pool: &str, pairs: usize) -> u64 {
    let Some(now) = observed.pool(director, pool) else { return 0 };
    let serving = now.members.iter().filter(|m| m.mode == Mode::Ready && m.weight > 0).count();
    DEFAULT_CAPACITY * serving.saturating_sub(pairs) as u64
}
