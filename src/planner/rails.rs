//! The capacity rail: at every step, and at every step back, enough of what serves now keeps serving.
//!
//! Going back passes through the same sets of serving hosts in reverse, so what holds for every step holds for its reverse.
//! Capacities come from the inventory; members of a pool that no pair of the plan covers count as they are.

use std::collections::{BTreeMap, BTreeSet};

use super::observed::Observed;
use crate::model::Mode;
use crate::model::finding::Finding;
use crate::model::{Pair, Strategy};
use crate::spec::{Service, Spec};
use crate::step::{Graph, Live, Purpose, Step, StepKind};

/// Capacity of a member that the inventory does not know.
const DEFAULT_CAPACITY: u64 = 100;

/// What a plan does to the capacity of each pool that it must not.
pub fn check(spec: &Spec, observed: &Observed, graph: &Graph) -> Vec<Finding> {
    let order = Order::new(graph);
    let mut findings = Vec::new();
    let mut seen = BTreeSet::new();
    for service in &spec.plan.services {
        let Some(traffic) = &service.traffic else { continue };
        if seen.insert((&traffic.director, &traffic.pool)) {
            findings.extend(Pool::new(spec, observed, service).check(graph, &order));
        }
    }
    findings
}

/// The least capacity that must serve in the pool of a service; 0 where it has none.
pub fn floor(spec: &Spec, service: &Service) -> u64 {
    service.traffic.as_ref().map_or(0, |_| Pool::new(spec, &Observed::default(), service).floor)
}

/// One pool with everything that moves in it.
struct Pool<'a> {
    name: String,
    pairs: Vec<Moving<'a>>,
    /// Capacity that stays as it is.
    others: u64,
    floor: u64,
    max_unavailable: usize,
}

/// A pair with its capacities.
struct Moving<'a> {
    pair: &'a Pair,
    strategy: Strategy,
    source: u64,
    target: u64,
}

impl<'a> Pool<'a> {
    fn new(spec: &'a Spec, observed: &Observed, service: &'a Service) -> Self {
        let key = |s: &Service| s.traffic.as_ref().map(|t| (t.director.clone(), t.pool.clone()));
        let wanted = key(service);
        let services: Vec<&Service> = spec.plan.services.iter().filter(|s| key(s) == wanted).collect();
        let capacity = |host: &str| spec.inventory.hosts.get(host).map_or(DEFAULT_CAPACITY, |h| u64::from(h.capacity));
        let pairs: Vec<Moving<'_>> = services
            .iter()
            .flat_map(|s| s.pairs.iter().map(|pair| (s.strategy, pair)))
            .map(|(strategy, pair)| Moving {
                pair,
                strategy,
                source: capacity(&pair.source),
                target: capacity(&pair.target),
            })
            .collect();
        let (director, pool) = wanted.unwrap_or_default();
        let others = others(observed, &director, &pool, pairs.len());
        let total: u64 = pairs.iter().map(|p| p.source).sum::<u64>() + others;
        let largest = pairs.iter().map(|p| p.source).max().unwrap_or(0);
        let floor = match services.iter().filter_map(|s| s.min_capacity).max() {
            Some(percent) => total * u64::from(percent) / 100,
            None => total - largest,
        };
        let names: BTreeSet<&str> = services.iter().map(|s| s.name.as_str()).collect();
        let waves = spec.plan.waves.iter().filter(|w| w.services.iter().any(|s| names.contains(s.as_str())));
        let max_unavailable = waves.map(|w| w.max_unavailable).max().unwrap_or(1);
        // Whatever the floor: somebody has to be there.
        Self { name: format!("{director} {pool}"), pairs, others, floor: floor.max(1), max_unavailable }
    }

