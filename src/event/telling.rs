//! What of a run people are told about who do not watch it.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::{Event, Notice, RunState, StepResult};
use crate::model::{Message, Occasion, Until};
use crate::step::{DecommissionAct, Graph, LeftOut, StepKind};

/// Finds the messages in what happens.
pub struct Teller {
    run: String,
    plan: String,
    graph: Arc<Graph>,
    /// Steps that wait for somebody, of which that has been told.
    asked: BTreeSet<String>,
}

impl Teller {
    /// For a run as it begins or is taken up.
    pub fn new(state: &RunState) -> Self {
        let (run, plan) = (state.started.run.clone(), state.started.plan.clone());
        Self { run, plan, graph: Arc::clone(&state.graph), asked: BTreeSet::new() }
    }

    /// What there is to tell of a notice, if anything is.
    pub fn message(&mut self, notice: &Notice) -> Option<Message> {
        match notice {
            Notice::Recorded(record) => self.of(&record.event),
            Notice::Waiting { step, what } if self.asks(step) && self.asked.insert(step.clone()) => {
                let next = Some(format!("migrate explain {}", self.run));
                Some(self.about(Occasion::Gate, Some(step), what.clone(), next))
            }
            Notice::Waiting { .. }
            | Notice::Copying { .. }
            | Notice::LettingGo { .. }
            | Notice::Paced { .. }
            | Notice::Warning { .. } => None,
        }
    }

    fn of(&mut self, event: &Event) -> Option<Message> {
        let said = |what: &str| what.to_owned();
        match event {
            Event::Held { step, why, hint, .. } => {
                Some(self.about(Occasion::Hold, step.as_deref(), why.clone(), hint.clone()))
            }
            Event::Finished => {
                let left_out = &self.graph.left_out;
                let next = (!left_out.is_empty()).then(|| format!("migrate status {}", self.run));
                Some(self.about(Occasion::End, None, format!("is done{}", LeftOut::without(left_out)), next))
            }
            Event::RolledBack => Some(self.about(Occasion::End, None, said("has gone back to the start"), None)),
            Event::Outcome { step, undo, result, .. } => {
                self.asked.remove(step);
                let of = if *undo { "its way back " } else { "" };
                match result {
                    StepResult::Done { .. } => None,
                    StepResult::Failed { why, hint } => {
                        let what = format!("{of}has failed: {why}");
                        Some(self.about(Occasion::Failure, Some(step), what, hint.clone()))
                    }
                    StepResult::Unknown { why, hint } => {
                        let what = format!("{of}has an end that nobody knows: {why}");
                        Some(self.about(Occasion::Failure, Some(step), what, hint.clone()))
                    }
                }
            }
            _ => None,
        }
    }

    /// Whether a step waits for somebody or something outside.
    fn asks(&self, step: &str) -> bool {
        match self.graph.step(step).map(|step| &step.kind) {
            Some(StepKind::Gate(_)) => true,
            Some(StepKind::Commit(commit)) => commit.until == Until::Commit,
            Some(StepKind::Decommission(back)) => back.act == DecommissionAct::Ask,
            _ => false,
        }
    }

    fn about(&self, occasion: Occasion, step: Option<&str>, what: String, next: Option<String>) -> Message {
        let step = step.map(str::to_owned);
        Message { run: self.run.clone(), plan: self.plan.clone(), occasion, step, what, next }
    }
}
