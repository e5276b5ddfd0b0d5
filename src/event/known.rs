//! Steps with what is known of them, and all that belong to one pair.

use std::collections::HashMap;

use super::{RunState, StepRecord};
use crate::model::Pair;
use crate::step::Step;

/// A step of the graph, with what is known of it.
#[derive(Debug, Clone, Copy)]
pub struct Known<'a> {
    /// The step.
    pub step: &'a Step,
    /// What is known of it.
    pub record: &'a StepRecord,
}

/// The steps of one pair of a service, in the order of the graph.
#[derive(Debug, Clone)]
pub struct OfPair<'a> {
    /// The service.
    pub service: &'a str,
    /// The pair.
    pub pair: &'a Pair,
    /// Its steps.
    pub steps: Vec<Known<'a>>,
}

impl RunState {
    /// All steps, in order.
    pub fn known(&self) -> impl Iterator<Item = Known<'_>> {
        self.graph.steps.iter().zip(self.records_of_steps()).map(|(step, record)| Known { step, record })
    }

    /// The pairs of each service in the order of their first steps.
    pub fn by_pair(&self) -> Vec<OfPair<'_>> {
        let mut pairs: Vec<OfPair<'_>> = Vec::new();
        let mut found: HashMap<(&str, &Pair), usize> = HashMap::new();
        // Most steps stand behind another one of their pair.
        let mut last: Option<(&str, &Pair, usize)> = None;
        for known in self.known() {
            let Some(pair) = known.step.pair.as_deref() else { continue };
            let service = &*known.step.service;
            let same = last.filter(|(of, is, _)| std::ptr::eq(*is, pair) && *of == service).map(|(.., at)| at);
            let at = same.unwrap_or_else(|| *found.entry((service, pair)).or_insert(pairs.len()));
            last = Some((service, pair, at));
            match pairs.get_mut(at) {
                Some(of) => of.steps.push(known),
                None => pairs.push(OfPair { service, pair, steps: vec![known] }),
            }
        }
        pairs
    }
}
