//! Which limits hold for which steps.

use std::collections::HashMap;

use super::Step;
use crate::model::{Limit, LimitedPlace, Pair};

/// The limits of a graph, found by host.
#[derive(Debug, Clone, Default)]
pub struct Places {
    limits: Vec<Limit>,
    of_host: HashMap<String, Vec<usize>>,
    everywhere: Vec<usize>,
}

impl Places {
    /// Of these limits.
    pub fn new(limits: &[Limit]) -> Self {
        let mut places = Self { limits: limits.to_vec(), ..Self::default() };
        for (n, limit) in limits.iter().enumerate() {
            if limit.place == LimitedPlace::Everywhere {
                places.everywhere.push(n);
            }
            for host in &limit.hosts {
                places.of_host.entry(host.clone()).or_default().push(n);
            }
        }
        places
    }

    /// A limit.
    pub fn get(&self, at: usize) -> Option<&Limit> {
        self.limits.get(at)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.limits.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.limits.is_empty()
    }

    /// Limits that hold for a pair, in order.
    pub fn of_pair(&self, pair: &Pair) -> Vec<usize> {
        let of = |host: &str| self.of_host.get(host).into_iter().flatten();
        let mut all: Vec<usize> =
            self.everywhere.iter().chain(of(&pair.source)).chain(of(&pair.target)).copied().collect();
        all.sort_unstable();
        all.dedup();
        all
    }

    /// Limits of streams that hold for a step, if it is a stream of data.
    pub fn of_stream(&self, step: &Step) -> Vec<usize> {
        let Some(pair) = step.pair.as_ref().filter(|_| step.kind.is_stream()) else { return Vec::new() };
        let bounds = |at: &usize| self.get(*at).is_some_and(|limit| limit.streams.is_some());
        self.of_pair(pair).into_iter().filter(bounds).collect()
    }

    /// Limits of bandwidth that data between the hosts of a step's pair falls under.
    pub fn crossed_by(&self, step: &Step) -> Vec<usize> {
        let Some(pair) = &step.pair else { return Vec::new() };
        let crossed = |at: &usize| self.get(*at).is_some_and(|l| l.bandwidth.is_some() && l.is_crossed_by(pair));
        self.of_pair(pair).into_iter().filter(crossed).collect()
    }
}
