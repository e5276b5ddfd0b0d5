//! What a plan needs for itself, and what a run that was begun has.

use std::collections::BTreeSet;

use crate::event::RunState;
use crate::model::Pair;
use crate::spec::Plan;
use crate::step::StepKind;

/// The lock of a plan: who holds it works on the plan's runs.
pub fn plan(name: &str) -> String {
    format!("plan:{name}")
}

/// Everything that no other run may touch while this plan's does: the plan, its pairs and their hosts, its pools.
pub fn of_plan(plan: &Plan) -> BTreeSet<String> {
    let pairs = plan.services.iter().flat_map(|s| &s.pairs).map(AsRef::as_ref);
    let pools = plan.services.iter().flat_map(|s| &s.traffic).map(|t| pool(&t.director, &t.pool));
    std::iter::once(self::plan(&plan.name)).chain(pairs.flat_map(pair)).chain(pools).collect()
}

/// The same of a run, by the steps that it has.
pub fn of_run(state: &RunState) -> BTreeSet<String> {
    let steps = || state.graph.steps.iter();
    let pairs: BTreeSet<&Pair> = steps().filter_map(|step| step.pair.as_deref()).collect();
    let pools = steps().filter_map(|step| match &step.kind {
        StepKind::Traffic(traffic) => Some(pool(&traffic.director, &traffic.pool)),
        _ => None,
    });
    std::iter::once(self::plan(&state.started.plan)).chain(pairs.into_iter().flat_map(pair)).chain(pools).collect()
}

fn pair(pair: &Pair) -> [String; 3] {
    let host = |name: &String| format!("host:{name}");
    [format!("pair:{}:{}", pair.source, pair.target), host(&pair.source), host(&pair.target)]
}

fn pool(director: &str, pool: &str) -> String {
    format!("pool:{director}:{pool}")
}

/// A host or a pool, for people; `None` for what is neither.
pub fn for_people(name: &str) -> Option<String> {
    let pool = |name: &str| name.split_once(':').map(|(director, pool)| format!("{director} {pool}"));
    name.strip_prefix("host:").map(str::to_owned).or_else(|| name.strip_prefix("pool:").and_then(pool))
}
