//! What serves of each pool now, against the floor that the rail keeps.

use std::collections::BTreeSet;

use serde::Serialize;

use super::Rails;
use crate::planner::observed::Observed;
use crate::spec::Spec;
use crate::step::{Graph, Purpose, StepKind};

/// The capacity of a pool.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Serving {
    /// The director and the pool.
    pub pool: String,
    /// What serves.
    pub serves: u64,
    /// The least that must.
    pub floor: u64,
    /// What all sources have.
    pub all: u64,
}

/// Where a step stands, as far as capacity goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stands {
    /// It has done nothing, or it is undone.
    Not,
    /// It has done something, or may have.
    Maybe,
    /// It is done.
    Done,
}

/// By the same measure as when the plan was made: a source serves until it may have been drained, a target counts once it certainly has its
/// whole share. Members that the plan does not move are on neither side.
pub fn serving(spec: &Spec, graph: &Graph, stands: impl Fn(usize) -> Stands) -> Vec<Serving> {
    let rails = Rails::new(spec, &Observed::default());
    let mut gone = vec![false; rails.capacities.len()];
    let mut moved = gone.clone();
    let set = |list: &mut Vec<bool>, at: usize| list.get_mut(at).into_iter().for_each(|is| *is = true);
    // Where all pairs of a service are shifted together, the step is of no pair.
    let mut together: BTreeSet<(&str, usize)> = BTreeSet::new();
    for (at, step) in graph.steps.iter().enumerate() {
        let stands = stands(at);
        if stands == Stands::Not {
            continue;
        }
        if let Some(place) = rails.place(step, Purpose::Drain) {
            set(&mut gone, place.at);
        }
        if stands != Stands::Done {
            continue;
        }
        match (rails.moves(step), &step.kind) {
            (Some(pair), _) => set(&mut moved, pair),
            (None, StepKind::Traffic(traffic)) if traffic.purpose == Purpose::Shift(100) => {
                let pool = rails.names.get(&(&*traffic.director, &*traffic.pool));
                together.extend(pool.map(|pool| (&*step.service, *pool)));
            }
            (None, _) => {}
        }
    }
    for (service, pool) in together {
        let pairs = spec.plan.services.iter().filter(|s| *s.name == *service).flat_map(|s| &s.pairs);
        pairs.filter_map(|pair| rails.pairs.get(&(pool, pair))).for_each(|place| set(&mut moved, place.at));
    }
    let pools = rails.pools.iter().map(|pool| {
        let own = pool.pairs.clone().filter_map(|at| Some((rails.capacities.get(at)?, gone.get(at)?, moved.get(at)?)));
        let serves = own.map(|(capacity, gone, moved)| {
            let (source, target) = (if *gone { 0 } else { capacity.source }, if *moved { capacity.target } else { 0 });
            // Beside its own target a source that was not drained yet is no more than what there was.
            source.max(target)
        });
        Serving { pool: pool.name.clone(), serves: serves.sum(), floor: pool.floor, all: pool.all.source }
    });
    pools.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{self, LoadOptions};

    const INVENTORY: &str = "
hosts:
  \"dal-[1-2]\": { address: \"{{ name }}.example\" }
  \"fra-[1-2]\": { address: \"{{ name }}.example\", capacity: 150 }
  lax-1: { address: 10.0.0.9 }
  ams-1: { address: 10.0.0.10 }
directors: { edge: { haproxy: \"unix:/run/haproxy.sock\" } }
";
    const PLAN: &str = "
migration: chat
inventory: inventory.yaml
services:
  uploads:
    move: { from: [dal-1, dal-2], to: [fra-1, fra-2] }
    traffic: { director: edge, pool: uploads }
    state: { directory: /srv/uploads }
    health: { tcp: \"{{ address }}:80\" }
    min_capacity: 50%
  web:
    strategy: ramp
    move: { from: lax-1, to: ams-1 }
    traffic: { director: edge, pool: web }
    health: { tcp: \"{{ address }}:80\" }
";

    /// What serves of each pool while steps with one of these endings may be under way, and those with one of the others are done.
    fn serves(maybe: &[&str], done: &[&str]) -> Vec<(String, u64, u64)> {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("inventory.yaml"), INVENTORY).unwrap();
        let plan = dir.path().join("plan.yaml");
        std::fs::write(&plan, PLAN).unwrap();
        let (spec, _) = config::load(&plan, None, &LoadOptions::default()).unwrap_or_else(|e| panic!("{e}"));
        let graph = crate::planner::propose(&spec, None).graph;
        for id in maybe.iter().chain(done) {
            assert!(graph.step(id).is_some(), "{id}");
        }
        let stands = |at: usize| match graph.steps.get(at).map(|step| step.id.as_str()) {
            Some(id) if done.contains(&id) => Stands::Done,
            Some(id) if maybe.contains(&id) => Stands::Maybe,
            _ => Stands::Not,
        };
        serving(&spec, &graph, stands).into_iter().map(|pool| (pool.pool, pool.serves, pool.floor)).collect()
    }

    fn both(uploads: u64, web: u64) -> Vec<(String, u64, u64)> {
        vec![("edge uploads".to_owned(), uploads, 100), ("edge web".to_owned(), web, 1)]
    }

    #[test]
    fn a_source_serves_until_it_may_be_drained_and_a_target_once_it_has_its_whole_share() {
        let (drain, half, whole) = ("uploads/dal-1/drain", "uploads/dal-1/shift-50", "uploads/dal-1/shift-100");
        assert_eq!(serves(&[], &[]), both(200, 100));
        assert_eq!(serves(&[drain], &[]), both(100, 100), "it may be drained");
        assert_eq!(serves(&[whole], &[drain, half]), both(100, 100), "half a share is not counted");
        assert_eq!(serves(&[], &[drain, half, whole]), both(250, 100));
    }

    #[test]
    fn targets_that_are_shifted_together_serve_beside_their_sources() {
        assert_eq!(serves(&[], &["web/shift-100"]), both(200, 100));
        assert_eq!(serves(&[], &["web/shift-100", "web/lax-1/drain"]), both(200, 100));
        assert_eq!(serves(&["web/lax-1/drain"], &[]), both(200, 0));
    }
}
