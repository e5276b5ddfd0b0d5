//! What a plan needs for itself.

use std::collections::BTreeSet;

use crate::spec::Plan;

/// The lock of a plan: who holds it works on the plan's runs.
pub fn plan(name: &str) -> String {
    format!("plan:{name}")
}

/// Everything that no other run may touch while this plan's does: the plan, its pairs, its pools.
pub fn of_plan(plan: &Plan) -> BTreeSet<String> {
    let pairs = plan.services.iter().flat_map(|s| &s.pairs).map(|p| format!("pair:{}:{}", p.source, p.target));
    let pools = plan.services.iter().filter_map(|s| s.traffic.as_ref());
    let pools = pools.map(|t| format!("pool:{}:{}", t.director, t.pool));
    std::iter::once(self::plan(&plan.name)).chain(pairs).chain(pools).collect()
}
