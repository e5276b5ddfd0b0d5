//! The share that targets really get: from the director's counters, beside what weights make of it.
//!
//! Must never tell a share from counters that began anew in between, and never take a pool without traffic for a target without.

use std::collections::BTreeMap;

use super::Context;
use crate::event::Figures;
use crate::model::{Member, Mode, Pool};
use crate::step::{MeasuredPool, Step, StepKind, WatchStep};
use crate::text;

/// A target that should have got so many sessions and got none is left out, and not unlucky.
const ENOUGH: f64 = 20.0;

/// What has come to a pool since a watch began.
pub struct Share<'a> {
    measured: &'a MeasuredPool,
    last: Option<Pool>,
    /// Sessions of all members.
    all: u64,
    /// Sessions of each target, and how many weights would have given it.
    targets: BTreeMap<&'a str, (u64, f64)>,
}

impl<'a> Share<'a> {
    /// Of a watch, a pool each. Nothing has been seen yet.
    pub fn of(step: &'a Step) -> Vec<Self> {
        let StepKind::Watch(WatchStep { measured, .. }) = &step.kind else { return Vec::new() };
        measured.iter().map(Self::new).collect()
    }

    fn new(measured: &'a MeasuredPool) -> Self {
        Self { measured, last: None, all: 0, targets: BTreeMap::new() }
    }

    /// Reads the counters. What cannot be read now is read the next time.
    pub async fn look(&mut self, context: &Context) {
        let counts = self.last.as_ref().is_none_or(|last| last.members.iter().any(|m| m.sessions.is_some()));
        let MeasuredPool { pool, .. } = self.measured;
        let Some(director) = context.world.directors.get(&pool.director).filter(|_| counts) else { return };
        if let Ok(now) = director.observe(&pool.pool).await {
            self.count(now);
        }
    }

    fn count(&mut self, now: Pool) {
        let last = self.last.replace(now);
        let (Some(last), Some(now)) = (last, &self.last) else { return };
        let Some(came) = came(&last, now) else { return };
        let all: u64 = came.iter().sum();
        self.all += all;
        let weights: u64 = last.members.iter().map(weight).sum();
        for name in &self.measured.targets {
            let Some((member, came)) = last.members.iter().zip(&came).find(|(m, _)| m.name == *name) else { continue };
            let (got, due) = self.targets.entry(name).or_default();
            *got += came;
            *due += all as f64 * weight(member) as f64 / weights.max(1) as f64;
        }
    }

    /// The measured share and the wanted one, for people; `None` where the director does not count.
    pub fn told(&self) -> Option<String> {
        self.last.as_ref()?.members.iter().find(|m| m.sessions.is_some())?;
        if self.all == 0 {
            return Some(format!("no session has come to {}", self.measured.pool.pool));
        }
        let (got, due) = self.targets.values().fold((0, 0.0), |(got, due), (g, d)| (got + g, due + d));
        let percent = |part: f64| 100.0 * part / self.all as f64;
        let (measured, wanted) = (percent(got as f64), percent(due));
        Some(format!("targets got {measured:.1} % of {}, by weight {wanted:.1} %", text::count(self.all, "session")))
    }

    /// A target that gets nothing although it has weight and the pool has traffic, where that can only be a fault.
    pub fn left_out(&self) -> Option<String> {
        let (name, (_, due)) = self.targets.iter().find(|(_, (got, due))| *got == 0 && *due >= ENOUGH)?;
        if !self.measured.follows_weights {
            return None;
        }
        let (all, pool) = (text::count(self.all, "session"), &self.measured.pool.pool);
        Some(format!("{name} has got none of {all} of {pool}, where its weight makes {due:.0}"))
    }
}

/// What is told of them, a sentence each: at which director, where there are several.
pub fn told(shares: &[Share<'_>]) -> Vec<String> {
    let at = |share: &Share<'_>, told: String| match shares {
        [_] => told,
        _ => format!("{}: {told}", share.measured.pool.director),
    };
    shares.iter().filter_map(|share| Some(at(share, share.told()?))).collect()
}

