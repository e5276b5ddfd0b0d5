//! Which steps can begin: kept from event to event, so that no event makes the engine look at every step.
//!
//! Owns the order in which steps begin that could begin at the same time: that of the graph. Must never let a step begin before all that it
//! waits for is done.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::streams::Streams;
use crate::event::{RunState, StepState};
use crate::model::Portion;
use crate::step::{Lane, StepKind, Steps};

/// Steps of one queue can all begin, or none of them can.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Queue {
    lane: Option<Lane>,
    /// Limits of streams that hold for them; none where they begin whatever is under way.
    streams: Vec<usize>,
    /// They begin even while the run stops.
    urgent: bool,
    /// They take a pair of this wave out of service that is still in it.
    leaves: Option<Arc<str>>,
}

/// What is asked for when a step is to begin.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// Only what must not wait begins.
    pub stopping: bool,
    /// Pairs that may be out of service at once, where an operator has set that.
    pub out_of_service: Option<Portion>,
}

/// Steps that can begin as soon as there is room for them.
pub(super) struct Ready {
    steps: Steps,
    /// Of each step, how many of those that it waits for are not done.
    open: Vec<usize>,
    queues: BTreeMap<Queue, BTreeSet<usize>>,
    /// Steps under way in each lane.
    busy: BTreeMap<Lane, usize>,
    streams: Streams,
    service: OutOfService,
    /// Ends of batches, each with what it does not wait for any more.
    excused: BTreeSet<(usize, usize)>,
    /// Pairs of each wave.
    pairs: BTreeMap<Arc<str>, usize>,
}

impl Ready {
    /// Where a run stands.
    pub fn new(state: &RunState) -> Self {
        let steps = state.graph.steps.clone();
        let is_open = |at: &usize| state.at(*at).is_none_or(|r| r.state != StepState::Done);
        let open: Vec<usize> = (0..steps.len()).map(|n| steps.waits_for(n).filter(is_open).count()).collect();
        let service = OutOfService::new(state);
        let pairs = state.graph.pairs.clone();
        let (queues, busy, excused) = Default::default();
        let streams = Streams::new(&state.graph);
        let mut ready = Self { steps, open, queues, busy, streams, service, excused, pairs };
        for at in 0..ready.steps.len() {
            ready.queue(state, at);
        }
        ready
    }

    /// The next step to begin, if there is one. It is not offered again before [`Self::offer`].
    pub fn take(&mut self, limits: Limits) -> Option<usize> {
        let pairs = |wave: &Arc<str>| self.pairs.get(wave).copied().unwrap_or(0);
        let has_slot = |wave: &Arc<str>| limits.out_of_service.is_none_or(|m| self.service.count < m.of(pairs(wave)));
        let can_begin = |queue: &Queue| {
            (queue.urgent || !limits.stopping)
                && queue.leaves.as_ref().is_none_or(has_slot)
                && queue.lane.as_ref().is_none_or(|lane| self.has_room_in(lane))
                && self.streams.has_room(&queue.streams)
        };
        let firsts = self.queues.iter().filter(|(queue, _)| can_begin(queue));
        let first = firsts.filter_map(|(queue, steps)| Some((*steps.first()?, queue))).min_by_key(|(at, _)| *at);
        let (at, queue) = first.map(|(at, queue)| (at, queue.clone()))?;
        self.remove(&queue, at);
        if queue.leaves.is_some() {
            self.service.leaves(at);
        }
        Some(at)
    }

    /// Whether there is room in the lane of a step.
    pub fn has_room(&self, at: usize) -> bool {
        let lane = self.steps.get(at).and_then(|step| step.kind.lane());
        lane.is_none_or(|lane| self.has_room_in(&lane))
    }

    fn has_room_in(&self, lane: &Lane) -> bool {
        self.busy.get(lane).is_none_or(|n| *n < self.streams.room_in(lane))
    }

