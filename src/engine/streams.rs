//! Streams of data under way, and where there is room for another: files, memory and the sshd of a host bear only so many. Pairs are not
//! bounded by this: who waits for a stream holds nothing but its place in the order.
//!
//! Must never hold back what a frozen pair waits for: that counts, and begins at once.

use std::collections::BTreeSet;

use crate::model::{Limit, LimitedPlace};
use crate::step::{Graph, Lane, Places, Step};

/// Streams at once over all hosts, where the plan does not say it.
const STREAMS: usize = 64;

/// What is under way where.
pub(super) struct Streams {
    places: Places,
    /// Streams under way, by limit.
    busy: Vec<usize>,
    /// Whether the plan says how many streams there may be in all: it means first passes, too.
    is_said: bool,
}

impl Streams {
    /// Of a graph, none under way.
    pub fn new(graph: &Graph) -> Self {
        let mut limits = graph.limits.clone();
        let is_said = limits.iter().any(|l| l.place == LimitedPlace::Everywhere && l.streams.is_some());
        if !is_said {
            limits.push(Limit {
                place: LimitedPlace::Everywhere,
                hosts: BTreeSet::new(),
                bandwidth: None,
                streams: Some(STREAMS),
                max_unavailable: None,
            });
        }
        Self { busy: vec![0; limits.len()], places: Places::new(&limits), is_said }
    }

    /// The limits that hold for a step. Steps with the same can all begin, or none of them can.
    pub fn of(&self, step: &Step) -> Vec<usize> {
        self.places.of_stream(step)
    }

    /// Whether there is room for one more under these limits.
    pub fn has_room(&self, limits: &[usize]) -> bool {
        limits.iter().all(|at| {
            let most = self.places.get(*at).and_then(|limit| limit.streams);
            most.is_none_or(|most| self.busy.get(*at).is_none_or(|busy| *busy < most))
        })
    }

    /// How many steps of a lane may be under way.
    pub fn room_in(&self, lane: &Lane) -> usize {
        match lane {
            Lane::Seeds if self.is_said => usize::MAX,
            lane => lane.limit(),
        }
    }

    /// A step is under way, or not any more.
    pub fn under_way(&mut self, step: &Step, begins: bool) {
        for at in self.of(step) {
            if let Some(busy) = self.busy.get_mut(at) {
                *busy = if begins { *busy + 1 } else { busy.saturating_sub(1) };
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::model::Pair;
    use crate::step::{StepKind, StreamStep};

    fn pour(source: &str) -> Step {
        let stream = StreamStep {
            job: source.to_owned(),
            from: "dump".into(),
            to: "load".into(),
            bandwidth: None,
            timeout: None,
            idempotent: true,
        };
        let pair = Pair { source: source.into(), target: format!("new-{source}") };
        Step {
            pair: Some(Arc::new(pair)),
            ..Step::of_wave(format!("db/{source}/stream"), "w".into(), StepKind::Stream(stream), Vec::new())
        }
    }

    fn limit(place: LimitedPlace, hosts: &[&str], streams: usize) -> Limit {
        let hosts = hosts.iter().map(|host| (*host).to_owned()).collect();
        Limit { place, hosts, bandwidth: None, streams: Some(streams), max_unavailable: None }
    }

    fn streams(limits: Vec<Limit>) -> Streams {
        Streams::new(&Graph { limits, ..Graph::default() })
    }

    #[test]
    fn there_is_room_for_as_many_as_each_place_bears() {
        let rack = limit(LimitedPlace::Var("rack".into(), "r1".into()), &["a", "b", "new-c"], 1);
        let mut streams = streams(vec![rack, limit(LimitedPlace::Everywhere, &[], 2)]);
        let room = |streams: &Streams, of: &str| streams.has_room(&streams.of(&pour(of)));
        streams.under_way(&pour("a"), true);
        assert!(!room(&streams, "b") && !room(&streams, "c") && room(&streams, "d"));
        streams.under_way(&pour("d"), true);
        assert!(!room(&streams, "e"), "two in all");
        streams.under_way(&pour("a"), false);
        assert!(room(&streams, "b") && room(&streams, "e"));
    }

    #[test]
    fn where_the_plan_says_nothing_there_is_a_bound_and_first_passes_have_their_own() {
        let mut unsaid = streams(vec![limit(LimitedPlace::Site("dal".into()), &["a"], 100)]);
        (0..STREAMS - 1).for_each(|n| unsaid.under_way(&pour(&n.to_string()), true));
        assert!(unsaid.has_room(&unsaid.of(&pour("a"))));
        unsaid.under_way(&pour("a"), true);
        assert!(!unsaid.has_room(&unsaid.of(&pour("b"))));
        assert_eq!(unsaid.room_in(&Lane::Seeds), 4);
        let said = streams(vec![limit(LimitedPlace::Everywhere, &[], 300)]);
        assert_eq!((said.room_in(&Lane::Seeds), said.room_in(&Lane::Director("edge".into()))), (usize::MAX, 1));
    }
}
