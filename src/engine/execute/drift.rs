//! What the run has set at directors is read again: before shifts, while time passes, around the last pass, at the end.
//!
//! Must never go on over a value that is not the one that was set, and never take a change of the run's own for somebody else's.

use std::time::Duration;

use tokio::sync::oneshot;

use super::{Context, Effect, not_done, traffic};
use crate::check::PoolRef;
use crate::event::{Drift, Event, SetMember, SetTtl};
use crate::model::{Change, Member, Mode, OnDrift, Pool, Weights};
use crate::mutant::{self, Mutant};
use crate::outside::{Error, Kind};
use crate::retry::Policy;
use crate::step::Step;
use crate::text;

/// How often pools are read while time passes.
pub const EVERY: Duration = Duration::from_secs(5);
/// How often something is set again before the run holds: whoever changes it goes on doing so.
const RESTORES: u32 = 3;
/// How long places that disagree may take to agree: processes are reloaded one after the other.
const AGREEING: Duration = Duration::from_secs(1);

/// Something that happened within a step, for the engine to record.
pub struct Report {
    pub event: Event,
    /// Told once it is in the journal.
    pub kept: oneshot::Sender<()>,
}

impl Context {
    /// What an operator has said that happens when a pool is found otherwise.
    pub(super) fn on_drift(&self) -> Option<OnDrift> {
        self.tuning.borrow().on_drift
    }

    /// Whether anything of a pool that is found otherwise is set again.
    pub(super) fn may_restore(&self, pool: &PoolRef) -> bool {
        let by_operator = self.on_drift();
        let restores = |set: &SetMember| by_operator.unwrap_or(set.on_drift) == OnDrift::Restore;
        self.standing.borrow().in_pool(pool).is_some_and(|members| members.values().any(restores))
    }
}

/// Watches over pools for one attempt of a step.
#[derive(Default)]
pub struct Watcher {
    restored: u32,
    /// Of those, what the step has dealt with.
    known: u32,
    /// The step's intent is not on disk yet: nothing may be written.
    only_reads: bool,
}

/// What was found otherwise in a pool.
struct Deviation {
    drifts: Vec<Drift>,
    /// What the places that answer say, where they do not agree: any of what stands may be otherwise.
    disagrees: Option<String>,
    /// What would have to be set again.
    stood: Vec<SetMember>,
    /// And the TTL, where that is otherwise.
    ttl: Option<SetTtl>,
    /// The pool, where it could be read.
    read: Option<Pool>,
}

impl Watcher {
    /// For a step that has not begun. What is to be set again is left to it.
    pub fn before_intent() -> Self {
        Self { only_reads: true, ..Self::default() }
    }

    /// Whether anything was set again since the last [`Self::forget_restored`].
    pub fn has_restored(&self) -> bool {
        self.restored > self.known
    }

    /// What was set again so far is dealt with.
    pub fn forget_restored(&mut self) {
        self.known = self.restored;
    }

    /// Reads pools and compares them with what stands there. What is otherwise is set again where the plan says so, else the run holds.
    pub async fn look(&mut self, context: &Context, step: &Step, pools: &[PoolRef]) -> Result<(), Effect> {
        for pool in pools {
            self.look_at(context, step, pool).await?;
        }
        Ok(())
    }

    /// The same for one pool; what was read, where anything of the run stands there.
    pub async fn look_at(&mut self, context: &Context, step: &Step, pool: &PoolRef) -> Result<Option<Pool>, Effect> {
        let mut retry = context.retry(Policy::LONG);
        loop {
            match self.glance(context, step, pool).await? {
                Ok(read) => return Ok(read),
                Err(e) => context.try_again(&mut retry, step, e).await?,
            }
        }
    }

    /// The same without another try: the inner error says why nobody can tell.
    pub async fn glance(
        &mut self,
        context: &Context,
        step: &Step,
        pool: &PoolRef,
    ) -> Result<Result<Option<Pool>, Error>, Effect> {
        loop {
            match compare(context, pool).await {
                Err(e) if e.transient || e.kind == Kind::Disagrees => return Ok(Err(Error { transient: true, ..e })),
                Err(e) => return Err(not_done(e)),
                Ok(Compared::NothingStands) => return Ok(Ok(None)),
                Ok(Compared::AsSet(read)) => return Ok(Ok(Some(read))),
                Ok(Compared::Otherwise(found)) if self.only_reads && found.may_be_restored(context) => {
                    return Ok(Ok(found.into_as_it_stood()));
                }
                Ok(Compared::Otherwise(found)) => self.answer(context, step, pool, found).await?,
            }
        }
    }

