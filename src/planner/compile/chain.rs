//! Building blocks: steps in a row.

use crate::model::{OnFailure, Pair};
use crate::step::{Step, StepKind};

/// All steps so far.
#[derive(Default)]
pub struct Steps(pub Vec<Step>);

/// Steps that follow each other.
pub struct Chain {
    wave: String,
    service: String,
    pair: Option<Pair>,
    ends: Vec<String>,
    urgent: bool,
    on_failure: OnFailure,
}

impl Chain {
    /// Begins behind `after`.
    pub fn new(wave: &str, service: &str, pair: Option<&Pair>, after: Vec<String>) -> Self {
        Self {
            wave: wave.to_owned(),
            service: service.to_owned(),
            pair: pair.cloned(),
            ends: after,
            urgent: false,
            on_failure: OnFailure::Hold,
        }
    }

    /// What happens when one of its steps fails.
    #[must_use]
    pub fn on_failure(mut self, on_failure: OnFailure) -> Self {
        self.on_failure = on_failure;
        self
    }

    /// Says why there is no way back behind the step that was added last.
    pub fn no_return(steps: &mut Steps, why: String) {
        if let Some(step) = steps.0.last_mut() {
            step.no_return = Some(why);
        }
    }

    /// Adds a step behind the ones before.
    pub fn add(&mut self, steps: &mut Steps, id: &str, kind: StepKind) -> String {
        steps.0.push(Step {
            id: id.to_owned(),
            wave: self.wave.clone(),
            service: self.service.clone(),
            pair: self.pair.clone(),
            kind,
            after: std::mem::take(&mut self.ends),
            urgent: self.urgent,
            on_failure: self.on_failure,
            no_return: None,
        });
        self.ends = vec![id.to_owned()];
        id.to_owned()
    }

    /// What follows waits for these, too.
    pub fn wait_for(&mut self, ids: impl IntoIterator<Item = String>) {
        for id in ids {
            if !self.ends.contains(&id) {
                self.ends.push(id);
            }
        }
    }

    /// Whether a run must not stop before the steps that follow.
    pub fn urgent(&mut self, urgent: bool) {
        self.urgent = urgent;
    }

    /// What the next step would wait for.
    pub fn ends(&self) -> Vec<String> {
        self.ends.clone()
    }
}
