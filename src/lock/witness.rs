//! Seeing leases end. What was not renewed for as long as it lasts has ended, whatever the clocks of two machines say: its holder counts from
//! before it wrote that down, and who looks counts from after it has read it.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::owner::Owner;
use super::table::{Grant, Validity};

/// Clocks of two machines do not run equally fast.
const MARGIN: Duration = Duration::from_secs(1);

/// A lease that was seen to end: its number, and up to when it was said to last. Renewed since, it is another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ended {
    /// Its number.
    pub fence: u64,
    /// When it was to end.
    pub expires: Timestamp,
}

impl Ended {
    /// Whether it is that lease, not renewed.
    pub(super) fn is(&self, grant: &Grant) -> bool {
        (self.fence, self.expires) == (grant.fence, grant.expires)
    }
}

/// Looks at leases again and again.
#[derive(Debug, Default)]
pub struct Witness {
    /// Since when each is as it is.
    seen: BTreeMap<u64, (Timestamp, Instant)>,
}

impl Witness {
    /// Those of the leases that have ended, by what their owners' machine tells or by how long they have been the same.
    pub fn look(&mut self, grants: &[Grant], here: &Owner) -> Vec<Ended> {
        self.seen.retain(|fence, _| grants.iter().any(|grant| grant.fence == *fence));
        let mut ended = Vec::new();
        for grant in grants {
            let seen = self.seen.entry(grant.fence).or_insert_with(|| (grant.expires, Instant::now()));
            if seen.0 != grant.expires {
                *seen = (grant.expires, Instant::now());
            }
            let lasts = Duration::from_millis(grant.lasts_ms);
            let unchanged = !lasts.is_zero() && seen.1.elapsed() > lasts + MARGIN;
            if unchanged || grant.validity(here) != Validity::Held {
                ended.push(Ended { fence: grant.fence, expires: grant.expires });
            }
        }
        ended
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Operator;

    fn owner(boot: &str) -> Owner {
        let this = Owner::this(&Operator { user: "ada".into(), host: boot.into(), pid: std::process::id() });
        Owner { boot: Some(boot.into()), machine: Some(boot.into()), ..this }
    }

    /// One of another machine, whose clock is a day ahead.
    fn grant(lasts: Duration) -> Grant {
        let ahead = Timestamp::now() + Duration::from_secs(86_400);
        Grant {
            fence: 7,
            names: ["plan:web".to_owned()].into(),
            owner: owner("desk"),
            run: Some("web-1".into()),
            why: "migrate apply web.yaml".into(),
            since: ahead,
            expires: ahead,
            expires_since_boot: 0,
            lasts_ms: u64::try_from(lasts.as_millis()).unwrap(),
            by_hand: false,
        }
    }

    #[test]
    fn a_lease_of_another_machine_ends_when_it_stays_the_same_for_as_long_as_it_lasts() {
        let (mut witness, here, mut grant) = (Witness::default(), owner("other"), grant(Duration::from_millis(300)));
        assert_eq!(witness.look(std::slice::from_ref(&grant), &here), []);
        std::thread::sleep(MARGIN + Duration::from_millis(400));
        let ended = witness.look(std::slice::from_ref(&grant), &here);
        assert_eq!(ended, [Ended { fence: 7, expires: grant.expires }]);
        assert!(ended[0].is(&grant));
        // Renewed at the last moment, it is another, and begins anew.
        grant.expires += Duration::from_secs(1);
        assert!(!ended[0].is(&grant));
        assert_eq!(witness.look(std::slice::from_ref(&grant), &here), []);
        assert_eq!(witness.look(&[], &here), []);
    }

    #[test]
    fn a_lease_whose_length_nobody_has_written_down_is_judged_by_its_clock_alone() {
        let (mut witness, here, grant) = (Witness::default(), owner("other"), grant(Duration::ZERO));
        assert_eq!(witness.look(std::slice::from_ref(&grant), &here), []);
        let past = Timestamp::now() - Duration::from_secs(3600);
        assert_eq!(witness.look(&[Grant { expires: past, ..grant }], &here).len(), 1);
    }
}