    async fn answer(&mut self, context: &Context, step: &Step, pool: &PoolRef, found: Deviation) -> Result<(), Effect> {
        let clues = clues(context, pool, &found).await?;
        let restores = self.restored < RESTORES && found.may_be_restored(context);
        context
            .report(Event::Drifted {
                step: step.id.clone(),
                director: pool.director.clone(),
                pool: pool.pool.clone(),
                members: found.drifts.clone(),
                clues: clues.clone(),
                restores,
            })
            .await;
        if !restores {
            return Err(self.held(context, pool, &found, &clues));
        }
        self.restored += 1;
        let changes: Vec<Change> = found.stood.iter().map(|set| set.change.clone()).collect();
        let director = context.director(&pool.director)?;
        if !changes.is_empty() {
            traffic::ask(context, step, || director.apply(&pool.pool, &changes)).await?;
        }
        if let Some(set) = &found.ttl {
            traffic::ask(context, step, || director.set_ttl(&pool.pool, set.ttl)).await?;
        }
        match found.stood.iter().find(|set| set.was_writer && !copies_again(step, pool, set)) {
            Some(set) => Err(took_writes(context, pool, set)),
            None => Ok(()),
        }
    }

    fn held(&self, context: &Context, pool: &PoolRef, found: &Deviation, clues: &[String]) -> Effect {
        let said = found.drifts.iter().map(Drift::to_string).chain(clues.iter().cloned());
        let mut why = format!("{} {}: {}", pool.director, pool.pool, said.collect::<Vec<_>>().join("; "));
        if self.restored > 0 {
            why.push_str(&format!("; the run has set it again {}", text::count(self.restored.into(), "time")));
        }
        let run = &context.run;
        let hint = format!(
            "find out who did it and set it again by hand, or let the run do so (`migrate set {run} on_drift=restore`), then \
             `migrate apply` again; `migrate rollback {run}` goes back"
        );
        let members = found.stood.iter().map(|set| set.change.member.clone()).collect();
        Effect::Drifted { why, hint, members }
    }
}

impl Deviation {
    /// The pool as it is once it has been set again.
    fn into_as_it_stood(self) -> Option<Pool> {
        let mut pool = self.read?;
        for Change { member, weight, mode } in self.stood.iter().map(|set| &set.change) {
            if let Some(member) = pool.members.iter_mut().find(|m| m.name == *member) {
                (member.weight, member.mode) = (*weight, *mode);
            }
        }
        pool.ttl = self.ttl.map(|set| set.ttl).or(pool.ttl);
        Some(pool)
    }

    fn may_be_restored(&self, context: &Context) -> bool {
        let by_operator = context.on_drift();
        let restore = |on_drift: OnDrift| by_operator.unwrap_or(on_drift) == OnDrift::Restore;
        self.stood.iter().map(|set| set.on_drift).chain(self.ttl.iter().map(|set| set.on_drift)).all(restore)
    }
}

/// What a pool is, compared with what stands there.
enum Compared {
    /// The run has set nothing there: it was not read.
    NothingStands,
    AsSet(Pool),
    Otherwise(Deviation),
}

async fn compare(context: &Context, pool: &PoolRef) -> Result<Compared, Error> {
    let (before, lowered) = (context.standing(pool), context.standing_ttl(pool));
    if before.is_none() && lowered.is_none() {
        return Ok(Compared::NothingStands);
    }
    let director = match context.world.directors.get(&pool.director) {
        Some(director) => director,
        None => return Err(Error::new(&pool.director, Kind::Config, "the director is not in the inventory any more")),
    };
    let can = director.capabilities();
    let mut read = director.observe(&pool.pool).await;
    // Where answers are cached, servers follow each other: that one of them is late is no word of what it was set to.
    if !can.ttl && read.as_ref().is_err_and(|e| e.kind == Kind::Disagrees) {
        context.world.clock.sleep(AGREEING).await;
        read = director.observe(&pool.pool).await;
    }
    // What the run itself has changed meanwhile is compared at the next time.
    let after = context.standing(pool).unwrap_or_default();
    let lowered = lowered.filter(|set| context.standing_ttl(pool).as_ref() == Some(set));
    let before = before.unwrap_or_default();
    let same = before.iter().filter(|(name, set)| after.get(*name).is_some_and(|now| now.serial == set.serial));
    let stands: Vec<&SetMember> = same.map(|(_, set)| set).collect();
    match read {
        Ok(now) => Ok(match otherwise(&stands, lowered, &now, can.weights == Weights::Presence) {
            Some(found) => Compared::Otherwise(Deviation { read: Some(now), ..found }),
            None => Compared::AsSet(now),
        }),
        Err(e) if e.kind == Kind::Disagrees && !can.ttl && !stands.is_empty() => {
            let (drifts, disagrees) = (Vec::new(), Some(e.what));
            let stood = stands.into_iter().cloned().collect();
            Ok(Compared::Otherwise(Deviation { drifts, disagrees, stood, ttl: None, read: None }))
        }
        Err(e) => Err(e),
    }
}

/// Whether a step sees to it that what a source may have taken is copied.
fn copies_again(step: &Step, pool: &PoolRef, set: &SetMember) -> bool {
    step.kind.confirms().is_some_and(|source| source.is(pool, &set.change.member))
}

