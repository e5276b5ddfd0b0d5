//! Room for one more: what may be under way at the same time.

use super::dispatch::Engine;
use crate::event::StepState;
use crate::step::{CopyPhase, Step, StepKind};

/// Trees that are seeded at the same time: more only share the same links and disks.
const PARALLEL_SEEDS: usize = 4;

impl Engine {
    /// Whether one more pair may leave service, where an operator has set fewer than the plan allows.
    pub(super) fn has_slot(&self, step: &Step) -> bool {
        let (Some(most), StepKind::Traffic { share: None, .. }) = (self.state.tuning.max_unavailable, &step.kind)
        else {
            return true;
        };
        let out = self.steps.values().filter(|s| matches!(s.kind, StepKind::Empty { .. }) && self.is_out(s)).count();
        out < most || matches!(self.state.step(&step.id).state, StepState::Running)
    }

    /// Whether the pair of this drain has left service and not come back on its target.
    fn is_out(&self, drained: &Step) -> bool {
        let StepKind::Empty { drained_by, .. } = &drained.kind else { return false };
        let back = self.steps.values().any(|s| {
            let full = matches!(s.kind, StepKind::Traffic { share: Some(100), .. });
            full && s.pair == drained.pair
                && s.service == drained.service
                && self.state.step(&s.id).state == StepState::Done
        });
        drained.pair.is_some() && !back && self.state.step(drained_by).state != StepState::Waiting
    }

    /// Some steps do not go well beside others: seeds share links and disks, and what one write to a director reads before it
    /// writes must not be changed by another one in between.
    pub(super) fn has_room(&self, id: &str) -> bool {
        let lane = |id: &str| self.steps.get(id).and_then(|s| lane(&s.kind));
        let Some((name, limit)) = lane(id) else { return true };
        self.active.iter().filter(|a| lane(a).is_some_and(|(other, _)| other == name)).count() < limit
    }
}

/// What a step shares with others, and how many of them may be under way.
fn lane(kind: &StepKind) -> Option<(&str, usize)> {
    match kind {
        StepKind::Copy(tree) if tree.phase == CopyPhase::Seed => Some(("", PARALLEL_SEEDS)),
        StepKind::Traffic { director, .. }
        | StepKind::LowerTtl { director, .. }
        | StepKind::RestoreTtl { director, .. } => Some((director, 1)),
        _ => None,
    }
}
