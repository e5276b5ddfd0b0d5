//! Which steps can begin: kept from event to event, so that no event makes the engine look at every step.
//!
//! Owns the order in which steps begin that could begin at the same time: that of the graph. Must never let a step begin before all that it
//! waits for is done.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::event::{RunState, StepState};
use crate::step::{Lane, Purpose, Steps};

/// Steps of one queue can all begin, or none of them can.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Queue {
    lane: Option<Lane>,
    /// They begin even while the run stops.
    urgent: bool,
    /// They take a pair out of service that is still in it.
    leaves: bool,
}

/// What is asked for when a step is to begin.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// Only what must not wait begins.
    pub stopping: bool,
    /// Pairs that may be out of service at once, where an operator has set that.
    pub out_of_service: Option<usize>,
}

/// Steps that can begin as soon as there is room for them.
pub(super) struct Ready {
    steps: Steps,
    /// Of each step, how many of those that it waits for are not done.
    open: Vec<usize>,
    queues: BTreeMap<Queue, BTreeSet<usize>>,
    /// Steps under way in each lane.
    busy: BTreeMap<Lane, usize>,
    service: OutOfService,
}

impl Ready {
    /// Where a run stands.
    pub fn new(state: &RunState) -> Self {
        let steps = state.graph.steps.clone();
        let is_open = |at: &usize| state.at(*at).is_none_or(|r| r.state != StepState::Done);
        let open: Vec<usize> = (0..steps.len()).map(|n| steps.waits_for(n).filter(is_open).count()).collect();
        let service = OutOfService::new(state);
        let mut ready = Self { steps, open, queues: BTreeMap::new(), busy: BTreeMap::new(), service };
        for at in 0..ready.steps.len() {
            ready.offer(state, at);
        }
        ready
    }

    /// The next step to begin, if there is one. It is not offered again before [`Self::offer`].
    pub fn take(&mut self, limits: Limits) -> Option<usize> {
        let slots = limits.out_of_service.is_none_or(|most| self.service.count < most);
        let can_begin = |queue: &Queue| {
            (queue.urgent || !limits.stopping)
                && (slots || !queue.leaves)
                && queue.lane.as_ref().is_none_or(|l| self.busy.get(l).is_none_or(|n| *n < l.limit()))
        };
        let firsts = self.queues.iter().filter(|(queue, _)| can_begin(queue));
        let (at, queue) = firsts.filter_map(|(queue, steps)| Some((*steps.first()?, queue.clone()))).min()?;
        self.remove(&queue, at);
        if queue.leaves {
            self.service.leaves(at);
        }
        Some(at)
    }

    /// A step is under way, or not any more.
    pub fn under_way(&mut self, at: usize, begins: bool) {
        let Some(lane) = self.steps.get(at).and_then(|step| step.kind.lane()) else { return };
        let busy = self.busy.entry(lane).or_default();
        *busy = if begins { *busy + 1 } else { busy.saturating_sub(1) };
    }

    /// Puts a step in its queue, if it is not done and all that it waits for is.
    pub fn offer(&mut self, state: &RunState, at: usize) {
        self.service.recorded(state, at);
        let Some((step, record)) = self.steps.get(at).zip(state.at(at)) else { return };
        if record.state == StepState::Done || self.open.get(at) != Some(&0) {
            return;
        }
        let leaves = self.service.drains(at) && record.state != StepState::Running;
        let queue = Queue { lane: step.kind.lane(), urgent: step.urgent, leaves };
        self.queues.entry(queue).or_default().insert(at);
    }

    /// A record was taken in that is about a step which was done before, or not. The steps that can begin now, though not all of them may.
    pub fn recorded(&mut self, state: &RunState, at: usize, was_done: bool) -> Vec<usize> {
        self.service.recorded(state, at);
        let is_done = state.at(at).is_some_and(|r| r.state == StepState::Done);
        if was_done == is_done {
            return Vec::new();
        }
        let steps = self.steps.clone();
        let mut free = Vec::new();
        for follower in steps.followers(at) {
            let Some(open) = self.open.get_mut(*follower) else { continue };
            *open = if is_done { open.saturating_sub(1) } else { *open + 1 };
            match (is_done, *open) {
                (true, 0) => free.push(*follower),
                (false, 1) => self.withdraw(*follower),
                _ => {}
            }
        }
        free
    }

    /// Takes a step out of its queue.
    pub fn withdraw(&mut self, at: usize) {
        let queues: Vec<Queue> = self.queues.iter().filter(|(_, s)| s.contains(&at)).map(|(q, _)| q.clone()).collect();
        queues.iter().for_each(|queue| self.remove(queue, at));
    }

