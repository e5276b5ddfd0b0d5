//! What every director promises, as acts on a pool that may be played with: each says whether the promise was kept.
//!
//! Our own kinds are put to it with real servers behind them, and so can be what somebody wrote for `command`. Must never set
//! members other than the three that it was given.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;

use super::{Director, DirectorConfig};
use crate::model::{Change, Member, Mode, Pool, Weights};
use crate::outside::{Error, Kind};
use crate::text::{duration, escape};

/// A director, a pool, and three members of it that may be set to anything.
pub struct Trial {
    /// What the inventory says of the director.
    pub config: DirectorConfig,
    /// The director.
    pub director: Arc<dyn Director>,
    /// The same, as a second controller sees it.
    pub twin: Arc<dyn Director>,
    /// The pool.
    pub pool: String,
    /// Has a share when a promise is looked at.
    pub old: String,
    /// Has one, too.
    pub other: String,
    /// Has none.
    pub new: String,
    /// A name that cannot be a member, where there is one besides those that nothing can have.
    pub nobody: Option<String>,
}

/// One promise.
pub struct Promise {
    /// Its name.
    pub name: &'static str,
    keep: for<'a> fn(&'a Trial) -> BoxFuture<'a, Kept>,
}

/// Whether a promise was kept; else what was seen instead.
pub type Kept = Result<(), String>;

macro_rules! promises {
    ($($name:ident)*) => {
        /// All of them, in the order in which they are looked at.
        pub const PROMISES: &[Promise] = &[$( Promise { name: stringify!($name), keep: |t| Box::pin($name(t)) } ),*];
    };
}

promises! {
    observing_shows_who_has_a_share
    writes_are_absolute_and_repeating_them_changes_nothing
    changing_one_member_leaves_the_others
    the_last_of_several_changes_to_a_member_counts
    applying_nothing_is_observing
    a_pool_that_is_not_there_changes_nothing
    a_member_that_cannot_be_changes_nothing_even_after_good_ones
    a_weight_out_of_range_changes_nothing
    modes_go_round_in_every_order
    a_ttl_is_set_for_the_whole_pool_or_refused
    asking_whether_writes_are_let_in_changes_nothing
    what_two_controllers_write_at_once_is_never_lost
    its_kind_says_of_it_what_it_says_of_itself
}

impl Promise {
    /// The promise in words.
    pub fn words(&self) -> String {
        self.name.replace('_', " ")
    }

    /// Looks whether it is kept, from the state that [`Trial::prepare`] makes.
    pub async fn look(&self, trial: &Trial) -> Kept {
        trial.prepare().await?;
        (self.keep)(trial).await
    }
}

/// Fails with what was seen, unless it holds.
macro_rules! ensure {
    ($holds:expr, $($said:tt)+) => {
        if !$holds {
            return Err(format!($($said)+));
        }
    };
}

impl Trial {
    /// The whole share that a member gets here.
    pub fn full(&self) -> u16 {
        match self.director.capabilities().weights {
            Weights::Exact(most) => most.min(100),
            Weights::Presence => 1,
        }
    }

    /// `old` and `other` have a share, `new` has none.
    pub async fn prepare(&self) -> Kept {
        self.apply(&[self.on(&self.old), self.on(&self.other), self.off(&self.new)]).await.map(drop)
    }

    /// Sets the three members, and the TTL, as they were, and says what is not.
    pub async fn put_back(&self, before: &Pool) -> Kept {
        let names = [&self.old, &self.other, &self.new];
        let as_it_was = |name: &String| match before.member(name) {
            Some(m) => Change { member: name.clone(), weight: m.weight, mode: m.mode },
            None => self.off(name),
        };
        self.apply(&names.map(as_it_was)).await?;
        if let Some(ttl) = before.ttl
            && self.pool().await?.ttl != Some(ttl)
        {
            self.director.set_ttl(&self.pool, ttl).await.map_err(|e| e.to_string())?;
        }
        let now = self.pool().await?;
        ensure!(same(before, &now), "the pool had {} and now has {}", shown(before), shown(&now));
        Ok(())
    }

    async fn pool(&self) -> Result<Pool, String> {
        self.director.observe(&self.pool).await.map_err(|e| format!("it could not be read: {e}"))
    }

    async fn apply(&self, changes: &[Change]) -> Result<Pool, String> {
        self.director.apply(&self.pool, changes).await.map_err(|e| format!("a change was not made: {e}"))
    }

