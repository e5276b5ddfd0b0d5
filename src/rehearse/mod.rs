//! Rehearsal: a plan runs in a simulated world, with every fault at every effect, and every promise is watched over.
//!
//! Owns the simulated world behind the engine's traits and the search through all histories. The engine is the real one, and the plan is the
//! user's own. Contacts nobody. Must never know what a step means to the engine, only what it does to the world.

mod build;
mod copier;
mod director;
mod fault;
mod hosts;
mod invariants;
mod log;
mod model;
mod pool;
mod provider;
mod receipts;
mod replica;
mod report;
mod search;
mod sickness;
mod silence;
mod simulation;
mod simulator;
#[cfg(test)]
mod tests;
mod transcript;
mod world;

pub use fault::Fault;
pub use invariants::Violation;
pub use report::{Finding, Level, Report};

use crate::spec::Spec;
use crate::step::Graph;

/// What is played.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// The most faults in one history.
    pub faults: usize,
    /// The most histories.
    pub limit: u64,
    /// Which are chosen when there are more.
    pub seed: u64,
}

/// How far a rehearsal is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Faults in the histories being played.
    pub faults: usize,
    /// Those played so far.
    pub played: u64,
    /// Of so many.
    pub of: u64,
    /// Kinds of broken promises so far.
    pub broken: usize,
}

/// Why a rehearsal could not begin.
#[derive(Debug, thiserror::Error)]
pub enum RehearseError {
    /// The runtime could not be made.
    #[error("the simulation cannot start: {0}")]
    Runtime(std::io::Error),
}

/// Plays the graph of a plan in every way that the options ask for.
pub fn rehearse(
    spec: &Spec,
    graph: &Graph,
    options: &Options,
    on_progress: &mut dyn FnMut(Progress),
) -> Result<Report, RehearseError> {
    search::search(spec, graph, options, on_progress)
}

/// Runs a plan to its end and takes it back, with these directors in the place of simulated ones. `there` looks at them in between.
#[cfg(test)]
pub(crate) fn there_and_back(
    spec: &Spec,
    graph: &Graph,
    directors: std::collections::BTreeMap<String, std::sync::Arc<dyn crate::traffic::Director>>,
    there: impl FnOnce(),
) {
    simulator::Simulator::new(spec, search::scenario(spec, graph)).unwrap().there_and_back(directors, there);
}
