//! Steps find their places: which waits for which.
//!
//! Owns what pairs share: slots to be out of service, a TTL that is lowered for all of them, the order of waves.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use super::batches::Batches;
use super::confirm::{self, LastLook};
use super::places::PlaceSlots;
use super::service::{self, ServicePlan};
use super::{Compilation, Planned, ServiceMove, Stretch, persist, traffic};
use crate::check::{PoolRef, SubjectName};
use crate::gate::Gate;
use crate::model::HookPoint;
use crate::spec::Wave;
use crate::step::{Budgets, Draft, GateStep, Graph, Moment, ProbeStep, Step, StepKind, WatchStep};
use crate::text::natural_cmp;

/// A wave that more steps than this end has an end of its own.
const MANY: usize = 16;

/// Lays out all steps, wave by wave.
pub fn lay_out(c: &mut Compilation<'_>) {
    let plan = &c.spec.plan;
    let mut services = std::mem::take(&mut c.services).into_iter().peekable();
    let mut steps = Vec::new();
    let mut before: Vec<String> = Vec::new();
    let mut pools: BTreeSet<PoolRef> = BTreeSet::new();
    let mut looks = Vec::new();
    for (wave, n) in plan.waves.iter().zip(1..) {
        let mut shared = Shared {
            slots: Slots::new(wave.max_unavailable),
            places: PlaceSlots::new(c.spec),
            batches: Batches::new(wave, c.spec),
        };
        let mut done = Vec::new();
        let mut own = Vec::new();
        while let Some(service) = services.next_if(|s| s.plan.wave.name == wave.name) {
            pools.extend(traffic::pools(&service.plan));
            own.push(service);
        }
        let of_wave: Vec<LastLook> = own.iter().filter_map(|s| LastLook::of(&s.plan, &c.left_out)).collect();
        let last = n == plan.waves.len();
        let ready = begin_wave(&mut steps, wave, &own, &before);
        for service in own {
            done.extend(lay_out_service(service, &mut steps, &ready, &mut shared));
        }
        // A wave in which nothing is left to do hands on what it was to wait for.
        if !done.is_empty() {
            let seen = if last { done } else { confirm::look(&mut steps, &of_wave, "look", done) };
            before = end_wave(&mut steps, wave, seen, &pools, last);
        }
        looks.extend(of_wave);
    }
    let seen = confirm::look(&mut steps, &looks, "last-look", before);
    let end = confirm::at_the_end(&seen, &steps, pools);
    steps.extend(end.map(Arc::new));
    let waves = plan.waves.iter().map(|w| (w.name.to_string(), w.failure_budget)).collect();
    let budgets = Budgets { waves, all: plan.failure_budget };
    let pairs = plan.waves.iter().map(|w| (Arc::clone(&w.name), w.pairs)).collect();
    c.graph = Graph {
        steps: steps.into(),
        budgets,
        total_bandwidth: plan.total_bandwidth,
        limits: plan.limits.clone(),
        left_out: std::mem::take(&mut c.left_out),
        pairs,
    };
}

/// What the pairs of a wave share.
struct Shared<'a> {
    slots: Slots<'a>,
    places: PlaceSlots,
    batches: Batches<'a>,
}