    fn remove(&mut self, queue: &Queue, at: usize) {
        if let Some(steps) = self.queues.get_mut(queue) {
            steps.remove(&at);
            if steps.is_empty() {
                self.queues.remove(queue);
            }
        }
    }
}

/// Pairs that have left service and have not come back on their target.
struct OutOfService {
    /// The drain and the last shift of each pair that has both.
    pairs: Vec<(usize, usize)>,
    /// Which pair a step is the drain or the last shift of.
    of: HashMap<usize, usize>,
    is_out: Vec<bool>,
    count: usize,
}

impl OutOfService {
    fn new(state: &RunState) -> Self {
        let mut full = BTreeMap::new();
        let mut drains = Vec::new();
        for (at, step) in state.graph.steps.iter().enumerate() {
            let (Some(purpose), Some(pair)) = (step.kind.purpose(), &step.pair) else { continue };
            match purpose {
                Purpose::Shift(100) => drop(full.insert((&step.service, pair), at)),
                Purpose::Drain => drains.push(((&step.service, pair), at)),
                Purpose::Scale | Purpose::Shift(_) | Purpose::Retire => {}
            }
        }
        // Where all pairs of a service come back together, they have done so before the first of them is drained.
        let pairs: Vec<(usize, usize)> =
            drains.into_iter().filter_map(|(pair, drain)| Some((drain, *full.get(&pair)?))).collect();
        let of = pairs.iter().zip(0..).flat_map(|((drain, full), n)| [(*drain, n), (*full, n)]).collect();
        let mut service = Self { is_out: vec![false; pairs.len()], pairs, of, count: 0 };
        for n in 0..service.pairs.len() {
            service.look(state, n);
        }
        service
    }

    fn drains(&self, at: usize) -> bool {
        self.of.get(&at).and_then(|n| self.pairs.get(*n)).is_some_and(|(drain, _)| *drain == at)
    }

    fn recorded(&mut self, state: &RunState, at: usize) {
        if let Some(n) = self.of.get(&at) {
            self.look(state, *n);
        }
    }

    fn look(&mut self, state: &RunState, n: usize) {
        let (Some((drain, full)), Some(is_out)) = (self.pairs.get(n), self.is_out.get_mut(n)) else { return };
        let is = |at: usize, wanted: StepState| state.at(at).is_some_and(|r| r.state == wanted);
        let out = !is(*drain, StepState::Waiting) && !is(*full, StepState::Done);
        self.count = self.count - usize::from(std::mem::replace(is_out, out)) + usize::from(out);
    }

    /// A drain is about to begin.
    fn leaves(&mut self, drain: usize) {
        if let Some(is_out) = self.of.get(&drain).and_then(|n| self.is_out.get_mut(*n)) {
            self.count += usize::from(!std::mem::replace(is_out, true));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use jiff::Timestamp;

    use super::*;
    use crate::event::{Blob, Event, Operator, Record, Setting, Started, StepResult};
    use crate::model::{OnFailure, Pair};
    use crate::step::{Graph, Step, StepKind, TrafficStep, WayBack};

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
                on_drift: Default::default(),
                was_writer: false,
            }),
            after: Vec::new(),
            urgent: false,
            on_failure: OnFailure::Hold,
            no_return: None,
            opens: Vec::new(),
            beside: None,
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

    /// What can begin while at most one pair is out of service, beside what is under way.
    fn begins(state: &RunState) -> Vec<String> {
        let mut ready = Ready::new(state);
        let limits = Limits { stopping: false, out_of_service: state.tuning.max_unavailable };
        let taken = std::iter::from_fn(|| ready.take(limits));
        taken.filter_map(|at| state.graph.steps.get(at)).map(|s| s.id.clone()).collect()
    }

    #[test]
    fn a_pair_leaves_service_when_the_one_before_it_is_back_on_its_target() {
        let at_start = begins(&run(&[]));
        assert!(at_start.contains(&"web/a/drain".into()) && !at_start.contains(&"web/b/drain".into()), "{at_start:?}");
        assert!(!begins(&run(&["web/a/drain"])).contains(&"web/b/drain".into()));
        assert!(begins(&run(&["web/a/drain", "web/a/shift-100"])).contains(&"web/b/drain".into()));
    }

    #[test]
    fn a_source_that_has_left_service_is_retired_without_a_slot() {
        assert!(begins(&run(&["web/a/drain", "web/a/shift-100", "web/b/drain"])).contains(&"web/a/retire".into()));
    }
}
