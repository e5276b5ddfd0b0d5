//! Places with a limit of their own for pairs out of service: who takes which slot there, and who comes after whom.

use std::collections::{BTreeMap, VecDeque};

use super::Compilation;
use super::batches;
use crate::model::{Limit, Pair};
use crate::spec::Spec;
use crate::step::Places;

/// Pairs that stand in one place do not follow each other where there are others: they would wait for each other, and hold the slots of
/// their wave meanwhile. Batches keep their pairs.
pub fn spread(c: &mut Compilation<'_>) {
    let bounded = bounded(c.spec);
    if bounded.is_empty() {
        return;
    }
    let mut batch_of: Option<(&str, BTreeMap<&str, usize>)> = None;
    for service in &mut c.services {
        let plan = &mut service.plan;
        let batch_of = match &mut batch_of {
            Some((wave, of)) if *wave == &*plan.wave.name => &*of,
            other => &other.insert((&*plan.wave.name, batches::of_sources(plan.wave, c.spec))).1,
        };
        let mut batched: BTreeMap<usize, Vec<_>> = BTreeMap::new();
        for pair in std::mem::take(&mut plan.pairs) {
            let batch = batch_of.get(&*pair.pair.source).copied().unwrap_or(0);
            batched.entry(batch).or_default().push(pair);
        }
        plan.pairs = batched.into_values().flat_map(|own| in_turn(own, |p| bounded.of_pair(p.pair))).collect();
    }
}

/// Limits of pairs out of service.
fn bounded(spec: &Spec) -> Places {
    let bounds: Vec<Limit> = spec.plan.limits.iter().filter(|l| l.max_unavailable.is_some()).cloned().collect();
    Places::new(&bounds)
}

/// One of each kind, round and round, kinds and those of a kind in their order.
fn in_turn<T, K: Ord + Clone>(all: Vec<T>, kind: impl Fn(&T) -> K) -> Vec<T> {
    let mut order: Vec<K> = Vec::new();
    let mut kinds: BTreeMap<K, VecDeque<T>> = BTreeMap::new();
    for one in all {
        let kind = kind(&one);
        let of_kind = kinds.entry(kind.clone()).or_default();
        if of_kind.is_empty() {
            order.push(kind);
        }
        of_kind.push_back(one);
    }
    let mut out = Vec::new();
    while !order.is_empty() {
        order.retain(|kind| {
            let of_kind = kinds.get_mut(kind);
            let (next, more) = of_kind.map_or((None, false), |of_kind| (of_kind.pop_front(), !of_kind.is_empty()));
            out.extend(next);
            more
        });
    }
    out
}

/// Slots of places in one wave.
pub struct PlaceSlots {
    places: Places,
    taken: BTreeMap<usize, VecDeque<Vec<String>>>,
}

impl PlaceSlots {
    pub fn new(spec: &Spec) -> Self {
        Self { places: bounded(spec), taken: BTreeMap::new() }
    }

    /// What a pair has to wait for before it leaves service: in each place for one that was there before it.
    pub fn next(&mut self, pair: &Pair) -> Vec<String> {
        let mut ends = Vec::new();
        for at in self.places.of_pair(pair) {
            let most = self.places.get(at).and_then(|limit| limit.max_unavailable).unwrap_or(1);
            let taken = self.taken.entry(at).or_default();
            if taken.len() >= most {
                ends.extend(taken.pop_front().unwrap_or_default());
            }
        }
        ends
    }

    /// The pair is back in service once these are done.
    pub fn give(&mut self, pair: &Pair, ends: &[String]) {
        for at in self.places.of_pair(pair) {
            self.taken.entry(at).or_default().push_back(ends.to_vec());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::in_turn;

    #[test]
    fn each_kind_has_its_turn_and_nobody_is_lost() {
        let spread = in_turn(vec!["a1", "a2", "a3", "b1", "c1", "c2"], |name| name.chars().next());
        assert_eq!(spread, ["a1", "b1", "c1", "a2", "c2", "a3"]);
        assert_eq!(in_turn(vec!["a1", "a2"], |_| 0), ["a1", "a2"]);
    }
}