    fn on(&self, member: &str) -> Change {
        Change { member: member.to_owned(), weight: self.full(), mode: Mode::Ready }
    }

    fn off(&self, member: &str) -> Change {
        Change { member: member.to_owned(), weight: 0, mode: Mode::Ready }
    }

    /// Nothing is otherwise than before.
    async fn is_as(&self, before: &Pool, after: &str) -> Kept {
        let now = self.pool().await?;
        ensure!(same(before, &now), "after {after} the pool has {}, and had {}", shown(&now), shown(before));
        Ok(())
    }
}

/// The share of a member; one that is not listed has none.
fn share(pool: &Pool, member: &str) -> u16 {
    pool.member(member).map_or(0, |m| m.weight)
}

/// A refusal, in whatever way, is what was asked for.
fn refusal<T>(of: &str, answer: Result<T, Error>) -> Result<Error, String> {
    match answer {
        Ok(_) => Err(format!("{of} was accepted")),
        Err(e) if e.kind != Kind::Refused => Err(format!("{of} was not refused, but: {e}")),
        Err(e) if e.to_string().chars().any(char::is_control) => {
            Err(format!("the error about {of} has control characters"))
        }
        Err(e) => Ok(e),
    }
}

/// Who has what. A ready member without weight has what one has that is not there.
fn settings(pool: &Pool) -> Vec<(&str, u16, Mode)> {
    let set = |m: &&Member| m.weight > 0 || m.mode != Mode::Ready;
    let mut all: Vec<_> = pool.members.iter().filter(set).map(|m| (m.name.as_str(), m.weight, m.mode)).collect();
    all.sort_by_key(|(name, ..)| *name);
    all
}

/// Whether two looks saw the same settings. What members hold and how they are changes by itself.
fn same(one: &Pool, other: &Pool) -> bool {
    settings(one) == settings(other) && one.ttl == other.ttl
}

fn shown(pool: &Pool) -> String {
    let member = |(name, weight, mode): &(&str, u16, Mode)| match mode {
        Mode::Ready => format!("{} {weight}", escape(name.as_bytes(), 80)),
        Mode::Drain => format!("{} {weight} (drain)", escape(name.as_bytes(), 80)),
        Mode::Maint => format!("{} {weight} (maintenance)", escape(name.as_bytes(), 80)),
    };
    let all: Vec<String> = settings(pool).iter().map(member).collect();
    let ttl = pool.ttl.map(|ttl| format!(", TTL {}", duration(ttl))).unwrap_or_default();
    if all.is_empty() { format!("nobody{ttl}") } else { all.join(", ") + &ttl }
}

async fn observing_shows_who_has_a_share(t: &Trial) -> Kept {
    let pool = t.pool().await?;
    ensure!(pool.name == t.pool, "it calls the pool `{}`", escape(pool.name.as_bytes(), 80));
    let shares = (share(&pool, &t.old), share(&pool, &t.other), share(&pool, &t.new));
    ensure!(shares == (t.full(), t.full(), 0), "it shows {}", shown(&pool));
    let can = t.director.capabilities();
    ensure!(
        pool.ttl.is_some() == can.ttl,
        "its TTL is {:?}, and it says of itself that `ttl` is {}",
        pool.ttl,
        can.ttl
    );
    for name in [&t.old, &t.other] {
        let Some(member) = pool.member(name) else { return Err(format!("{name} is not there")) };
        ensure!(member.mode == Mode::Ready, "{name} is not ready");
        let counted = member.connections.is_some();
        ensure!(
            counted == can.connections,
            "connections of {name}: {:?}; it says that it counts them: {}",
            member.connections,
            can.connections
        );
    }
    Ok(())
}

async fn writes_are_absolute_and_repeating_them_changes_nothing(t: &Trial) -> Kept {
    let changes = [t.on(&t.new), t.off(&t.old)];
    let once = t.apply(&changes).await?;
    ensure!((share(&once, &t.new), share(&once, &t.old)) == (t.full(), 0), "it has {}", shown(&once));
    let twice = t.apply(&changes).await?;
    ensure!(same(&once, &twice), "after the second time it has {}, after the first {}", shown(&twice), shown(&once));
    t.is_as(&twice, "the second time").await
}

