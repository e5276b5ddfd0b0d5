//! Spec and live reads become a step graph, and the graph becomes something to read before anything is done.
//!
//! Everything but [`observe`] is pure: no I/O, no clock. Must never write anything anywhere.

mod bmcs;
mod change_detection;
mod compile;
pub mod cost;
pub mod earlier;
pub mod estimate;
mod machines;
pub mod observe;
pub mod observed;
mod parity;
pub mod preflight;
pub mod proposal;
pub(crate) mod rails;
pub mod saved;

use std::collections::BTreeSet;

use observed::Observed;
use proposal::Proposal;

use crate::spec::Spec;

/// Compiles a plan and says what would happen. `observed` is `None` offline.
pub fn propose(spec: &Spec, observed: Option<&Observed>) -> Proposal {
    let nothing = Observed::default();
    let seen = observed.unwrap_or(&nothing);
    let (graph, mut findings) = compile::compile(spec, seen);
    if observed.is_some() {
        // What is known of hosts that a run moves without is told there.
        let left_out = graph.left_out.iter().flat_map(|left| [&left.pair.source, &left.pair.target]);
        let left_out: BTreeSet<&String> = left_out.collect();
        findings.extend(preflight::check(spec, seen).into_iter().filter(|f| !left_out.contains(&f.about)));
    }
    findings.extend(preflight::by_reading(spec));
    findings.extend(parity::findings(spec, seen));
    findings.extend(spec.told.iter().cloned());
    findings.extend(preflight::no_return(&graph));
    findings.sort();
    findings.dedup();
    let bill = cost::bill(spec, &graph, seen);
    proposal::build(spec, observed, graph, findings, bill)
}
