//! The capacity rail: at every step, and at every step back, enough of what serves now keeps serving.
//!
//! Going back passes through the same sets of serving hosts in reverse, so what holds for every step holds for its reverse.
//! Capacities come from the inventory; members of a pool that no pair of the plan covers count as they are.

mod moved;

use std::collections::BTreeMap;
use std::ops::Range;

use super::observed::Observed;
use crate::model::Mode;
use crate::model::finding::Finding;
use crate::model::{Pair, Strategy};
use crate::spec::{Service, Spec, Traffic};
use crate::step::{Graph, Live, Purpose, Step};
use moved::{Capacity, Moved, Sets};

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

/// The least capacity that must serve in the pool of a service; 0 where it has none.
pub fn floor(spec: &Spec, service: &Service) -> u64 {
    let wanted = service.traffic.as_ref().map(pool_of);
    let own = spec.plan.services.iter().filter(|s| wanted.is_some() && s.traffic.as_ref().map(pool_of) == wanted);
    let own: Vec<&Service> = own.collect();
    wanted.map_or(0, |name| Pool::new(spec, &Observed::default(), name, &own, &BTreeMap::new()).0.floor)
}

fn pool_of(traffic: &Traffic) -> (&str, &str) {
    (&traffic.director, &traffic.pool)
}

/// All pools with everything that moves in them.
struct Rails<'a> {
    pools: Vec<Pool>,
    /// The pairs of a pool stand side by side in the list that `sets` is over, the largest sources first.
    pairs: BTreeMap<&'a Pair, Position>,
    sets: Sets,
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
            if let Some(traffic) = &service.traffic {
                services.entry(pool_of(traffic)).or_default().push(service);
            }
        }
        let waves = spec.plan.waves.iter().flat_map(|w| w.services.iter().map(|s| (s.as_str(), w.max_unavailable)));
        let at_once: BTreeMap<&str, usize> = waves.collect();
        let (mut pools, mut pairs, mut list) = (Vec::new(), BTreeMap::new(), Vec::new());
        for (name, services) in services {
            let (mut pool, mut moving) = Pool::new(spec, observed, name, &services, &at_once);
            moving.sort_by_key(|m| std::cmp::Reverse(m.capacity.source));
            pool.pairs = list.len()..list.len() + moving.len();
            let place =
                |(m, at): (&Moving<'a>, usize)| (m.pair, Position { pool: pools.len(), at, strategy: m.strategy });
            pairs.extend(moving.iter().zip(list.len()..).map(place));
            list.extend(moving.iter().map(|m| m.capacity));
            pools.push(pool);
        }
        Self { pools, pairs, sets: Sets::new(list) }
    }

    /// The pair that has its whole share on the target once a step is done.
    fn moves(&self, step: &Step) -> Option<usize> {
        step.kind.purpose().filter(|purpose| *purpose == Purpose::Shift(100))?;
        self.pairs.get(step.pair.as_ref()?).map(|place| place.at)
    }

    /// Looks at a step that takes a pair out of service.
    fn look_at(&mut self, step: &Step, before: &Moved) {
        if step.kind.purpose() != Some(Purpose::Drain) {
            return;
        }
        let Some(place) = step.pair.as_ref().and_then(|pair| self.pairs.get(pair)).copied() else { return };
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
        let max_unavailable = services.iter().filter_map(|s| at_once.get(s.name.as_str())).max().copied().unwrap_or(1);
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

/// Capacity of the pool's members that serve now and that the plan does not move.
fn others(observed: &Observed, director: &str, pool: &str, pairs: usize) -> u64 {
    let Some(now) = observed.pool(director, pool) else { return 0 };
    let serving = now.members.iter().filter(|m| m.mode == Mode::Ready && m.weight > 0).count();
    DEFAULT_CAPACITY * serving.saturating_sub(pairs) as u64
}