    /// A step is under way, or not any more.
    pub fn under_way(&mut self, at: usize, begins: bool) {
        let Some(step) = self.steps.get(at) else { return };
        self.streams.under_way(step, begins);
        let Some(lane) = step.kind.lane() else { return };
        let busy = self.busy.entry(lane).or_default();
        *busy = if begins { *busy + 1 } else { busy.saturating_sub(1) };
    }

    /// Puts a step in its queue, if it is not done and all that it waits for is.
    pub fn offer(&mut self, state: &RunState, at: usize) {
        self.service.recorded(state, at);
        self.queue(state, at);
    }

    fn queue(&mut self, state: &RunState, at: usize) {
        let Some((step, record)) = self.steps.get(at).zip(state.at(at)) else { return };
        if record.state == StepState::Done || self.open.get(at) != Some(&0) {
            return;
        }
        let leaves = self.service.drains(at) && record.state != StepState::Running;
        let leaves = leaves.then(|| Arc::clone(&step.wave));
        let streams = if step.urgent { Vec::new() } else { self.streams.of(step) };
        let queue = Queue { lane: step.kind.lane(), streams, urgent: step.urgent, leaves };
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
            if is_done && self.excused.remove(&(*follower, at)) {
                continue;
            }
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

    /// A step has failed while other pairs may go on: no batch waits for its pair. The batches that can end now.
    pub fn excuse(&mut self, state: &RunState, failed: usize) -> Vec<usize> {
        let steps = self.steps.clone();
        let Some(step) = steps.get(failed) else { return Vec::new() };
        let same = |at: &usize| steps.get(*at).is_some_and(|s| s.service == step.service && s.pair == step.pair);
        let batch = |at: &usize| steps.get(*at).is_some_and(|s| matches!(s.kind, StepKind::Batch(_)));
        let (mut reached, mut open, mut free) = (BTreeSet::from([failed]), vec![failed], Vec::new());
        while let Some(at) = open.pop() {
            open.extend(steps.followers(at).iter().copied().filter(same).filter(|later| reached.insert(*later)));
            if state.at(at).is_some_and(|r| r.state == StepState::Done) {
                continue;
            }
            for end in steps.followers(at).iter().copied().filter(batch) {
                let Some(left) = self.open.get_mut(end).filter(|_| self.excused.insert((end, at))) else { continue };
                *left = left.saturating_sub(1);
                free.extend((*left == 0).then_some(end));
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
    steps: Steps,
    is_out: Vec<bool>,
    count: usize,
}

impl OutOfService {
    fn new(state: &RunState) -> Self {
        let steps = state.graph.steps.clone();
        let pairs = steps.leaving().pairs().len();
        let mut service = Self { is_out: vec![false; pairs], steps, count: 0 };
        for n in 0..pairs {
            service.look(state, n);
        }
        service
    }

    fn drains(&self, at: usize) -> bool {
        let leaving = self.steps.leaving();
        leaving.pair_of(at).and_then(|n| leaving.pairs().get(n)).is_some_and(|(drain, _)| *drain == at)
    }

    fn recorded(&mut self, state: &RunState, at: usize) {
        if let Some(n) = self.steps.leaving().pair_of(at) {
            self.look(state, n);
        }
    }

    fn look(&mut self, state: &RunState, n: usize) {
        let pair = self.steps.leaving().pairs().get(n);
        let (Some((drain, full)), Some(is_out)) = (pair, self.is_out.get_mut(n)) else { return };
        let is = |at: usize, wanted: StepState| state.at(at).is_some_and(|r| r.state == wanted);
        let out = !is(*drain, StepState::Waiting) && !is(*full, StepState::Done);
        self.count = self.count - usize::from(std::mem::replace(is_out, out)) + usize::from(out);
    }

    /// A drain is about to begin.
    fn leaves(&mut self, drain: usize) {
        if let Some(is_out) = self.steps.leaving().pair_of(drain).and_then(|n| self.is_out.get_mut(n)) {
            self.count += usize::from(!std::mem::replace(is_out, true));
        }
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::event::{Blob, Event, Operator, Record, Setting, Started, StepResult};
    use crate::model::{OnFailure, Pair};
    use crate::step::{Graph, Purpose, Step, StepKind, TrafficStep, WayBack};

    fn step(pair: &str, name: &str, purpose: Purpose) -> Step {
        let (director, pool) = ("edge".into(), "web".into());
        Step {
            id: format!("web/{pair}/{name}"),
            wave: "w".into(),
            service: "web".into(),
            pair: Some(Pair { source: pair.into(), target: format!("new-{pair}") }.into()),
            kind: StepKind::Traffic(TrafficStep {
                director,
                pool,
                changes: Vec::new(),
                purpose,
                back: WayBack::default(),
                on_drift: Default::default(),
                was_writer: false,
                targets_get: None,
                over_all: None,
            }),
            after: Vec::new(),
            urgent: false,
            on_failure: OnFailure::Hold,
            no_return: None,
            opens: Vec::new(),
            freeze: None,
            beside: None,
        }
    }

    const DRAIN: (&str, Purpose) = ("drain", Purpose::Drain);
    const SHIFT: (&str, Purpose) = ("shift-100", Purpose::Shift(100));
    const RETIRE: (&str, Purpose) = ("retire", Purpose::Retire);

    fn run(done: &[&str]) -> RunState {
        run_of(&[DRAIN, SHIFT, RETIRE], done)
    }

    fn run_of(purposes: &[(&str, Purpose)], done: &[&str]) -> RunState {
        limited(Portion::Pairs(1), 2, purposes, done)
    }

    /// A run with at most so many of so many pairs of its wave out of service.
    fn limited(most: Portion, pairs: usize, purposes: &[(&str, Purpose)], done: &[&str]) -> RunState {
        let by = || Operator { user: "ada".into(), host: "desk".into(), pid: 7 };
        let steps =
            ["a", "b"].iter().flat_map(|pair| purposes.iter().map(|(name, purpose)| step(pair, name, *purpose)));
        let plan = Graph { steps: steps.collect(), pairs: [("w".into(), pairs)].into(), ..Graph::default() };
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
            Event::Tuned { setting: Setting::MaxUnavailable(most), by: by() },
        ];
        for id in done {
            let (step, attempt, undo) = ((*id).to_owned(), 1, false);
            let result = StepResult::Done { evidence: "done".into(), millis: 0, figures: None };
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
    fn a_percentage_is_of_the_pairs_of_the_wave() {
        let drains = |percent, pairs| {
            let begins = begins(&limited(Portion::Percent(percent), pairs, &[DRAIN, SHIFT], &[]));
            begins.iter().filter(|id| id.ends_with("/drain")).count()
        };
        assert_eq!((drains(100, 2), drains(99, 2), drains(1, 2)), (2, 1, 1));
        assert_eq!((drains(10, 20), drains(10, 19)), (2, 1), "pairs that have moved before count");
    }

    #[test]
    fn a_source_of_a_ramp_leaves_when_the_one_before_it_is_retired() {
        let after = |done: &[&str]| begins(&run_of(&[DRAIN, RETIRE], done));
        let at_start = after(&[]);
        assert!(at_start.contains(&"web/a/drain".into()) && !at_start.contains(&"web/b/drain".into()), "{at_start:?}");
        assert!(!after(&["web/a/drain"]).contains(&"web/b/drain".into()));
        assert!(after(&["web/a/drain", "web/a/retire"]).contains(&"web/b/drain".into()));
    }

    #[test]
    fn a_source_that_has_left_service_is_retired_without_a_slot() {
        assert!(begins(&run(&["web/a/drain", "web/a/shift-100", "web/b/drain"])).contains(&"web/a/retire".into()));
    }
}
