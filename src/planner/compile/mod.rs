//! Spec and what was seen → step graph, as one ordered list of passes. Pure.
//!
//! Owns the order of things: which step waits for which. Each pass knows all that the ones before it have found out, and nothing that is in
//! the graph is changed again. Must never leave a choice to execution that can be made here, and never know a kind of state.

mod batches;
mod confirm;
mod connections;
mod decommission;
mod freeze;
mod layout;
mod members;
mod moves;
mod no_return;
mod parts;
mod persist;
mod places;
mod pool;
mod relay;
mod remaining;
mod reverse;
mod service;
mod share;
mod silence;
mod told;
mod traffic;
mod unreachable;

use super::observed::Observed;
use super::rails;
use crate::model::Freeze;
use crate::model::finding::Finding;
use crate::spec::Spec;
use crate::step::{Draft, Graph, LeftOut, Moment};
use service::ServicePlan;

pub(super) use decommission::{members_of, steps_of, unverified};
pub use relay::relay_of;
pub use service::states;

type Pass = (&'static str, fn(&mut Compilation<'_>));

/// A new rule is one function and one line here.
const PASSES: [Pass; 18] = [
    ("services get their hosts, members and states", service::prepare),
    ("pairs of one place stand apart", places::spread),
    ("what runs is compared with what is on disk", persist::look_at),
    ("what has moved already is left out", remaining::leave_out),
    ("what cannot be reached is left out where it may be", unreachable::leave_out),
    ("pools are looked at", members::look_at),
    ("directors say what they think of single pairs", traffic::ask_directors),
    ("connections that would come back are found", connections::judge),
    ("states, hooks, gates and traffic contribute to the moments", parts::contribute),
    ("what targets get at every step of a ramp is told", told::tell),
    ("how long a freeze may last is told", freeze::tell),
    ("what was seen speaks against a state", parts::judge_states),
    ("points of no return are asked for ahead", no_return::ask),
    ("steps wait for each other", layout::lay_out),
    ("relays are watched until nobody needs them", relay::outlast),
    ("sources that nothing needs are given back", decommission::give_back),
    ("what a restart would undo is told", persist::judge),
    ("enough capacity serves at every step", capacity),
];

/// Compiles the whole plan. What cannot be compiled is among the findings, as refused.
pub fn compile(spec: &Spec, observed: &Observed) -> (Graph, Vec<Finding>) {
    let mut compilation = Compilation {
        spec,
        observed,
        services: Vec::new(),
        left_out: Vec::new(),
        findings: Vec::new(),
        graph: Graph::default(),
    };
    for (_, pass) in PASSES {
        pass(&mut compilation);
    }
    (compilation.graph, compilation.findings)
}

/// A plan on its way to a graph.
struct Compilation<'a> {
    spec: &'a Spec,
    observed: &'a Observed,
    /// In the order of their waves.
    services: Vec<ServiceMove<'a>>,
    left_out: Vec<LeftOut>,
    findings: Vec<Finding>,
    graph: Graph,
}

/// How a service moves.
struct ServiceMove<'a> {
    plan: ServicePlan<'a>,
    /// What is done, stretch by stretch.
    stretches: Vec<Stretch>,
    /// Why there is no way back behind some of that; empty when there always is one.
    no_return: Vec<String>,
}

/// A part of a move.
enum Stretch {
    /// What is done for each pair by itself: the moments of each with their steps.
    EachPair(Vec<Vec<(Moment, Vec<Planned>)>>),
    /// What is done for all pairs together.
    Together(Vec<Planned>),
}

/// A step with all that the graph needs to know of it, but its place.
struct Planned {
    draft: Draft,
    /// Whether a run must not stop right before it.
    urgent: bool,
    /// How long its pair may be frozen before it is done.
    freeze: Option<Freeze>,
    /// Whether it waits until somebody has said that there may be no way back.
    asked: bool,
}

fn capacity(c: &mut Compilation<'_>) {
    c.findings.extend(rails::check(c.spec, c.observed, &c.graph));
}