/// Lays out the steps of a service behind `before`; returns those that end it.
fn lay_out_service<'a>(
    service: ServiceMove<'a>,
    steps: &mut Vec<Arc<Step>>,
    before: &[String],
    wave: &mut Shared<'a>,
) -> Vec<String> {
    let ServiceMove { plan, stretches, no_return } = service;
    let begin = plan.pairs.first().map(|pair| wave.batches.next(steps, &pair.pair.source)).unwrap_or_default();
    let before = if begin.is_empty() { before } else { begin.as_slice() };
    let question = ask(&plan, no_return, steps, before);
    let ttls = traffic::ttls(&plan);
    let mut shared = Chain::new(&plan, None, before.to_vec());
    ttls.iter().flat_map(|ttl| ttl.lower.clone()).for_each(|draft| shared.add(steps, draft.into(), None));
    let kept = persist::steps(&plan, &stretches);
    let mut ends = before.to_vec();
    for stretch in stretches {
        ends = match stretch {
            Stretch::Together(planned) => {
                let mut chain = Chain::new(&plan, None, shared.ends.clone());
                chain.wait_for(ends);
                planned.into_iter().for_each(|step| chain.add(steps, step, question.as_deref()));
                chain.ends
            }
            Stretch::EachPair(pairs) => {
                let mut pair_ends = Vec::new();
                for (n, moments) in pairs.into_iter().enumerate() {
                    let mut chain = Chain::new(&plan, Some(n), ends.clone());
                    let pair = plan.pairs.get(n).map(|pair| &**pair.pair);
                    chain.wait_for(pair.map(|pair| wave.batches.next(steps, &pair.source)).unwrap_or_default());
                    let mut way_back = WayBackOf::new(&mut chain, &moments);
                    let mut before_it = Vec::new();
                    for (moment, planned) in moments {
                        if moment == Moment::Turn {
                            let slot = wave.slots.next();
                            chain.wait_for(slot.ends);
                            chain.wait_for(pair.map(|pair| wave.places.next(pair)).unwrap_or_default());
                            before_it = plan.moved_before_it(slot.moved);
                            chain.wait_for(ttls.iter().take(1).flat_map(|_| shared.ends.clone()));
                        }
                        if moment == Moment::Drained {
                            let look = traffic::look_at_moved(&plan, &before_it);
                            look.into_iter().for_each(|draft| chain.add(steps, draft.into(), None));
                        }
                        match moment {
                            Moment::Reversed => way_back.lay_beside(&mut chain, steps, planned),
                            _ => planned.into_iter().for_each(|step| {
                                way_back.notice(&chain, &step);
                                chain.add(steps, step, question.as_deref());
                            }),
                        }
                        match moment {
                            Moment::Promoted => way_back.after_promote(&chain),
                            Moment::AfterPair => way_back.moved = chain.ends.clone(),
                            Moment::BackInService => {
                                pair.into_iter().for_each(|pair| wave.places.give(pair, &chain.ends));
                                wave.slots.give(chain.ends.clone(), &before_it, plan.moved(n));
                            }
                            Moment::Committed => chain.wait_for(std::mem::take(&mut way_back.beside)),
                            _ => {}
                        }
                    }
                    let ends = way_back.ends(chain.ends);
                    wave.batches.moved(&ends);
                    pair_ends.extend(ends);
                }
                pair_ends
            }
        };
    }
    if !ttls.is_empty() {
        let mut chain = Chain::new(&plan, None, ends);
        ttls.into_iter().for_each(|ttl| chain.add(steps, ttl.restore.into(), None));
        ends = chain.ends;
    }
    let mut chain = Chain::new(&plan, None, ends.clone());
    kept.into_iter().for_each(|draft| chain.add(steps, draft.into(), None));
    ends
}

/// Puts the question before everything else of a service, where something of it has no way back; returns its id.
fn ask(plan: &ServicePlan<'_>, past: Vec<String>, steps: &mut Vec<Arc<Step>>, before: &[String]) -> Option<String> {
    if past.is_empty() {
        return None;
    }
    let asks = Gate::for_approval(HookPoint::BeforeDrain);
    let mut chain = Chain::new(plan, None, before.to_vec());
    chain.add(steps, Draft::new("no-return", StepKind::Gate(GateStep { asks, past })).into(), None);
    chain.ends.pop()
}