async fn changing_one_member_leaves_the_others(t: &Trial) -> Kept {
    let before = t.pool().await?;
    let after = t.apply(&[t.on(&t.new)]).await?;
    let but_new = |pool: &Pool| {
        let members = pool.members.iter().filter(|m| m.name != t.new).cloned().collect();
        Pool { members, ..pool.clone() }
    };
    ensure!(same(&but_new(&before), &but_new(&after)), "it had {} and has {}", shown(&before), shown(&after));
    ensure!(share(&after, &t.new) == t.full(), "it has {}", shown(&after));
    Ok(())
}

async fn the_last_of_several_changes_to_a_member_counts(t: &Trial) -> Kept {
    let after = t.apply(&[t.on(&t.new), t.off(&t.new)]).await?;
    ensure!(share(&after, &t.new) == 0, "it has {}", shown(&after));
    let after = t.apply(&[t.off(&t.new), t.on(&t.new)]).await?;
    ensure!(share(&after, &t.new) == t.full(), "it has {}", shown(&after));
    Ok(())
}

async fn applying_nothing_is_observing(t: &Trial) -> Kept {
    let after = t.apply(&[]).await?;
    t.is_as(&after, "no change").await
}

async fn a_pool_that_is_not_there_changes_nothing(t: &Trial) -> Kept {
    let before = t.pool().await?;
    for pool in ["nothere", "", "bad name", "bad;name", "bad/name", "bad\nname", "\u{1b}[2J"] {
        let named = format!("a change to the pool {pool:?}");
        refusal(&named, t.director.apply(pool, &[t.on(&t.new)]).await)?;
        ensure!(t.director.observe(pool).await.is_err(), "it shows a pool {pool:?}");
        ensure!(t.director.set_ttl(pool, Duration::from_secs(9)).await.is_err(), "it set the TTL of {pool:?}");
        t.is_as(&before, &named).await?;
    }
    Ok(())
}

async fn a_member_that_cannot_be_changes_nothing_even_after_good_ones(t: &Trial) -> Kept {
    let before = t.pool().await?;
    for member in t.nobody.as_deref().into_iter().chain(["", "a b", "a;b", "a\nset weight web/new 7"]) {
        let named = format!("a change to the member {member:?}");
        refusal(&named, t.director.apply(&t.pool, &[t.on(&t.new), t.on(member)]).await)?;
        t.is_as(&before, &named).await?;
    }
    Ok(())
}

async fn a_weight_out_of_range_changes_nothing(t: &Trial) -> Kept {
    let Weights::Exact(most) = t.director.capabilities().weights else { return Ok(()) };
    let before = t.pool().await?;
    let weighs = |weight| Change { weight, ..t.on(&t.old) };
    if let Some(over) = most.checked_add(1) {
        refusal(&format!("the weight {over}"), t.director.apply(&t.pool, &[t.on(&t.new), weighs(over)]).await)?;
        t.is_as(&before, "a weight that is too large").await?;
    }
    let after = t.apply(&[weighs(most)]).await?;
    ensure!(share(&after, &t.old) == most, "{} was set to {most}, and it has {}", t.old, shown(&after));
    Ok(())
}

async fn modes_go_round_in_every_order(t: &Trial) -> Kept {
    use Mode::{Drain, Maint, Ready};
    for mode in [Drain, Maint, Ready, Maint, Drain, Ready] {
        let after = t.apply(&[Change { mode, ..t.on(&t.old) }]).await?;
        let seen = after.member(&t.old).filter(|m| m.weight > 0 || m.mode != Ready).map(|m| m.mode);
        // Without a drain mode whoever is not ready gets nothing.
        let wanted = if t.director.capabilities().drain { Some(mode) } else { (mode == Ready).then_some(Ready) };
        ensure!(seen == wanted, "{} was set to {mode:?}, and it has {}", t.old, shown(&after));
        ensure!(share(&after, &t.other) == t.full(), "{} is not as it was: {}", t.other, shown(&after));
    }
    Ok(())
}

