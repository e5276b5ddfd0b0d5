//! How fast the connections of a wave may be let go: faster little by little, half as fast as soon as the other side says that it is too much.
//!
//! Pure: what was measured comes in as an argument. Must never go above the highest pace, and never let any go while a number is not known.

/// Seconds from a standstill to the highest pace.
const CLIMB: u64 = 20;
/// How much smaller the steps are near a pace that was too much.
const CAREFUL: u64 = 5;

/// What one measurement says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sign {
    /// More would be taken.
    Calm,
    /// It is too much: what was seen.
    Busy(String),
    /// It was too much when it was measured last, which was counted then.
    StillBusy(String),
    /// More would be taken, as was counted before.
    StillCalm,
    /// Nobody can tell, and why.
    Unknown(String),
}

/// The pace of a wave.
#[derive(Debug, Clone)]
pub struct Governor {
    pace: u64,
    /// The last pace that was too much.
    too_much: Option<u64>,
    held_by: Option<String>,
    stands: bool,
}

impl Governor {
    /// Begins at the pace of the plan; where an earlier controller was at work, below the one that it had come to. Nothing was measured yet,
    /// so that it stands still.
    pub fn new(planned: u64, before: Option<u64>) -> Self {
        let pace = before.map_or(planned, |before| before.min(planned.max(before / 2))).max(1);
        Self { pace, too_much: None, held_by: Some("not having measured anything yet".to_owned()), stands: true }
    }

