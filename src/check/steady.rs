//! Rise and fall: turns single verdicts into a standing that does not flap.
//!
//! Pure. Must never let an unknown verdict make a host healthy or unhealthy.

use super::{Outcome, Verdict};

/// Where a host stands after enough verdicts in a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// `rise` passes in a row.
    Healthy,
    /// `fall` failures in a row.
    Unhealthy,
}

/// Counts verdicts of one check on one host.
///
/// An unknown verdict breaks a row of passes, since nobody saw that it held, and does not wipe out failures that were
/// seen; by itself it settles nothing.
#[derive(Debug, Clone)]
pub struct Steady {
    rise: u32,
    fall: u32,
    passes: u32,
    failures: u32,
    unknowns: u32,
    standing: Option<Standing>,
    evidence: Option<String>,
}

impl Steady {
    /// Healthy after `rise` passes, unhealthy after `fall` failures; 0 counts as 1.
    pub fn new(rise: u32, fall: u32) -> Self {
        Self {
            rise: rise.max(1),
            fall: fall.max(1),
            passes: 0,
            failures: 0,
            unknowns: 0,
            standing: None,
            evidence: None,
        }
    }

    /// Takes one verdict in. `Some`: where the host now stands; `None`: nobody can tell, either because too few verdicts agree so
    /// far or because this one is unknown.
    pub fn observe(&mut self, verdict: &Verdict) -> Option<Standing> {
        self.evidence = Some(verdict.evidence.clone());
        match verdict.outcome {
            Outcome::Pass => {
                self.passes = self.passes.saturating_add(1);
                (self.failures, self.unknowns) = (0, 0);
            }
            Outcome::Fail => {
                self.failures = self.failures.saturating_add(1);
                (self.passes, self.unknowns) = (0, 0);
            }
            Outcome::Unknown => {
                self.unknowns = self.unknowns.saturating_add(1);
                self.passes = 0;
            }
        }
        if self.passes >= self.rise {
            self.standing = Some(Standing::Healthy);
        } else if self.failures >= self.fall {
            self.standing = Some(Standing::Unhealthy);
        }
        self.standing()
    }

    /// Where the host stands; `None` while nobody can tell.
    pub fn standing(&self) -> Option<Standing> {
        if self.unknowns > 0 { None } else { self.standing }
    }

    /// What it waits for, in one line for people: `1 of 3 passes in a row; last: GET http://… → 200 in 3 ms`.
    pub fn why(&self) -> String {
        let row = match (self.unknowns, self.passes, self.failures) {
            (0, 0, 0) => return "not asked yet".to_owned(),
            (0, 0, n) if n < self.fall => format!("{n} of {} failures in a row", self.fall),
            (0, 0, n) => format!("failed {n} {} in a row", times(n)),
            (0, n, _) if n < self.rise => format!("{n} of {} passes in a row", self.rise),
            (0, n, _) => format!("passed {n} {} in a row", times(n)),
            (n, _, _) => format!("unknown {n} {} in a row, which counts neither way", times(n)),
        };
        match &self.evidence {
            Some(evidence) => format!("{row}; last: {evidence}"),
            None => row,
        }
    }
}

fn times(n: u32) -> &'static str {
    if n == 1 { "time" } else { "times" }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn verdict(outcome: Outcome) -> Verdict {
        Verdict { outcome, evidence: "asked → answered".to_owned() }
    }

    fn outcomes() -> impl Strategy<Value = Vec<Outcome>> {
        proptest::collection::vec(
            prop_oneof![4 => Just(Outcome::Pass), 3 => Just(Outcome::Fail), 1 => Just(Outcome::Unknown)],
            0..40,
        )
    }

    /// Where the rules themselves put the host, looking back over everything that was seen.
    fn by_the_rules(seen: &[Outcome], rise: u32, fall: u32) -> Option<Standing> {
        if seen.last() == Some(&Outcome::Unknown) {
            return None;
        }
        (1..=seen.len()).rev().find_map(|end| {
            let back = || seen[..end].iter().rev();
            let passes = back().take_while(|o| **o == Outcome::Pass).count();
            let failures = back().filter(|o| **o != Outcome::Unknown).take_while(|o| **o == Outcome::Fail).count();
            if passes >= rise as usize {
                Some(Standing::Healthy)
            } else if failures >= fall as usize {
                Some(Standing::Unhealthy)
            } else {
                None
            }
        })
    }

    proptest! {
        #[test]
        fn the_standing_is_what_the_rules_say(seen in outcomes(), rise in 1u32..5, fall in 1u32..5) {
            let mut steady = Steady::new(rise, fall);
            for (n, outcome) in seen.iter().enumerate() {
                let said = steady.observe(&verdict(*outcome));
                prop_assert_eq!(said, by_the_rules(&seen[..=n], rise, fall));
            }
        }

        #[test]
        fn an_unknown_verdict_settles_nothing(seen in outcomes(), at in 0usize..41, rise in 1u32..5, fall in 1u32..5) {
            let mut with = seen.clone();
            with.insert(at.min(seen.len()), Outcome::Unknown);
            let run = |seen: &[Outcome]| {
                let mut steady = Steady::new(rise, fall);
                seen.iter().map(|o| steady.observe(&verdict(*o))).collect::<Vec<_>>()
            };
            let (plain, disturbed) = (run(&seen), run(&with));
            let before = at.min(seen.len());
            prop_assert_eq!(disturbed[before], None);
            for (plain, disturbed) in plain[before..].iter().zip(&disturbed[before + 1..]) {
                // It can only keep a host from being healthy for longer, never make it so.
                prop_assert!(*disturbed != Some(Standing::Healthy) || *plain == Some(Standing::Healthy));
            }
        }

        #[test]
        fn only_enough_passes_in_a_row_make_a_host_healthy(seen in outcomes(), rise in 1u32..5, fall in 1u32..5) {
            let mut steady = Steady::new(rise, fall);
            let mut row = 0;
            let mut was = None;
            for outcome in seen {
                row = if outcome == Outcome::Pass { row + 1 } else { 0 };
                let now = steady.observe(&verdict(outcome)).or(was);
                if now == Some(Standing::Healthy) && was != now {
                    prop_assert!(row >= rise);
                }
                was = now;
            }
        }
    }

    #[test]
    fn it_says_what_it_waits_for() {
        let mut steady = Steady::new(2, 3);
        assert_eq!(steady.why(), "not asked yet");
        steady.observe(&verdict(Outcome::Pass));
        assert_eq!(steady.why(), "1 of 2 passes in a row; last: asked → answered");
        steady.observe(&verdict(Outcome::Pass));
        assert_eq!(steady.why(), "passed 2 times in a row; last: asked → answered");
        steady.observe(&verdict(Outcome::Unknown));
        assert_eq!(steady.why(), "unknown 1 time in a row, which counts neither way; last: asked → answered");
        steady.observe(&verdict(Outcome::Fail));
        assert_eq!(steady.why(), "1 of 3 failures in a row; last: asked → answered");
    }
}
