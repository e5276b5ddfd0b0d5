//! Which steps take pairs out of service and bring them back, by their positions in a graph.

use std::collections::BTreeMap;

use super::{Purpose, Step, StepKind};

/// The drain of each pair, and the step with which it is back in service: the last shift of its own, else what follows its drain last.
#[derive(Debug, Default)]
pub struct Leaving {
    pairs: Vec<(usize, usize)>,
    /// For each step, the pair that it takes out of service or brings back.
    of: Vec<Option<usize>>,
}

impl Leaving {
    /// Of the steps of a graph in order.
    pub(super) fn of<'a>(steps: impl Iterator<Item = &'a Step>) -> Self {
        let (mut full, mut watched) = (BTreeMap::new(), BTreeMap::new());
        let mut drains = Vec::new();
        let mut count = 0;
        for (at, step) in steps.enumerate() {
            count = at + 1;
            let Some(pair) = step.pair.as_ref().map(|pair| (&step.service, pair)) else { continue };
            match step.kind.purpose() {
                Some(Purpose::Shift(100)) => drop(full.insert(pair, at)),
                // The first, where there are several directors.
                Some(Purpose::Drain) if drains.last().is_some_and(|(of, _)| *of == pair) => {}
                Some(Purpose::Drain) => drains.push((pair, at)),
                Some(Purpose::Retire) => drop(watched.insert(pair, at)),
                Some(Purpose::Scale | Purpose::Shift(_)) => {}
                None if matches!(step.kind, StepKind::Watch(_)) => drop(watched.insert(pair, at)),
                None => {}
            }
        }
        // Where all pairs of a service are shifted together, a source has left when its targets have been watched without it.
        let pairs: Vec<(usize, usize)> = drains
            .into_iter()
            .filter_map(|(pair, drain)| Some((drain, *full.get(&pair).or_else(|| watched.get(&pair))?)))
            .collect();
        let mut of = vec![None; count];
        for (n, (drain, full)) in pairs.iter().enumerate() {
            for at in [drain, full] {
                if let Some(of) = of.get_mut(*at) {
                    *of = Some(n);
                }
            }
        }
        Self { pairs, of }
    }

    /// The drain of each pair, and the step with which it is back.
    pub fn pairs(&self) -> &[(usize, usize)] {
        &self.pairs
    }

    /// Which of the pairs a step takes out of service, or brings back.
    pub fn pair_of(&self, step: usize) -> Option<usize> {
        *self.of.get(step)?
    }
}
