//! Which weights give a share.
//!
//! Pure. Must never call a step reached that is not, nor leave one out without a word.

/// What shares are made of: the weights of a pool's members when each takes its whole part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Weights {
    pub sources: Vec<u16>,
    pub targets: Vec<u16>,
}

/// Weights for one step.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    /// What was wanted, in percent.
    pub share: u8,
    pub weights: Weights,
    /// What the weights give to all targets together, in percent of what sources and targets get.
    pub reached: f64,
}

/// Steps that begin from these whole weights.
#[derive(Debug, Clone, PartialEq)]
pub struct Fit {
    /// The same as at first, or larger ones in the same proportions.
    pub whole: Weights,
    pub steps: Vec<Step>,
}

/// Finds weights for every step. Where they are too small to be divided and `may_scale`, all are multiplied first.
pub fn fit(whole: &Weights, steps: &[u8], max: u16, may_scale: bool) -> Fit {
    let largest = whole.sources.iter().chain(&whole.targets).max().copied().unwrap_or(1).max(1);
    let tops = [largest, 100.min(max), max];
    let tried = tops.into_iter().filter(|top| *top == largest || (may_scale && *top > largest));
    let fits = tried.map(|top| at(whole.scaled(top, largest), steps, max));
    let mut best: Option<(f64, Fit)> = None;
    for fit in fits {
        let off = fit.steps.iter().map(|s| off(s.share, s.reached)).fold(0.0, f64::max);
        if best.as_ref().is_none_or(|(least, _)| off < *least && *least > 1.0) {
            best = Some((off, fit));
        }
    }
    best.map_or_else(|| at(whole.clone(), steps, max), |(_, fit)| fit)
}

/// Whether what is reached is near enough to what is wanted.
pub fn is_near(wanted: u8, reached: f64) -> bool {
    off(wanted, reached) <= 1.0
}

/// How far off it is, in tolerances: half a percent, or a fifth of what is wanted.
fn off(wanted: u8, reached: f64) -> f64 {
    let wanted = f64::from(wanted);
    (reached - wanted).abs() / (wanted / 5.0).max(0.5)
}

fn at(whole: Weights, steps: &[u8], max: u16) -> Fit {
    let mut sources = whole.sources.clone();
    let step = |share: &u8| {
        let targets = match share {
            100 => whole.targets.clone(),
            share => {
                // Sources and targets together keep what the sources had, so that nobody else's part changes.
                let (of, to) = (sum(&whole.targets).max(1), sum(&whole.sources));
                let to = if to == 0 { of } else { to };
                sources = whole.sources.iter().map(|w| portion(*w, 100 - share)).collect();
                let part = |w: &u16| divided(u64::from(*w) * to * u64::from(*share), of * 100).clamp(1, max.into());
                whole.targets.iter().map(|w| u16::try_from(part(w)).unwrap_or(max)).collect()
            }
        };
        let got = sum(&targets) as f64;
        let reached = match share {
            // The sources are drained next.
            100 => 100.0,
            _ => 100.0 * got / (got + sum(&sources) as f64).max(1.0),
        };
        Step { share: *share, weights: Weights { sources: sources.clone(), targets }, reached }
    };
    let steps = steps.iter().map(step).collect();
    Fit { whole, steps }
}

impl Weights {
    fn scaled(&self, top: u16, largest: u16) -> Self {
        let scale = |w: &u16| divided(u64::from(*w) * u64::from(top), largest.into()).max(u64::from(*w > 0));
        let all = |weights: &[u16]| weights.iter().map(|w| u16::try_from(scale(w)).unwrap_or(top)).collect();
        Self { sources: all(&self.sources), targets: all(&self.targets) }
    }
}

fn sum(weights: &[u16]) -> u64 {
    weights.iter().copied().map(u64::from).sum()
}

/// Rounded.
fn divided(a: u64, b: u64) -> u64 {
    (a + b / 2) / b.max(1)
}

/// The weight that gives `share` percent of `full`; never 0 for a share above 0, nor more than `full`.
pub fn portion(full: u16, share: u8) -> u16 {
    let least = u64::from(share > 0);
    let exact = divided(u64::from(full) * u64::from(share), 100);
    u16::try_from(exact.max(least)).unwrap_or(full).min(full)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn weights(sources: &[u16], targets: &[u16]) -> Weights {
        Weights { sources: sources.to_vec(), targets: targets.to_vec() }
    }

    #[test]
    fn weights_of_one_are_scaled_so_that_one_percent_is_one_percent() {
        let fit = fit(&weights(&[1, 1], &[1, 1]), &[1, 10, 100], 256, true);
        assert_eq!(fit.whole, weights(&[100, 100], &[100, 100]));
        let set: Vec<_> = fit.steps.iter().map(|s| s.weights.clone()).collect();
        assert_eq!(set, [weights(&[99, 99], &[1, 1]), weights(&[90, 90], &[10, 10]), weights(&[90, 90], &[100, 100])]);
        assert!(fit.steps.iter().all(|s| is_near(s.share, s.reached)), "{:?}", fit.steps);
    }

    #[test]
    fn weights_that_can_be_divided_stay_as_they_are() {
        let whole = weights(&[80, 100], &[120, 150]);
        let fit = fit(&whole, &[50, 100], 256, true);
        assert_eq!(fit.whole, whole);
        assert_eq!(fit.steps[0].weights, weights(&[40, 50], &[40, 50]), "half of what there is, on larger hosts, too");
        assert_eq!(fit.steps[1].weights.targets, [120, 150]);
    }

    #[test]
    fn a_step_that_cannot_be_reached_tells_what_it_would_be() {
        let fit = fit(&weights(&[1, 1], &[1, 1]), &[1, 10, 100], 256, false);
        let reached: Vec<_> = fit.steps.iter().map(|s| (s.reached, is_near(s.share, s.reached))).collect();
        assert_eq!(reached, [(50.0, false), (50.0, false), (100.0, true)]);
    }

    proptest! {
        #[test]
        fn everybody_keeps_a_weight_and_shares_rise(
            sources in proptest::collection::vec(1_u16..=256, 1..20),
            capacity in 1_u16..=4,
        ) {
            let targets: Vec<u16> = sources.iter().map(|w| (w * capacity).min(256)).collect();
            let fit = fit(&weights(&sources, &targets), &[1, 5, 25, 50, 100], 256, true);
            let mut last = 0.0;
            for step in &fit.steps {
                let all = step.weights.sources.iter().chain(&step.weights.targets);
                prop_assert!(all.copied().all(|w| (1..=256).contains(&w)), "{step:?}");
                prop_assert!(step.reached >= last, "{step:?}");
                last = step.reached;
            }
        }
    }
}