async fn a_ttl_is_set_for_the_whole_pool_or_refused(t: &Trial) -> Kept {
    let before = t.pool().await?;
    let set = |ttl| t.director.set_ttl(&t.pool, ttl);
    let wanted = Duration::from_secs(7);
    if !t.director.capabilities().ttl {
        refusal("a TTL", set(wanted).await)?;
        return t.is_as(&before, "a TTL").await;
    }
    for _ in 0..2 {
        let after = set(wanted).await.map_err(|e| e.to_string())?;
        let as_wanted = Pool { ttl: Some(wanted), ..before.clone() };
        ensure!(same(&after, &as_wanted), "it has {}", shown(&after));
    }
    let after = t.apply(&[t.on(&t.new)]).await?;
    ensure!(after.ttl == Some(wanted), "with a new member it has {}", shown(&after));
    for unfit in [Duration::from_millis(1500), Duration::from_secs(1 << 31)] {
        refusal(&format!("a TTL of {unfit:?}"), set(unfit).await)?;
    }
    t.is_as(&after, "a TTL that cannot be").await?;
    match before.ttl {
        Some(ttl) => set(ttl).await.map(drop).map_err(|e| e.to_string()),
        None => Ok(()),
    }
}

async fn asking_whether_writes_are_let_in_changes_nothing(t: &Trial) -> Kept {
    let before = t.pool().await?;
    t.director.writable(&t.pool).await.map_err(|e| format!("it lets no writes in: {e}"))?;
    ensure!(t.director.writable("nothere").await.is_err(), "it would let writes in to a pool that is not there");
    t.is_as(&before, "asking").await
}

async fn what_two_controllers_write_at_once_is_never_lost(t: &Trial) -> Kept {
    let turns = async |director: &dyn Director, on: Change, off: Change| {
        for turn in 0..6 {
            insist(director, &t.pool, if turn % 2 == 0 { &on } else { &off }).await?;
        }
        insist(director, &t.pool, &on).await
    };
    let first = turns(&*t.director, t.on(&t.new), t.off(&t.new));
    let second = turns(&*t.twin, t.on(&t.other), t.off(&t.other));
    let (first, second) = tokio::join!(first, second);
    first.and(second)?;
    let pool = t.pool().await?;
    let all = [&t.new, &t.other, &t.old].iter().all(|name| share(&pool, name) == t.full());
    ensure!(all, "both wrote shares, and it has {}", shown(&pool));
    Ok(())
}

/// Applies until no other controller is in the way, as a run does: it asks again where an answer was lost, which a busy server's may be.
/// What was applied is there.
async fn insist(director: &dyn Director, pool: &str, change: &Change) -> Kept {
    let mut why = String::new();
    for _ in 0..50 {
        match director.apply(pool, std::slice::from_ref(change)).await {
            Ok(after) if share(&after, &change.member) == change.weight => return Ok(()),
            Ok(after) => {
                return Err(format!("{} was set to {}, and it has {}", change.member, change.weight, shown(&after)));
            }
            Err(e) if e.transient || matches!(e.kind, Kind::Conflict | Kind::Disagrees) => why = e.to_string(),
            Err(e) => return Err(e.to_string()),
        }
    }
    Err(format!("50 tries in a row came to nothing, the last: {why}"))
}

async fn its_kind_says_of_it_what_it_says_of_itself(t: &Trial) -> Kept {
    let kind = t.config.kind();
    ensure!(kind.capabilities() == t.director.capabilities(), "its capabilities are {:?}", t.director.capabilities());
    let pool = kind.pool_name(&t.pool).map_err(|unfit| unfit.sentence(&t.pool))?;
    ensure!(kind.pool_name(&pool).as_ref() == Ok(&pool), "the one name of a pool, `{pool}`, has another");
    let by_name = t.director.observe(&pool).await.map_err(|e| e.to_string())?;
    ensure!(settings(&by_name) == settings(&t.pool().await?), "by the name `{pool}` it has {}", shown(&by_name));
    for member in [&t.old, &t.other, &t.new] {
        kind.check_member(member).map_err(|unfit| unfit.sentence(member))?;
    }
    for name in ["", "a b", "a;b", "a/b", "a\nb", "\u{1b}[2J"] {
        let (Err(pool), Err(member)) = (kind.pool_name(name), kind.check_member(name)) else {
            return Err(format!("{name:?} may be a name"));
        };
        let said = refusal(&format!("a pool {name:?}"), t.director.observe(name).await)?;
        ensure!(
            (&said.what, said.hint.as_ref()) == (&pool.sentence(name), Some(&pool.hint)),
            "of a pool {name:?} it says {said}"
        );
        let said = refusal(&format!("a member {name:?}"), t.director.apply(&t.pool, &[t.on(name)]).await)?;
        ensure!(said.what.starts_with(&member.sentence(name)), "of a member {name:?} it says {said}");
    }
    Ok(())
}
