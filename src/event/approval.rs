//! Who may say yes to which step, and when.
//!
//! Must never count one user twice, nor take a yes to what has not been seen yet.

use super::fold::no_step;
use super::status::{Approval, Direction, StepState};
use super::{Operator, RunState};
use crate::step::{DecommissionAct, StepKind};

impl RunState {
    /// Why nobody, or not this user, can say yes to a step.
    pub fn check_approval(&self, step: &str, by: &Operator) -> Result<(), String> {
        match self.graph.step(step).map(|s| &s.kind) {
            Some(StepKind::Gate(_)) => {}
            Some(StepKind::Stragglers(_)) if self.state_of(step) != Some(StepState::Done) => {}
            Some(StepKind::Commit(_)) => self.check_commit(step)?,
            Some(StepKind::Decommission(back)) if back.act == DecommissionAct::Ask => self.check_evidence(step)?,
            Some(_) => return Err(format!("{step} is not a gate")),
            None => return Err(no_step(step)),
        }
        match self.approvals.get(step).into_iter().flatten().any(|a| a.by.user == by.user) {
            true => Err(format!("{} has approved {step} already", by.user)),
            false => Ok(()),
        }
    }

    /// A way back can be given up once its pair has moved, and before it has ended.
    fn check_commit(&self, step: &str) -> Result<(), String> {
        let waits = self.graph.step(step).into_iter().flat_map(|s| &s.after);
        if self.direction != Direction::Forward {
            return Err("the run goes back".to_owned());
        }
        if self.state_of(step) == Some(StepState::Done) {
            return Err(format!("{step}: the way back has ended already"));
        }
        match waits.into_iter().find(|id| self.state_of(id) != Some(StepState::Done)) {
            Some(id) => Err(format!("{step}: the pair has not moved yet: {id} is not done")),
            None => Ok(()),
        }
    }

    /// A host is given back once it has been seen that nobody needs it, and not on credit.
    fn check_evidence(&self, step: &str) -> Result<(), String> {
        let waits = self.graph.step(step).into_iter().flat_map(|s| &s.after);
        match waits.into_iter().find(|id| self.state_of(id) != Some(StepState::Done)) {
            Some(id) => Err(format!("{step}: it has not been seen yet that nobody needs the host: {id} is not done")),
            None if self.state_of(step) == Some(StepState::Done) => Err(format!("{step} has been said already")),
            None => Ok(()),
        }
    }

    /// Takes in that somebody says yes.
    pub(super) fn approve(&mut self, step: String, by: Operator, why: String) -> Result<(), String> {
        self.check_approval(&step, &by)?;
        self.approvals.entry(step).or_default().push(Approval { by, why });
        Ok(())
    }
}