/// What everything in a wave waits for: that the agent starts on all hosts that need it, where there are any.
fn begin_wave(steps: &mut Vec<Arc<Step>>, wave: &Wave, services: &[ServiceMove<'_>], before: &[String]) -> Vec<String> {
    let pairs = services.iter().flat_map(|service| &service.plan.pairs);
    let pairs = pairs.filter(|pair| pair.states.iter().any(|state| state.needs_agent));
    let hosts: BTreeSet<&str> = pairs.flat_map(|pair| [&*pair.source.name, &*pair.target.name]).collect();
    if hosts.is_empty() {
        return before.to_vec();
    }
    let mut hosts: Vec<String> = hosts.into_iter().map(str::to_owned).collect();
    hosts.sort_by(|a, b| natural_cmp(a, b));
    vec![add_of_wave(steps, wave, "probe", StepKind::Probe(ProbeStep { hosts }), before.to_vec())]
}

/// What the next wave waits for: the pause, and for all pairs of a large wave together, so that no pair has to wait for each by name.
fn end_wave(
    steps: &mut Vec<Arc<Step>>,
    wave: &Wave,
    done: Vec<String>,
    pools: &BTreeSet<PoolRef>,
    last: bool,
) -> Vec<String> {
    let name = match wave.pause.is_zero() {
        false => "pause",
        true if done.len() > MANY && !last => "done",
        true => return done,
    };
    let pools = pools.iter().cloned().collect();
    let kind = StepKind::Watch(WatchStep { hold: wave.pause, checks: Default::default(), measured: Vec::new(), pools });
    vec![add_of_wave(steps, wave, name, kind, done)]
}

/// Adds a step that concerns all of a wave; returns its id.
fn add_of_wave(steps: &mut Vec<Arc<Step>>, wave: &Wave, name: &str, kind: StepKind, after: Vec<String>) -> String {
    let id = format!("{}/{name}", wave.name);
    steps.push(Step::of_wave(id.clone(), wave.name.clone(), kind, after).into());
    id
}

impl From<Draft> for Planned {
    fn from(draft: Draft) -> Self {
        Self { draft, urgent: false, freeze: None, asked: false }
    }
}

/// Steps that follow each other.
struct Chain<'a> {
    plan: &'a ServicePlan<'a>,
    /// The pair that they are of.
    pair: Option<usize>,
    /// What the next one waits for.
    ends: Vec<String>,
    /// The steps whose undo brings back what the target takes.
    opens: Vec<String>,
}

impl<'a> Chain<'a> {
    /// Begins behind `after`.
    fn new(plan: &'a ServicePlan<'a>, pair: Option<usize>, after: Vec<String>) -> Self {
        Self { plan, pair, ends: after, opens: Vec::new() }
    }

    /// Adds a step behind the ones before, and behind the question where it has to be asked.
    fn add(&mut self, steps: &mut Vec<Arc<Step>>, planned: Planned, question: Option<&str>) {
        let asked = question.filter(|_| planned.asked).map(str::to_owned);
        let id = self.id(&planned.draft.name);
        let mut after = std::mem::replace(&mut self.ends, vec![id.clone()]);
        after.extend(asked);
        steps.push(self.step(id, planned, after).into());
    }

    fn id(&self, name: &str) -> String {
        self.plan.id(self.pair.and_then(|n| self.plan.pairs.get(n)), name)
    }

    /// A step behind these.
    fn step(&self, id: String, planned: Planned, after: Vec<String>) -> Step {
        let Planned { draft, urgent, freeze, .. } = planned;
        let pair = self.pair.and_then(|n| self.plan.pairs.get(n));
        Step {
            service: self.plan.service.name.clone(),
            pair: pair.map(|p| Arc::clone(p.pair)),
            urgent,
            on_failure: draft.on_failure.unwrap_or(self.plan.service.on_failure),
            no_return: draft.no_return,
            opens: if draft.opens { self.opens.clone() } else { Vec::new() },
            freeze,
            ..Step::of_wave(id, self.plan.wave.name.clone(), draft.kind, after)
        }
    }

