//! The way back of a run: which step is undone next, and what is taken from the hosts in the end.
//!
//! Must never undo a step beside anything that is under way, and never before its intent is on disk.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::dispatch::Engine;
use super::ending::EngineError;
use super::execute::{self, Effect, History};
use super::undo;
use crate::event::{Direction, StepState};
use crate::model::Pair;
use crate::step::{Step, StepKind};

impl Engine {
    /// One step back at a time, and none while anything is under way but what keeps ways back open, as long as that is not undone itself. A
    /// stop ends a whole way back between two of them.
    pub(super) fn begin_undo(&mut self) -> Result<(), EngineError> {
        let going_back = self.state.direction != Direction::Forward;
        if self.is_busy() || (going_back && (self.stopping() || !self.tasks.is_empty())) {
            return Ok(());
        }
        if self.undo.iter().any(|id| self.active.contains(id)) {
            self.context.let_go_of_all();
            return Ok(());
        }
        // What was let go meanwhile may be undone already.
        let is_open = |id: &String| self.state.state_of(id) != Some(StepState::Waiting);
        let next = std::iter::from_fn(|| self.undo.pop()).find(is_open);
        match next.and_then(|id| self.steps.by_id(&id).cloned()) {
            Some(step) => self.undo_step(&step),
            None => Ok(()),
        }
    }

    /// Looks first who would be left, where a target leaves.
    pub(super) fn undo_step(&mut self, step: &Arc<Step>) -> Result<(), EngineError> {
        let history = History::new(&self.state, step);
        if self.state.accepts_gap || history.moved.is_empty() {
            return self.take_back(step);
        }
        let (context, step) = (self.context.for_step(&step.id), Arc::clone(step));
        self.spawn(&step.id.clone(), async move { undo::look(&context, &step, &history).await });
        Ok(())
    }

    /// Intent on disk, then the undo.
    pub(super) fn take_back(&mut self, step: &Arc<Step>) -> Result<(), EngineError> {
        let history = History::new(&self.state, step);
        self.intend(step, true, None)?;
        let (context, step) = (self.context.for_step(&step.id), Arc::clone(step));
        self.spawn(&step.id.clone(), async move { undo::undo(&context, &step, &history).await });
        Ok(())
    }

    /// Once everything is undone, takes from the hosts what the run has put there; whether there is anything to take. It needs no
    /// intent: it can be repeated, and what stays behind does no harm.
    pub(super) fn clean_up_behind(&mut self) -> bool {
        let whole = matches!(self.state.direction, Direction::Back { to: None });
        if !whole || self.cleaned || self.stopping() || !undo::left(&self.state).is_empty() {
            return false;
        }
        self.cleaned = true;
        let begun = self.steps.iter().filter(|s| self.state.step(&s.id).is_some_and(|r| r.attempts > 0));
        let (mut visited, mut probed) = (BTreeSet::<&Arc<Pair>>::new(), BTreeSet::new());
        for step in begun {
            visited.extend(step.pair.as_ref());
            if let StepKind::Probe(probe) = &step.kind {
                probed.extend(&probe.hosts);
            }
        }
        let clean_up = |s: &Step| {
            let StepKind::CleanUp(clean_up) = &s.kind else { return false };
            s.pair.as_ref().is_some_and(|p| visited.contains(p)) || clean_up.hosts.iter().any(|h| probed.contains(h))
        };
        let steps = (0..self.steps.len()).filter_map(|at| self.steps.get(at)).filter(|s| clean_up(s));
        let steps: Vec<Arc<Step>> = steps.cloned().collect();
        for step in steps {
            let (context, history) = (self.context.for_step(&step.id), History::new(&self.state, &step));
            self.spawn(&step.id.clone(), async move {
                match execute::execute(&context, &step, &history).await {
                    Effect::Ended(result) => Effect::Cleared(result),
                    other => other,
                }
            });
        }
        !self.tasks.is_empty()
    }
}
