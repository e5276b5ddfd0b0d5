//! Batches of a wave: the pairs of one begin when those of the one before have moved.
//!
//! Owns which pair is in which batch: the order of the plan says it, whatever has moved already.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::spec::{Service, Spec, Wave};
use crate::step::{BatchStep, Step, StepKind};

/// The batches of a wave while its pairs are laid out, in order.
pub struct Batches<'a> {
    wave: &'a Wave,
    /// The batch of each pair, by its source.
    of: BTreeMap<&'a str, usize>,
    now: usize,
    /// What pairs of this batch wait for.
    begin: Vec<String>,
    /// What ends its pairs so far.
    ends: Vec<String>,
    pairs: usize,
}

/// The batch of each pair of a wave, by its source; none where they are not split.
pub fn of_sources<'a>(wave: &Wave, spec: &'a Spec) -> BTreeMap<&'a str, usize> {
    let numbers = wave.batches.iter().enumerate().flat_map(|(n, size)| std::iter::repeat_n(n, *size));
    let services: BTreeMap<&str, &Service> = match wave.batches.is_empty() {
        true => BTreeMap::new(),
        false => spec.plan.services.iter().map(|s| (&*s.name, s)).collect(),
    };
    let own = wave.services.iter().filter_map(|name| services.get(name.as_str()));
    own.flat_map(|service| &service.pairs).map(|pair| pair.source.as_str()).zip(numbers).collect()
}

impl<'a> Batches<'a> {
    /// Of a wave.
    pub fn new(wave: &'a Wave, spec: &'a Spec) -> Self {
        Self { wave, of: of_sources(wave, spec), now: 0, begin: Vec::new(), ends: Vec::new(), pairs: 0 }
    }

    /// What the pair of a source waits for before anything of it begins. Ends the batches before its own.
    pub fn next(&mut self, steps: &mut Vec<Arc<Step>>, source: &str) -> Vec<String> {
        let batch = self.of.get(source).copied().unwrap_or(self.now);
        if batch > self.now {
            self.end(steps);
            self.now = batch;
        }
        self.begin.clone()
    }

    /// A pair of this batch has moved once these are done.
    pub fn moved(&mut self, ends: &[String]) {
        if !self.of.is_empty() {
            self.ends.extend_from_slice(ends);
            self.pairs += 1;
        }
    }

    /// A batch whose pairs have all moved already has no end: what follows waits for the one before.
    fn end(&mut self, steps: &mut Vec<Arc<Step>>) {
        let pairs = std::mem::take(&mut self.pairs);
        if pairs == 0 {
            return;
        }
        let number = self.now + 1;
        let id = format!("{}/batch-{number}", self.wave.name);
        let kind = StepKind::Batch(BatchStep { number, of: self.wave.batches.len(), pairs });
        let after = std::mem::replace(&mut self.ends, vec![id.clone()]);
        self.begin = std::mem::take(&mut self.ends);
        steps.push(Step::of_wave(id, Arc::clone(&self.wave.name), kind, after).into());
    }
}