    /// What follows waits for these, too.
    fn wait_for(&mut self, ids: impl IntoIterator<Item = String>) {
        let known: BTreeSet<String> = self.ends.iter().cloned().collect();
        let mut new = BTreeSet::new();
        self.ends.extend(ids.into_iter().filter(|id| !known.contains(id) && new.insert(id.clone())));
    }
}

/// What of a pair is laid out for its way back.
struct WayBackOf {
    /// Id of the step at which it ends; `None` where there is none.
    commit: Option<String>,
    /// Id of the first step from which on the target may take writes.
    opened_by: Option<String>,
    /// What stays under way beside the others.
    beside: Vec<String>,
    /// What ends the move of the pair: others do not wait for the end of its way back.
    moved: Vec<String>,
}

impl WayBackOf {
    fn new(chain: &mut Chain<'_>, moments: &[(Moment, Vec<Planned>)]) -> Self {
        let of = |wanted| moments.iter().filter(move |(moment, _)| *moment == wanted).flat_map(|(_, steps)| steps);
        chain.opens = of(Moment::HandedOver).map(|step| chain.id(&step.draft.name)).collect();
        let commit = of(Moment::Committed).map(|step| chain.id(&step.draft.name)).next_back();
        Self { commit, opened_by: None, beside: Vec::new(), moved: Vec::new() }
    }

    /// Looks at a step right before it is added.
    fn notice(&mut self, chain: &Chain<'_>, step: &Planned) {
        if step.draft.opens && self.opened_by.is_none() {
            self.opened_by = Some(chain.id(&step.draft.name));
        }
    }

    /// What lets everybody in right behind a promote goes first: clients wait for that.
    fn after_promote(&mut self, chain: &Chain<'_>) {
        if self.opened_by.is_some() {
            self.opened_by = chain.ends.last().cloned();
        }
    }

    /// These begin with the first step from which on the target may take writes, or right behind what lets clients in. They stand behind all
    /// that is done meanwhile, so that they are undone before it.
    fn lay_beside(&mut self, chain: &mut Chain<'_>, steps: &mut Vec<Arc<Step>>, planned: Vec<Planned>) {
        for planned in planned {
            let after = self.opened_by.clone().map_or_else(|| chain.ends.clone(), |step| vec![step]);
            let id = chain.id(&planned.draft.name);
            let step = Step { beside: self.commit.clone(), ..chain.step(id, planned, after) };
            self.beside.push(step.id.clone());
            steps.push(step.into());
        }
    }

    fn ends(self, all: Vec<String>) -> Vec<String> {
        if self.commit.is_some() { self.moved } else { all }
    }
}

/// Lets at most so many pairs of a wave be out of service: each takes the slot that the pair before it gives back.
struct Slots<'a> {
    limit: usize,
    taken: VecDeque<Slot<'a>>,
}

/// What a pair gets with the slot that it takes.
#[derive(Default)]
struct Slot<'a> {
    /// Ids that it has to wait for before it leaves service.
    ends: Vec<String>,
    /// Service and target of the pairs that have certainly moved by then: those that had the slot before, the last ones of them.
    moved: Vec<(&'a str, SubjectName)>,
}

impl<'a> Slots<'a> {
    fn new(limit: usize) -> Self {
        Self { limit: limit.max(1), taken: VecDeque::new() }
    }

    fn next(&mut self) -> Slot<'a> {
        if self.taken.len() < self.limit { Slot::default() } else { self.taken.pop_front().unwrap_or_default() }
    }

    /// The pair is back in service once these are done; before it, the others had its slot.
    fn give(&mut self, ends: Vec<String>, before: &[(&'a str, SubjectName)], pair: Option<(&'a str, SubjectName)>) {
        let old = before.len().saturating_sub(service::AROUND - 1);
        let moved = before.iter().skip(old).cloned().chain(pair).collect();
        self.taken.push_back(Slot { ends, moved });
    }
}
