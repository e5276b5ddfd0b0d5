//! Whether one series of numbers lies above another: by ranks, and by how much. Pure.
//!
//! Ranks ask nothing of the shape that numbers have: latencies are skewed, and errors mostly 0.

/// How a series lies to another.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Difference {
    /// Medians of the new series and of the old one.
    pub medians: (f64, f64),
    /// How far the new one lies above the old one, as a part of the old median: the median of all differences (Hodges and Lehmann).
    pub shift: f64,
    /// How likely equal series are to differ by as much in this direction: Mann and Whitney's test, by its normal approximation.
    pub p: f64,
}

/// Compares two series; `None` where one is empty or holds something that is no number.
pub fn compare(new: &[f64], old: &[f64]) -> Option<Difference> {
    if new.iter().chain(old).any(|n| !n.is_finite()) {
        return None;
    }
    let medians = (median(new.to_vec())?, median(old.to_vec())?);
    let differences = new.iter().flat_map(|n| old.iter().map(move |o| n - o)).collect();
    let by = median(differences)?;
    let shift = if by == 0.0 { 0.0 } else { by / medians.1.abs() };
    Some(Difference { medians, shift, p: likelihood(new, old) })
}

fn median(mut numbers: Vec<f64>) -> Option<f64> {
    numbers.sort_by(f64::total_cmp);
    let upper = *numbers.get(numbers.len() / 2)?;
    let lower = *numbers.get((numbers.len() - 1) / 2)?;
    Some(lower + (upper - lower) / 2.0)
}

fn likelihood(new: &[f64], old: &[f64]) -> f64 {
    let mut all: Vec<(f64, bool)> = new.iter().map(|n| (*n, true)).chain(old.iter().map(|n| (*n, false))).collect();
    all.sort_by(|a, b| a.0.total_cmp(&b.0));
    // Equal numbers share their ranks, which leaves less to differ by.
    let (mut rank, mut sum, mut ties) = (0.0, 0.0, 0.0);
    for equal in all.chunk_by(|a, b| a.0 == b.0) {
        let count = equal.len() as f64;
        let ours = equal.iter().filter(|(_, new)| *new).count() as f64;
        sum += ours * (rank + (count + 1.0) / 2.0);
        ties += count * count * count - count;
        rank += count;
    }
    let (n, m) = (new.len() as f64, old.len() as f64);
    let above = sum - n * (n + 1.0) / 2.0;
    let spread = (n * m / 12.0 * ((rank + 1.0) - ties / (rank * (rank - 1.0)))).max(0.0).sqrt();
    // All are equal, or there is one: nothing tells them apart.
    if spread.is_nan() || spread == 0.0 {
        return 1.0;
    }
    beyond((above - n * m / 2.0 - 0.5) / spread)
}

