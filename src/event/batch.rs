//! Where the batches of a wave stand, by a run's journal.

use serde::Serialize;

use super::{RunState, StepState};
use crate::step::{BatchStep, Step, StepKind};
use crate::text;

/// The batch whose pairs move now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct BatchUnderWay {
    /// The wave.
    pub wave: String,
    /// Which of its batches, from 1.
    pub number: usize,
    /// How many there are.
    pub of: usize,
    /// Pairs of it, and how many of them have moved; `None` of the last batch, which the end of the wave waits for.
    pub pairs: Option<(usize, usize)>,
}

impl BatchUnderWay {
    /// Of the first wave that is not done; `None` where that has no batches.
    pub fn of(state: &RunState) -> Option<Self> {
        let done = |step: &Step| state.state_of(&step.id) == Some(StepState::Done);
        let wave = &state.graph.steps.iter().find(|step| !done(step))?.wave;
        let mut last = None;
        for step in state.graph.steps.iter().filter(|step| step.wave == *wave) {
            let StepKind::Batch(BatchStep { number, of, pairs }) = &step.kind else { continue };
            let (wave, of) = (wave.to_string(), *of);
            if done(step) {
                last = Some(Self { wave, number: number + 1, of, pairs: None });
                continue;
            }
            let left = state.not_moved(step).len();
            return Some(Self { wave, number: *number, of, pairs: Some((*pairs, pairs.saturating_sub(left))) });
        }
        last
    }
}

impl std::fmt::Display for BatchUnderWay {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { wave, number, of, pairs } = self;
        write!(f, "batch {number} of {of} of wave {wave}")?;
        let Some((pairs, moved)) = pairs else { return Ok(()) };
        let (moved, pairs) = (text::grouped(*moved as u64), text::count(*pairs as u64, "pair"));
        write!(f, ": {moved} of {pairs} moved; the next begins when all have")
    }
}

impl RunState {
    /// Pairs whose end a step waits for, by their sources.
    pub fn not_moved(&self, step: &Step) -> Vec<&str> {
        let open = step.after.iter().filter(|id| self.state_of(id) != Some(StepState::Done));
        let mut pairs: Vec<&str> = open.filter_map(|id| Some(&*self.graph.step(id)?.pair.as_ref()?.source)).collect();
        pairs.sort_unstable();
        pairs.dedup();
        pairs
    }

    /// Why a step must not begin yet, if anything is open that it waits for. Of a batch so many pairs may be left as may fail.
    pub(super) fn too_early(&self, step: &Step) -> Option<String> {
        let open = step.after.iter().find(|id| self.state_of(id) != Some(StepState::Done))?;
        let may_fail = self.graph.budgets.waves.get(&*step.wave).copied().unwrap_or(0);
        if matches!(step.kind, StepKind::Batch(_)) && self.not_moved(step).len() <= may_fail {
            return None;
        }
        Some(format!("{} begins before {open} is done", step.id))
    }
}