/// All of them together as numbers; `None` where nothing was counted.
pub fn figures(shares: &[Share<'_>]) -> Option<Figures> {
    let all: u64 = shares.iter().map(|share| share.all).sum();
    if all == 0 {
        return None;
    }
    let each = shares.iter().flat_map(|share| share.targets.values());
    let (targets, due) = each.fold((0, 0.0), |(got, due), (g, d)| (got + g, due + d));
    // Never more than all of them.
    let wanted = (1000.0 * due / all as f64).round() as u16;
    Some(Figures::Sessions { all, targets, wanted })
}

/// What has come to each member; `None` when a counter has begun anew, or members have changed.
fn came(last: &Pool, now: &Pool) -> Option<Vec<u64>> {
    let since = |(before, after): (&Member, &Member)| {
        let same = before.name == after.name;
        after.sessions?.checked_sub(before.sessions?).filter(|_| same)
    };
    let all = last.members.len() == now.members.len();
    last.members.iter().zip(&now.members).map(since).collect::<Option<Vec<u64>>>().filter(|_| all)
}

/// What counts of a member's weight now.
fn weight(member: &Member) -> u64 {
    match member.mode {
        Mode::Ready if member.up != Some(false) => member.weight.into(),
        Mode::Ready | Mode::Drain | Mode::Maint => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::PoolRef;

    fn pool(members: &[(&str, u16, u64)]) -> Pool {
        let member = |(name, weight, sessions): &(&str, u16, u64)| Member {
            name: (*name).to_owned(),
            weight: *weight,
            mode: Mode::Ready,
            connections: None,
            sessions: Some(*sessions),
            up: None,
        };
        Pool { name: "web".to_owned(), members: members.iter().map(member).collect(), ttl: None }
    }

    fn measured(follows_weights: bool) -> MeasuredPool {
        let pool = PoolRef { director: "edge".to_owned(), pool: "web".to_owned() };
        MeasuredPool { pool, targets: vec!["fra".to_owned()], follows_weights }
    }

    #[test]
    fn the_measured_share_stands_beside_the_wanted_one() {
        let measured = measured(true);
        let mut share = Share::new(&measured);
        assert_eq!(share.told(), None);
        share.count(pool(&[("dal", 90, 1000), ("fra", 10, 0)]));
        assert_eq!(share.told().as_deref(), Some("no session has come to web"));
        share.count(pool(&[("dal", 90, 1170), ("fra", 10, 30)]));
        assert_eq!(share.told().as_deref(), Some("targets got 15.0 % of 200 sessions, by weight 10.0 %"));
        assert_eq!(
            figures(std::slice::from_ref(&share)),
            Some(Figures::Sessions { all: 200, targets: 30, wanted: 100 })
        );
        assert_eq!(share.left_out(), None);
    }

    #[test]
    fn counters_that_begin_anew_give_no_nonsense() {
        let measured = measured(true);
        let mut share = Share::new(&measured);
        for members in [
            [("dal", 90, 1000), ("fra", 10, 50)],
            [("dal", 90, 5), ("fra", 10, 60)],
            [("dal", 90, 95), ("fra", 10, 70)],
        ] {
            share.count(pool(&members));
        }
        assert_eq!(share.told().as_deref(), Some("targets got 10.0 % of 100 sessions, by weight 10.0 %"));
    }

    #[test]
    fn a_target_without_sessions_is_a_fault_only_where_others_have_many_and_weights_are_followed() {
        for (follows, dal, found) in [(true, 190, false), (true, 1000, true), (false, 1000, false)] {
            let measured = measured(follows);
            let mut share = Share::new(&measured);
            share.count(pool(&[("dal", 90, 0), ("fra", 10, 0)]));
            share.count(pool(&[("dal", 90, dal), ("fra", 10, 0)]));
            assert_eq!(share.left_out().is_some(), found, "{follows} {dal}");
        }
    }
}
