//! Pairs that cannot be reached, in waves that may go on without: they are left out, and count as failed.
//!
//! Must never leave a pair out that nobody is told of, and none that has moved already.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Compilation;
use crate::model::finding::Finding;
use crate::planner::observed::{Observed, Seen};
use crate::spec::Unreachable;
use crate::step::LeftOut;

/// Leaves them out, as many as may fail.
pub fn leave_out(c: &mut Compilation<'_>) {
    let mut left_out: Vec<LeftOut> = Vec::new();
    for service in c.services.iter_mut().filter(|s| s.plan.wave.unreachable == Unreachable::Budget) {
        let plan = &mut service.plan;
        let (wave, name) = (&plan.wave.name, &plan.service.name);
        plan.pairs.retain(|pair| match unreached(c.observed, [&pair.source.name, &pair.target.name]) {
            Some(why) => {
                let (wave, service, pair) = (Arc::clone(wave), Arc::clone(name), Arc::clone(pair.pair));
                left_out.push(LeftOut { wave, service, pair, why });
                false
            }
            None => true,
        });
    }
    c.services.retain(|service| !service.plan.pairs.is_empty());
    tell(c, &left_out);
    c.left_out = left_out;
}

/// Which of these hosts does not answer, and why.
fn unreached(observed: &Observed, hosts: [&String; 2]) -> Option<String> {
    hosts.into_iter().find_map(|host| match observed.hosts.get(host)? {
        Seen::Failed { why, .. } => Some(format!("{host} cannot be reached: {why}")),
        Seen::Live(_) => None,
    })
}

fn tell(c: &mut Compilation<'_>, left_out: &[LeftOut]) {
    let mut of_wave: BTreeMap<&str, usize> = BTreeMap::new();
    for pair in left_out {
        *of_wave.entry(&pair.wave).or_default() += 1;
        let about = format!("{} → {}", pair.pair.source, pair.pair.target);
        let what = format!("is left out, and counts as failed in wave {}: {}", pair.wave, pair.why);
        c.findings.push(Finding::risk(about, what).hint("apply the plan again once it can be reached"));
    }
    let plan = &c.spec.plan;
    let waves =
        plan.waves.iter().map(|wave| (format!("wave {}", wave.name), of_wave.get(&*wave.name), wave.failure_budget));
    let waves = waves.filter_map(|(about, count, budget)| Some((about, *count?, budget)));
    let all = plan.failure_budget.map(|budget| (plan.name.clone(), left_out.len(), budget));
    for (about, count, budget) in waves.chain(all).filter(|(_, count, budget)| count > budget) {
        let what = format!("{count} of its pairs cannot be reached, and {budget} may fail (`failure_budget`)");
        c.findings.push(Finding::refused(about, what).hint("see why they cannot be reached, or allow more"));
    }
}
