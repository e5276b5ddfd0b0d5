//! Histories that have come to the same point: what follows is the same, and need not be played twice.

use super::*;

impl Sim {
    /// A number for everything that decides how it goes on; `None` while something is under way.
    pub fn fingerprint(&mut self, script: &Script) -> Option<u64> {
        let may_turn = self.may_turn();
        let state = self.state.as_ref().filter(|_| self.clean && self.looking.is_empty() && self.late.is_empty())?;
        let mut all = DefaultHasher::new();
        for (step, known) in script.graph.steps.iter().zip(&mut self.hashes) {
            let known = known.unwrap_or_else(|| {
                let record = state.step(&step.id);
                let mut hash = DefaultHasher::new();
                (record.state as u8, record.failures, record.in_flight).hash(&mut hash);
                crate::rehearse::tell::hash_debug(&record.before, &mut hash);
                // The lowest bit says that it is under way.
                let under_way = matches!(record.state, StepState::Running | StepState::Undoing);
                *known.insert(hash.finish() & !1 | u64::from(under_way))
            });
            if known & 1 == 1 {
                return None;
            }
            known.hash(&mut all);
        }
        self.model.fingerprint(self.now, &mut all);
        self.reach.hash(&mut all);
        let open = |step: usize| {
            let id = script.graph.steps.get(step).map(|s| s.id.as_str()).unwrap_or_default();
            matches!(state.step(id).state, StepState::Failed | StepState::Unknown)
        };
        self.receipts.fingerprint(open, &mut all);
        (self.turn, may_turn).hash(&mut all);
        crate::rehearse::tell::hash_debug(&state.direction, &mut all);
        self.disk_full.hash(&mut all);
        Some(all.finish())
    }
}