    /// Takes in what was measured in the last second, and how fast it may go at most.
    pub fn decide<'a>(&mut self, signs: impl Iterator<Item = &'a Sign>, most: u64) {
        let (mut busy, mut unknown, mut any) = (Vec::new(), Vec::new(), false);
        let (mut too_much, mut wait) = (false, false);
        for sign in signs {
            any = true;
            match sign {
                Sign::Calm => {}
                Sign::StillCalm => wait = true,
                Sign::Busy(what) => (too_much, _) = (true, busy.push(what.as_str())),
                Sign::StillBusy(what) => (wait, _) = (true, busy.push(what.as_str())),
                Sign::Unknown(why) => unknown.push(why.as_str()),
            }
        }
        if !any {
            unknown.push("nothing was measured");
        }
        let (had_stood, pace) = (self.stands, self.pace.min(most));
        self.stands = !unknown.is_empty();
        self.pace = match (too_much, self.stands) {
            (true, _) => (pace / 2).max(1),
            // Whoever has stood still goes on as before: nothing was learned meanwhile.
            (false, true) => pace,
            (false, false) if had_stood || wait => pace,
            (false, false) => pace.saturating_add(self.step(pace, most)),
        }
        .min(most);
        match too_much {
            true => self.too_much = Some(pace),
            // It takes more than it did.
            false if self.too_much.is_some_and(|before| pace > before.saturating_add(before / 4)) => {
                self.too_much = None;
            }
            false => {}
        }
        let said = if busy.is_empty() { unknown } else { busy };
        self.held_by = (!said.is_empty()).then(|| said.join(", "));
    }

    /// How much faster it may go than at this pace: little where that comes near what was too much, because it is noticed a second late.
    fn step(&self, pace: u64, most: u64) -> u64 {
        let step = (most / CLIMB).max(1);
        match self.too_much {
            Some(before) if pace + step > before - before / 4 => (step / CAREFUL).max(1),
            _ => step,
        }
    }

    /// How many may be let go in a second.
    pub fn pace(&self) -> u64 {
        if self.stands { 0 } else { self.pace }
    }

    /// How many that would be if it did not stand still.
    pub fn aims(&self) -> u64 {
        self.pace
    }

    /// What keeps it from going faster, if anything does.
    pub fn held_by(&self) -> Option<&str> {
        self.held_by.as_deref()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn busy() -> Sign {
        Sign::Busy("40 wait at fra-1".to_owned())
    }

    fn unknown() -> Sign {
        Sign::Unknown("fra-1 cannot be reached".to_owned())
    }

    #[test]
    fn it_climbs_slowly_and_halves_at_once() {
        let mut governor = Governor::new(100, None);
        assert_eq!(governor.pace(), 0, "nothing was measured");
        let mut after = |sign: Sign| {
            governor.decide([Sign::Calm, sign].iter(), 2000);
            (governor.pace(), governor.held_by().map(str::to_owned))
        };
        assert_eq!(after(Sign::Calm), (100, None));
        assert_eq!(after(Sign::Calm), (200, None));
        assert_eq!(after(busy()), (100, Some("40 wait at fra-1".to_owned())));
        assert_eq!(after(busy()).0, 50);
        assert_eq!(after(unknown()), (0, Some("fra-1 cannot be reached".to_owned())));
        assert_eq!(after(Sign::Calm), (50, None), "as before it stood still");
        assert_eq!(after(Sign::Calm).0, 70, "near what was too much");
        for _ in 0..30 {
            after(Sign::Calm);
        }
        assert_eq!(after(Sign::Calm).0, 2000);
    }

    #[test]
    fn what_is_too_much_counts_also_where_something_else_is_not_known() {
        let mut governor = Governor::new(100, None);
        governor.decide([busy(), unknown()].iter(), 2000);
        assert_eq!(governor.pace(), 0);
        governor.decide([Sign::Calm].iter(), 2000);
        assert_eq!(governor.pace(), 50);
        governor.decide([].iter(), 2000);
        assert_eq!(governor.pace(), 0, "nothing measured is nothing known");
    }

    #[test]
    fn what_is_measured_seldom_counts_once() {
        let mut governor = Governor::new(800, None);
        let still = Sign::StillBusy("the load is 9".to_owned());
        let mut after = |sign: &Sign| {
            governor.decide([Sign::Calm, sign.clone()].iter(), 2000);
            (governor.pace(), governor.held_by().is_some())
        };
        assert_eq!(after(&Sign::Calm), (800, false));
        assert_eq!(after(&busy()), (400, true));
        assert_eq!((after(&still), after(&still)), ((400, true), (400, true)));
        assert_eq!(after(&Sign::Calm), (500, false));
        assert_eq!((after(&Sign::StillCalm), after(&Sign::StillCalm)), ((500, false), (500, false)));
    }

    #[test]
    fn near_what_was_too_much_it_climbs_carefully_until_more_is_taken() {
        let mut governor = Governor::new(500, None);
        let mut after = |sign: Sign| {
            governor.decide([sign].iter(), 2000);
            governor.pace()
        };
        after(Sign::Calm);
        assert_eq!((after(Sign::Calm), after(busy())), (600, 300));
        let paces: Vec<u64> = (0..5).map(|_| after(Sign::Calm)).collect();
        assert_eq!(paces, [400, 420, 440, 460, 480]);
        let far = (0..30).map(|_| after(Sign::Calm)).max();
        assert!(far > Some(1000), "it goes on as before once it takes more: {far:?}");
    }

    #[test]
    fn who_takes_over_begins_below_what_it_had_come_to() {
        let begins = |before| Governor::new(100, before).aims();
        assert_eq!([None, Some(1200), Some(150), Some(20), Some(0)].map(begins), [100, 600, 100, 20, 1]);
    }

    proptest! {
        #[test]
        fn it_never_goes_above_the_most_nor_on_while_anything_is_unknown(
            start in 1_u64..5000,
            seconds in prop::collection::vec((0_u8..3, 0_u8..3, 0_u64..3000), 1..200),
        ) {
            let sign = |n: u8| match n { 0 => Sign::Calm, 1 => busy(), _ => unknown() };
            let mut governor = Governor::new(start, None);
            for (one, other, most) in seconds {
                let (before, signs) = (governor.pace, [sign(one), sign(other)]);
                governor.decide(signs.iter(), most);
                prop_assert!(governor.pace() <= most);
                prop_assert!(governor.pace() == 0 || !signs.contains(&unknown()));
                if signs.contains(&busy()) {
                    prop_assert!(governor.pace() <= (before / 2).max(1) && governor.held_by().is_some());
                }
                prop_assert!(governor.pace() <= before.saturating_add((most / CLIMB).max(1)));
            }
        }

        #[test]
        fn it_settles_below_what_the_other_side_can_take_and_above_half_of_it(takes in 50_u64..1900) {
            let mut governor = Governor::new(10, None);
            let (mut sum, mut rounds) = (0, 0);
            for second in 0..400 {
                let sign = if governor.pace() > takes { busy() } else { Sign::Calm };
                governor.decide([sign].iter(), 2000);
                if second >= 100 {
                    (sum, rounds) = (sum + governor.pace(), rounds + 1);
                    prop_assert!(governor.pace() <= takes + 2000 / CLIMB / CAREFUL);
                }
            }
            prop_assert!(sum / rounds >= takes / 2, "{} of {takes}", sum / rounds);
        }
    }
}