    fn check(&self, graph: &Graph, order: &Order<'_>) -> Option<Finding> {
        let drains = graph.steps.iter().filter_map(|step| Some((step, self.drained_by(step)?)));
        let worst = drains.map(|(step, pair)| (self.capacity_at(order, step, pair), step)).min_by_key(|w| w.0)?;
        let (least, step) = worst;
        if least >= self.floor {
            return None;
        }
        let at =
            format!("at step {} {least} of {} capacity would serve, and {} must", step.id, self.total(), self.floor);
        let what = if least == 0 { format!("{at}: nobody would be left, and users would get errors") } else { at };
        let hint = "lower max_unavailable, give targets enough capacity, or set `min_capacity` to what is enough";
        Some(Finding::refused(&self.name, what).hint(hint))
    }

    fn total(&self) -> u64 {
        self.pairs.iter().map(|p| p.source).sum::<u64>() + self.others
    }

    /// The pair that a step takes out of service.
    fn drained_by(&self, step: &Step) -> Option<&Moving<'a>> {
        if !matches!(&step.kind, StepKind::Traffic(traffic) if traffic.purpose == Purpose::Drain) {
            return None;
        }
        self.pairs.iter().find(|p| Some(p.pair) == step.pair.as_ref())
    }

    /// The least that serves right after `drain`, whatever order independent steps happen to run in.
    fn capacity_at(&self, order: &Order<'_>, drain: &Step, pair: &Moving<'_>) -> u64 {
        if pair.strategy == Strategy::Ramp {
            // Every source may have been drained, and every target has its full weight.
            return self.others + self.pairs.iter().map(|p| p.target).sum::<u64>();
        }
        let before = order.before(drain);
        let mut serving = self.others;
        let mut may_be_out = Vec::new();
        for other in self.pairs.iter().filter(|p| p.pair != pair.pair) {
            let back = order.full.get(other.pair).is_some_and(|full| before.contains(full));
            serving += if back { other.target } else { other.source };
            if !back {
                may_be_out.push(other.source);
            }
        }
        may_be_out.sort_unstable();
        let out: u64 = may_be_out.iter().rev().take(self.max_unavailable.saturating_sub(1)).sum();
        serving - out
    }
}

/// Capacity of the pool's members that serve now and that the plan does not move.
fn others(observed: &Observed, director: &str, pool: &str, pairs: usize) -> u64 {
    let Some(now) = observed.pool(director, pool) else { return 0 };
    let serving = now.members.iter().filter(|m| m.mode == Mode::Ready && m.weight > 0).count();
    DEFAULT_CAPACITY * serving.saturating_sub(pairs) as u64
}

/// Which step waits for which, by position.
struct Order<'a> {
    at: BTreeMap<&'a str, usize>,
    after: Vec<Vec<usize>>,
    /// The step that gives the target of a pair its full weight.
    full: BTreeMap<&'a Pair, usize>,
}

impl<'a> Order<'a> {
    fn new(graph: &'a Graph) -> Self {
        let at: BTreeMap<&str, usize> = graph.steps.iter().zip(0..).map(|(s, n)| (s.id.as_str(), n)).collect();
        let after = graph.steps.iter().map(|s| s.after.iter().filter_map(|a| at.get(a.as_str()).copied()).collect());
        let is_full =
            |s: &&Step| matches!(&s.kind, StepKind::Traffic(traffic) if traffic.purpose == Purpose::Shift(100));
        let full = graph.steps.iter().filter(is_full).filter_map(|s| Some((s.pair.as_ref()?, *at.get(s.id.as_str())?)));
        Self { after: after.collect(), full: full.collect(), at }
    }

    /// Everything that must be done before a step.
    fn before(&self, step: &Step) -> BTreeSet<usize> {
        let mut open: Vec<usize> = self.at.get(step.id.as_str()).copied().into_iter().collect();
        let mut reached = BTreeSet::new();
        while let Some(n) = open.pop() {
            for earlier in self.after.get(n).into_iter().flatten() {
                if reached.insert(*earlier) {
                    open.push(*earlier);
                }
            }
        }
        reached
    }
}