/// A source that got traffic back is set again, and still nobody can tell what it took.
fn took_writes(context: &Context, pool: &PoolRef, set: &SetMember) -> Effect {
    let (run, member) = (&context.run, &set.change.member);
    let why = format!(
        "{} {}: {member} had got traffic back and was set again; what it took meanwhile is not on its target",
        pool.director, pool.pool
    );
    let hint = format!(
        "look at what {member} took; `migrate apply` goes on, `migrate rollback {run}` goes back where there is a way"
    );
    Effect::Drifted { why, hint, members: vec![member.clone()] }
}

/// What of a pool is otherwise than it was set.
fn otherwise(stands: &[&SetMember], lowered: Option<SetTtl>, now: &Pool, by_presence: bool) -> Option<Deviation> {
    if mutant::is(Mutant::BlindToDrift) {
        return None;
    }
    let (mut drifts, mut stood) = (Vec::new(), Vec::new());
    for set in stands {
        if let Some(drift) = drift(set, now.member(&set.change.member), by_presence) {
            drifts.push(drift);
            stood.push((*set).clone());
        }
    }
    let ttl = lowered.filter(|set| now.ttl != Some(set.ttl));
    drifts.extend(ttl.as_ref().map(|set| Drift {
        member: "the TTL".to_owned(),
        set: text::duration(set.ttl),
        by: set.step.clone(),
        found: now.ttl.map_or_else(|| "none".to_owned(), text::duration),
    }));
    (!drifts.is_empty()).then_some(Deviation { drifts, disagrees: None, stood, ttl, read: None })
}

fn drift(set: &SetMember, now: Option<&Member>, by_presence: bool) -> Option<Drift> {
    let Change { member, weight, mode } = &set.change;
    let said = |setting: Option<(u16, Mode)>| match setting {
        None => "absent".to_owned(),
        Some((0, _)) if by_presence => "absent".to_owned(),
        Some(_) if by_presence => "there".to_owned(),
        Some((_, Mode::Drain)) => "drain".to_owned(),
        Some((_, Mode::Maint)) => "maintenance".to_owned(),
        Some((weight, Mode::Ready)) => format!("weight {weight}"),
    };
    // The weight of what gets nothing says nothing.
    let (wanted, found) = (said(Some((*weight, *mode))), said(now.map(|m| (m.weight, m.mode))));
    (wanted != found).then(|| Drift { member: member.clone(), set: wanted, by: set.step.clone(), found })
}

/// What is known of how it came about.
async fn clues(context: &Context, pool: &PoolRef, found: &Deviation) -> Result<Vec<String>, Effect> {
    let now = context.world.clock.wall();
    let since = found.stood.iter().map(|set| set.since).chain(found.ttl.iter().map(|set| set.since));
    let ages = since.filter_map(|since| now.duration_since(since?).try_into().ok());
    let since = ages.max().unwrap_or(Duration::ZERO);
    let members: Vec<&str> = found.stood.iter().map(|set| set.change.member.as_str()).collect();
    let mut clues: Vec<String> = found.disagrees.iter().cloned().collect();
    clues.extend(context.director(&pool.director)?.clues(&pool.pool, &members, since).await);
    Ok(clues)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(weight: u16, mode: Mode) -> SetMember {
        let change = Change { member: "dal-1".into(), weight, mode };
        SetMember {
            change,
            step: "web/dal-1/drain".into(),
            since: None,
            on_drift: OnDrift::Hold,
            was_writer: false,
            serial: 1,
        }
    }

    fn found(weight: u16, mode: Mode) -> Member {
        Member { name: "dal-1".into(), weight, mode, connections: None, sessions: None, up: None }
    }

    #[test]
    fn what_gets_nothing_may_have_any_weight_and_nothing_else_may_be_otherwise() {
        let same = |set: &SetMember, now: Option<&Member>| drift(set, now, false).is_none();
        let drained = set(100, Mode::Drain);
        assert!(same(&drained, Some(&found(1, Mode::Drain))));
        assert!(!same(&drained, Some(&found(100, Mode::Ready))) && !same(&drained, Some(&found(100, Mode::Maint))));
        assert!(!same(&drained, None));
        assert!(!same(&set(50, Mode::Ready), Some(&found(80, Mode::Ready))));
        let told = drift(&drained, Some(&found(100, Mode::Ready)), false).map(|d| d.to_string());
        assert_eq!(told.as_deref(), Some("dal-1 was set to drain by web/dal-1/drain and is weight 100"));
    }

    #[test]
    fn an_address_is_there_or_not() {
        assert_eq!(drift(&set(0, Mode::Ready), None, true), None);
        assert_eq!(drift(&set(1, Mode::Ready), Some(&found(1, Mode::Ready)), true), None);
        assert_eq!(
            drift(&set(0, Mode::Ready), Some(&found(1, Mode::Ready)), true).map(|d| d.found),
            Some("there".into())
        );
        assert_eq!(drift(&set(1, Mode::Ready), None, true).map(|d| d.found), Some("absent".into()));
    }
}