/// The part of the normal distribution that lies beyond `z` (Abramowitz and Stegun, 26.2.17).
fn beyond(z: f64) -> f64 {
    let t = 1.0 / (1.0 + 0.231_641_9 * z.abs());
    let terms = [0.319_381_53, -0.356_563_782, 1.781_477_937, -1.821_255_978, 1.330_274_429];
    let polynomial = terms.iter().rev().fold(0.0, |sum, term| (sum + term) * t);
    let tail = (-z * z / 2.0).exp() / (2.0 * std::f64::consts::PI).sqrt() * polynomial;
    if z < 0.0 { 1.0 - tail } else { tail }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Numbers that are the same every time (SplitMix64).
    struct Dice(u64);

    impl Dice {
        fn even(&mut self) -> f64 {
            self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            ((z ^ (z >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
        }

        fn normal(&mut self) -> f64 {
            let (a, b) = (1.0 - self.even(), self.even());
            (-2.0 * a.ln()).sqrt() * (2.0 * std::f64::consts::PI * b).cos()
        }
    }

    type Series = fn(&mut Dice) -> f64;

    /// Of 1,000 runs with 40 samples a side, how many are found worse: by rank alone, and by 10 % or more, too.
    fn found(seed: u64, new: Series, old: Series) -> (usize, usize) {
        let mut dice = Dice(seed);
        let (mut by_rank, mut by_both) = (0, 0);
        for _ in 0..1000 {
            let new: Vec<f64> = (0..40).map(|_| new(&mut dice)).collect();
            let old: Vec<f64> = (0..40).map(|_| old(&mut dice)).collect();
            let difference = compare(&new, &old).unwrap();
            let worse = difference.p < 0.02;
            by_rank += usize::from(worse);
            by_both += usize::from(worse && difference.shift >= 0.1);
        }
        (by_rank, by_both)
    }

    #[test]
    fn equal_series_are_found_worse_in_less_than_two_of_a_hundred_runs() {
        let normal = |dice: &mut Dice| 100.0 + 20.0 * dice.normal();
        let skewed = |dice: &mut Dice| (0.2 * dice.normal()).exp();
        let errors = |dice: &mut Dice| (5.0 * dice.even()).floor();
        let all: [(u64, Series); 3] = [(1, normal), (2, skewed), (3, errors)];
        for (seed, series) in all {
            let (by_rank, by_both) = found(seed, series, series);
            println!("equal series {seed}: {by_rank} by rank, {by_both} by rank and 10 %");
            // By rank alone it is the stated rate itself, up to chance.
            assert!((8..=34).contains(&by_rank), "{by_rank}");
            assert!(by_both <= 20, "{by_both}");
        }
    }

    #[test]
    fn a_fifth_more_is_found_in_more_than_ninety_five_of_a_hundred_runs() {
        let (_, normal) = found(4, |d| 120.0 + 20.0 * d.normal(), |d| 100.0 + 20.0 * d.normal());
        let (_, skewed) = found(5, |d| 1.2 * (0.2 * d.normal()).exp(), |d| (0.2 * d.normal()).exp());
        println!("20 % more: {normal} and {skewed} of 1000");
        assert!(normal >= 950 && skewed >= 950, "{normal} {skewed}");
    }

    #[test]
    fn the_numbers_are_those_of_the_books() {
        // scipy.stats.mannwhitneyu(new, old, alternative="greater", method="asymptotic")
        let new = [19.0, 22.0, 16.0, 29.0, 24.0];
        let old = [20.0, 11.0, 17.0, 12.0];
        let found = compare(&new, &old).unwrap();
        assert!((found.p - 0.055_676_7).abs() < 1e-4, "{}", found.p);
        assert_eq!((found.medians, found.shift), ((22.0, 14.5), 7.0 / 14.5));
        for (z, p) in [(0.0, 0.5), (1.644_853_6, 0.05), (2.326_347_9, 0.01), (-1.644_853_6, 0.95)] {
            assert!((beyond(z) - p).abs() < 1e-6, "{z}");
        }
    }

    #[test]
    fn what_cannot_be_told_apart_is_not_worse() {
        let zeros = [0.0; 20];
        assert_eq!(compare(&zeros, &zeros).map(|d| (d.p, d.shift)), Some((1.0, 0.0)));
        assert_eq!(compare(&[1.0; 20], &zeros).map(|d| (d.p < 0.001, d.shift)), Some((true, f64::INFINITY)));
        assert_eq!(compare(&[1.0], &[]), None);
        assert_eq!(compare(&[f64::NAN], &[1.0]), None);
    }

    proptest! {
        #[test]
        fn what_lies_above_from_one_side_lies_below_from_the_other(
            new in prop::collection::vec(-5i32..5, 1..30),
            old in prop::collection::vec(-5i32..5, 1..30),
        ) {
            let (new, old): (Vec<f64>, Vec<f64>) =
                (new.into_iter().map(f64::from).collect(), old.into_iter().map(f64::from).collect());
            let (there, back) = (compare(&new, &old).unwrap(), compare(&old, &new).unwrap());
            prop_assert!((0.0..=1.0).contains(&there.p));
            // Both are half, but for the correction towards no difference.
            prop_assert!(there.p + back.p >= 1.0 - 1e-6);
        }
    }
}
