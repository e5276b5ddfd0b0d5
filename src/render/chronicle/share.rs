//! What share the targets of each service have had, step by step.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use super::{Measured, ServiceShare, Wanted};
use crate::event::{Event, Figures, Record, RunState, StepResult};
use crate::model::Pair;
use crate::step::{Step, StepKind};

/// The share of traffic that the targets of each service have had, by these records; those of steps that neither set nor count traffic may be
/// left out.
pub fn shares(records: &[Record], state: &RunState) -> Vec<ServiceShare> {
    let mut shares = Shares::new(state);
    let mut began: BTreeMap<&str, Timestamp> = BTreeMap::new();
    for record in records {
        if let Event::Intent { step, .. } = &record.event {
            began.insert(step, record.at);
        }
        let Event::Outcome { step, undo, result: StepResult::Done { figures, .. }, .. } = &record.event else {
            continue;
        };
        let Some(known) = state.graph.step(step) else { continue };
        shares.done(known, *undo, record.at);
        if let Some(Figures::Sessions { all, targets, wanted }) = figures {
            let began = began.get(step.as_str()).copied().unwrap_or(record.at);
            shares.measured(known, Measured::counted(step, (began, record.at), *all, *targets, *wanted));
        }
    }
    shares.told()
}

/// Follows what traffic steps set.
pub(super) struct Shares<'a> {
    services: Vec<Service<'a>>,
    found: BTreeMap<&'a str, usize>,
}

struct Service<'a> {
    name: &'a str,
    pairs: usize,
    /// What was set for all targets together, the newest last.
    all: Vec<(&'a str, u16)>,
    /// The same for one target.
    each: BTreeMap<&'a Pair, Vec<(&'a str, u16)>>,
    wanted: Vec<Wanted>,
    measured: Vec<Measured>,
}

impl<'a> Shares<'a> {
    /// Nothing has been set yet.
    pub fn new(state: &'a RunState) -> Self {
        let mut shares = Self { services: Vec::new(), found: BTreeMap::new() };
        let mut pairs: BTreeMap<&str, BTreeSet<&Pair>> = BTreeMap::new();
        for step in &state.graph.steps {
            if let Some(pair) = &step.pair {
                pairs.entry(&step.service).or_default().insert(pair);
            }
            if set(step).is_some() && !shares.found.contains_key(&*step.service) {
                shares.found.insert(&step.service, shares.services.len());
                shares.services.push(Service {
                    name: &step.service,
                    pairs: 0,
                    all: Vec::new(),
                    each: BTreeMap::new(),
                    wanted: vec![Wanted { at: state.started_at, tenths: 0 }],
                    measured: Vec::new(),
                });
            }
        }
        for service in &mut shares.services {
            service.pairs = pairs.get(service.name).map_or(0, BTreeSet::len).max(1);
        }
        shares
    }

    /// Services whose traffic is moved.
    pub fn services(&self) -> BTreeSet<&'a str> {
        self.found.keys().copied().collect()
    }

    /// A step is done, or its undo is.
    pub fn done(&mut self, step: &'a Step, undo: bool, at: Timestamp) {
        let (Some(tenths), Some(service)) = (set(step), self.service(step)) else { return };
        let of_all = matches!(&step.kind, StepKind::Traffic(traffic) if traffic.targets_get.is_some());
        let stack = match &step.pair {
            Some(pair) if !of_all => service.each.entry(pair).or_default(),
            _ => &mut service.all,
        };
        stack.retain(|(id, _)| *id != step.id);
        if !undo {
            stack.push((&step.id, tenths));
        }
        let tenths = service.share();
        if service.wanted.last().is_none_or(|last| last.tenths != tenths) {
            service.wanted.push(Wanted { at, tenths });
        }
    }

    /// A watch has counted.
    pub fn measured(&mut self, step: &'a Step, measured: Measured) {
        if let Some(service) = self.service(step) {
            service.measured.push(measured);
        }
    }

    fn service(&mut self, step: &Step) -> Option<&mut Service<'a>> {
        self.found.get(&*step.service).and_then(|at| self.services.get_mut(*at))
    }

    /// Of services with traffic.
    pub fn told(self) -> Vec<ServiceShare> {
        let told = |service: Service<'_>| ServiceShare {
            service: service.name.to_owned(),
            of_all: service.each.is_empty(),
            wanted: service.wanted,
            measured: service.measured,
        };
        self.services.into_iter().map(told).collect()
    }
}

impl Service<'_> {
    fn share(&self) -> u16 {
        if let Some((_, tenths)) = self.all.last() {
            return *tenths;
        }
        let sum: usize = self.each.values().filter_map(|set| Some(usize::from(set.last()?.1))).sum();
        u16::try_from(sum / self.pairs).unwrap_or(1000)
    }
}

impl Measured {
    /// What a watch has counted: new sessions in all, those of the targets, and what they should have got.
    pub(super) fn counted(
        step: &str,
        (began, ended): (Timestamp, Timestamp),
        all: u64,
        targets: u64,
        wanted: u16,
    ) -> Self {
        let tenths = u16::try_from(u128::from(targets) * 1000 / u128::from(all).max(1)).unwrap_or(1000);
        Self { step: step.to_owned(), began, ended, sessions: all, tenths, wanted }
    }
}

/// The share that a step gives, in tenths of a percent.
fn set(step: &Step) -> Option<u16> {
    let StepKind::Traffic(traffic) = &step.kind else { return None };
    traffic.targets_get.or_else(|| traffic.purpose.share().map(|percent| u16::from(percent) * 10))
}
