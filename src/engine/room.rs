//! What may be under way at the same time.

use super::dispatch::Engine;
use crate::event::{RunState, StepState};
use crate::step::{Purpose, Step, StepKind};

impl Engine {
    /// Some steps do not go well beside others.
    pub(super) fn has_room(&self, id: &str) -> bool {
        let lane = |id: &str| self.steps.get(id).and_then(|s| s.kind.lane());
        let Some(shared) = lane(id) else { return true };
        self.active.iter().filter(|a| lane(a) == Some(shared)).count() < shared.limit()
    }
}

/// Whether one more pair may leave service, where an operator has set fewer than the plan allows. Any other step needs no slot.
pub(super) fn has_slot(state: &RunState, step: &Step) -> bool {
    let Some(most) = state.tuning.max_unavailable.filter(|_| drains(step)) else { return true };
    let out = state.plan().values().filter(|s| drains(s) && is_out(state, s)).count();
    out < most || state.step(&step.id).state == StepState::Running
}

/// Whether the pair of this drain has left service and not come back on its target.
fn is_out(state: &RunState, drain: &Step) -> bool {
    let back = state.plan().values().any(|s| {
        let full = matches!(&s.kind, StepKind::Traffic(traffic) if traffic.purpose == Purpose::Shift(100));
        full && s.service == drain.service
            && (s.pair.is_none() || s.pair == drain.pair)
            && state.step(&s.id).state == StepState::Done
    });
    drain.pair.is_some() && !back && state.step(&drain.id).state != StepState::Waiting
}

fn drains(step: &Step) -> bool {
    matches!(&step.kind, StepKind::Traffic(traffic) if traffic.purpose == Purpose::Drain)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use jiff::Timestamp;

    use super::*;
    use crate::event::{Blob, Event, Operator, Record, Setting, Started, StepResult};
    use crate::model::{OnFailure, Pair};
    use crate::step::{Graph, TrafficStep, WayBack};

    fn step(pair: &str, name: &str, purpose: Purpose) -> Step {
        let (director, pool) = ("edge".into(), "web".into());
        Step {
            id: format!("web/{pair}/{name}"),
            wave: "w".into(),
            service: "web".into(),
            pair: Some(Pair { source: pair.into(), target: format!("new-{pair}") }),
            kind: StepKind::Traffic(TrafficStep {
                director,
                pool,
                changes: Vec::new(),
                purpose,
                back: WayBack::default(),
            }),
            after: Vec::new(),
            urgent: false,
            on_failure: OnFailure::Hold,
            no_return: None,
        }
    }

    fn run(done: &[&str]) -> RunState {
        let by = || Operator { user: "ada".into(), host: "desk".into(), pid: 7 };
        let purposes = [("drain", Purpose::Drain), ("shift-100", Purpose::Shift(100)), ("retire", Purpose::Retire)];
        let steps = ["a", "b"].iter().flat_map(|pair| purposes.map(|(name, purpose)| step(pair, name, purpose)));
        let plan = Graph { steps: steps.collect(), ..Graph::default() };
        let mut events = vec![
            Event::Started(Box::new(Started {
                run: "web-1".into(),
                plan: "web".into(),
                inputs: Vec::new(),
                texts: Vec::new(),
                graph: Blob::default(),
                steps: plan.steps.len(),
                by: by(),
                version: "0".into(),
            })),
            Event::Tuned { setting: Setting::MaxUnavailable(1), by: by() },
        ];
        for id in done {
            let (step, attempt, undo) = ((*id).to_owned(), 1, false);
            let result = StepResult::Done { evidence: "done".into(), millis: 0 };
            events.push(Event::Intent { step: step.clone(), attempt, undo, before: None });
            events.push(Event::Outcome { step, attempt, undo, result });
        }
        let records = (0..).zip(events).map(|(seq, event)| Record { seq, at: Timestamp::UNIX_EPOCH, event });
        RunState::fold(records, Arc::new(plan)).unwrap()
    }

    fn free(state: &RunState, id: &str) -> bool {
        has_slot(state, &state.plan()[id])
    }

    #[test]
    fn a_pair_leaves_service_when_the_one_before_it_is_back_on_its_target() {
        assert!(free(&run(&[]), "web/a/drain"));
        assert!(!free(&run(&["web/a/drain"]), "web/b/drain"));
        assert!(free(&run(&["web/a/drain", "web/a/shift-100"]), "web/b/drain"));
    }

    #[test]
    fn a_source_that_has_left_service_is_retired_without_a_slot() {
        assert!(free(&run(&["web/a/drain", "web/a/shift-100", "web/b/drain"]), "web/a/retire"));
    }
}
