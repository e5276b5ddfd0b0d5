//! Zones behind an API that takes whole changes: what was read goes and what is wanted comes, all of it or nothing, which is a
//! compare-and-swap; where an API has none, its folder says what stands in for it.
//!
//! Owns the way of every such change: read, swap, wait until name servers have it, read again. Members are the addresses of a name. Must never
//! report a change as done before that, and never write over what nobody has read.

pub mod exchange;
pub mod kind;
mod servers;
pub mod sets;
pub mod settings;

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::Mutex;

use self::exchange::Failure;
use self::kind::Zone;
use self::servers::Servers;
use self::sets::{RecordSet, Sets, Unfit, Words};
use super::{Director, DirectorKind, MAX_TTL, misnamed};
use crate::model::{Capabilities, Change, Kept, Pool, Weights};
use crate::outside::{Certainty, Error, Kind};

/// How long name servers may need to have a change.
const FOLLOW: Duration = Duration::from_secs(300);
/// How often it is asked for meanwhile: accounts have few requests a second.
const EVERY: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(5));

/// A change that was taken.
#[derive(Debug)]
pub struct Taken {
    /// By what it is asked for.
    pub id: String,
    /// How it stands, in the words of the API.
    pub status: String,
}

/// What one API has that others have not.
#[async_trait]
pub trait Api: Send + Sync {
    /// What it is called in the inventory.
    fn name(&self) -> &str;

    /// What follows from its settings alone.
    fn kind(&self) -> &dyn DirectorKind;

    /// What its record sets are called.
    fn words(&self) -> &'static Words;

    /// The zone, as its settings say it.
    fn zone(&self) -> Zone<'_>;

    /// What a change is called that name servers have.
    fn in_sync(&self) -> &'static str;

    /// An error at this zone.
    fn error(&self, kind: Kind, what: String) -> Error;

    /// What a refusal by this code means, and what to do about it; `what` is the whole sentence.
    fn said(&self, code: &str, what: String) -> Error;

    /// What became of something that was asked for.
    fn failed(&self, what: &str, failure: Failure) -> Error {
        match failure {
            Failure::Unsent(error) | Failure::Overwrote(error) => error,
            Failure::Lost(why) => self.error(Kind::Lost, format!("the zone could not {what}: {why}")),
            Failure::Said(code, message) => self.said(&code, format!("the zone could not {what}: {message} ({code})")),
        }
    }

    /// Whether it says no because what was read is not there any more.
    fn is_overtaken(&self, code: &str) -> bool;

    /// All sets of a name that could be addresses, or stand in their place. The name ends with a dot.
    async fn list(&self, owner: &str) -> Result<Vec<RecordSet>, Error>;

    /// One change: all of it, or nothing.
    async fn change(&self, before: &Sets, after: &Sets) -> Result<Taken, Failure>;

    /// How a change stands that was taken.
    async fn status(&self, id: &str) -> Result<String, Error>;

    /// A change that has to be waited for before these sets are what name servers have, if there may be one.
    async fn open(&self, owner: &str, sets: &Sets) -> Result<Option<Taken>, Error>;

    /// Asks for a change that is refused as overtaken whenever changes are let in, such as to delete a set that is not there: nothing changes.
    async fn delete_nothing(&self, owner: &str, sets: &Sets) -> Result<(), Failure>;

    /// Whether changes would be let in, found out without making one: credentials and zone are looked at before what is to be deleted.
    async fn try_change(&self, owner: &str, sets: &Sets) -> Result<(), Error> {
        match self.delete_nothing(owner, sets).await {
            Err(Failure::Said(code, _)) if self.is_overtaken(&code) => Ok(()),
            Err(failure) => Err(self.failed("be changed", failure)),
            Ok(()) => {
                let what = "it says that it has deleted a record set that is not there";
                Err(self.error(Kind::Disagrees, what.to_owned()))
            }
        }
    }
}

/// One zone.
pub struct Hosted<A> {
    api: A,
    patience: Duration,
    /// What name servers were seen to have, by name. A change that another controller made may still be under way.
    in_sync: Mutex<BTreeMap<String, Sets>>,
}

/// A pool as it is called and as the API calls it.
struct PoolName<'a> {
    pool: &'a str,
    /// In lower case, with a dot at the end.
    owner: String,
}

impl PoolName<'_> {
    /// For people.
    fn text(&self) -> &str {
        self.owner.trim_end_matches('.')
    }
}

impl<A: Api> Hosted<A> {
    /// The zone behind an API. Contacts nobody yet.
    pub fn over(api: A) -> Self {
        Self { api, patience: FOLLOW, in_sync: Mutex::default() }
    }

    /// The same with another time that name servers may need; 5 minutes unless given.
    #[must_use]
    pub fn follow_within(mut self, follow: Duration) -> Self {
        self.patience = follow;
        self
    }

    fn named<'a>(&self, pool: &'a str) -> Result<PoolName<'a>, Error> {
        let name = self.api.kind().pool_name(pool);
        let name = name.map_err(|unfit| misnamed(self.api.name(), pool, unfit))?;
        Ok(PoolName { pool, owner: format!("{name}.") })
    }

    async fn list(&self, name: &PoolName<'_>) -> Result<Sets, Error> {
        let all = self.api.list(&name.owner).await?;
        Ok(Sets { records: self.api.zone().records, words: self.api.words(), all })
    }

    async fn pool_of(&self, name: &PoolName<'_>) -> Result<Sets, Error> {
        let sets = self.list(name).await?;
        sets.check().map_err(|unfit| self.unfit(name, unfit))?;
        Ok(sets)
    }

    fn unfit(&self, name: &PoolName<'_>, Unfit(what, hint): Unfit) -> Error {
        self.api.error(Kind::Refused, format!("{} {what}", name.text())).hint(hint)
    }

    fn pool(name: &PoolName<'_>, sets: &Sets) -> Pool {
        let ttl = sets.ttl().map(|secs| Duration::from_secs(secs.into()));
        Pool { name: name.pool.to_owned(), members: sets.members(), ttl }
    }

    /// Brings the sets from what was read to what is wanted, waits until name servers have it, and reads it again.
    async fn swap(&self, name: &PoolName<'_>, before: &Sets, after: &Sets) -> Result<Sets, Error> {
        if before.same(after) {
            if self.in_sync.lock().await.get(&name.owner).is_some_and(|seen| seen.same(before)) {
                return Ok(before.clone());
            }
            // Whoever wrote this may not have waited.
            self.catch_up(name, before).await?;
        } else {
            match self.api.change(before, after).await {
                Ok(taken) => self.follow(taken).await?,
                Err(failure) => {
                    self.after_failure(name, (before, after), failure).await?;
                    self.catch_up(name, after).await?;
                }
            }
        }
        let now = self.pool_of(name).await.map_err(|e| e.certainty(Certainty::Unknown))?;
        if !now.same(after) {
            return Ok(now);
        }
        let now = self.serve(name, now).await?;
        self.in_sync.lock().await.insert(name.owner.clone(), now.clone());
        Ok(now)
    }

    async fn catch_up(&self, name: &PoolName<'_>, sets: &Sets) -> Result<(), Error> {
        match self.api.open(&name.owner, sets).await? {
            Some(taken) => self.follow(taken).await,
            None => Ok(()),
        }
    }

    /// Waits until the API says that name servers have a change.
    async fn follow(&self, Taken { id, mut status }: Taken) -> Result<(), Error> {
        let (start, (mut interval, longest)) = (tokio::time::Instant::now(), EVERY);
        while status != self.api.in_sync() {
            if start.elapsed() >= self.patience {
                let (title, done) = (self.api.words().title, self.api.in_sync());
                let waited = crate::text::duration(self.patience);
                let what = format!("change {id} was taken and is still {status} after {waited}");
                let hint = format!("not all name servers have it: see {title}'s status; run again when it is {done}");
                return Err(self.api.error(Kind::Lost, what).hint(hint));
            }
            tokio::time::sleep(interval.min(self.patience)).await;
            interval = longest.min(interval * 2);
            status = self.api.status(&id).await?;
        }
        Ok(())
    }

    /// Waits until the name servers that can be asked answer it, or what somebody else has made of it meanwhile; returns that.
    async fn serve(&self, name: &PoolName<'_>, sets: Sets) -> Result<Sets, Error> {
        let (start, (mut interval, longest)) = (tokio::time::Instant::now(), EVERY);
        let unknown = |e: Error| e.certainty(Certainty::Unknown);
        let Zone { domain, servers, .. } = self.api.zone();
        let servers = Servers { name: self.api.name(), domain, at: servers };
        let mut sets = sets;
        loop {
            match servers.behind(&name.owner, &sets).await.map_err(unknown)? {
                None => return Ok(sets),
                Some(behind) if start.elapsed() >= self.patience => return Err(behind),
                Some(_) => tokio::time::sleep(interval.min(self.patience)).await,
            }
            interval = longest.min(interval * 2);
            sets = self.pool_of(name).await.map_err(unknown)?;
        }
    }

    /// A change that was refused or whose answer was lost: what is there now decides.
    async fn after_failure(
        &self,
        name: &PoolName<'_>,
        (before, after): (&Sets, &Sets),
        failure: Failure,
    ) -> Result<(), Error> {
        if let Failure::Overwrote(error) = failure {
            return Err(error);
        }
        let overtaken = matches!(&failure, Failure::Said(code, _) if self.api.is_overtaken(code));
        let lost = matches!(failure, Failure::Lost(_));
        if !overtaken && !lost {
            return Err(self.api.failed("be changed", failure).nothing_changed());
        }
        let now = self
            .list(name)
            .await
            .map_err(|e| if lost { e.certainty(Certainty::Unknown) } else { e.nothing_changed() })?;
        match () {
            // It was made, or an earlier try got just this far.
            () if now.same(after) => Ok(()),
            () if overtaken && !now.same(before) => Err(self.conflict(name, before, &now)),
            () if overtaken => Err(self.api.failed("be changed", failure).nothing_changed()),
            () => Err(self.api.failed("be changed", failure)),
        }
    }

    fn conflict(&self, name: &PoolName<'_>, before: &Sets, now: &Sets) -> Error {
        let what = format!(
            "{} was changed by somebody else: it had {} and now has {}; nothing of ours was written",
            name.text(),
            before.words(),
            now.words()
        );
        self.api.error(Kind::Conflict, what).hint("find out who else updates this name, then run again")
    }

    fn overruled(&self, name: &PoolName<'_>, now: &Sets) -> Error {
        let what = format!("{} was written and reads back {}", name.text(), now.words());
        self.api.error(Kind::Disagrees, what).hint("somebody else is changing it: find out who, then run again")
    }

    fn check(&self, changes: &[Change]) -> Result<(), Error> {
        let Weights::Exact(most) = self.capabilities().weights else { return Ok(()) };
        let Some(change) = changes.iter().find(|change| change.weight > most) else { return Ok(()) };
        let what = format!("weight {} of {} is over {most}", change.weight, change.member);
        Err(self.api.error(Kind::Refused, what))
    }
}

#[async_trait]
impl<A: Api> Director for Hosted<A> {
    fn capabilities(&self) -> Capabilities {
        self.api.kind().capabilities()
    }

    async fn observe(&self, pool: &str) -> Result<Pool, Error> {
        let name = self.named(pool)?;
        let sets = self.pool_of(&name).await?;
        Ok(Self::pool(&name, &sets))
    }

    async fn apply(&self, pool: &str, changes: &[Change]) -> Result<Pool, Error> {
        let name = self.named(pool)?;
        let wishes = sets::wishes(changes);
        let wishes = wishes.map_err(|(member, unfit)| misnamed(self.api.name(), member, unfit).nothing_changed())?;
        self.check(changes).map_err(Error::nothing_changed)?;
        let before = self.pool_of(&name).await.map_err(Error::nothing_changed)?;
        if changes.is_empty() {
            return Ok(Self::pool(&name, &before));
        }
        let after = before.changed(&name.owner, &wishes);
        let after = after.map_err(|unfit| self.unfit(&name, unfit).nothing_changed())?;
        let now = self.swap(&name, &before, &after).await?;
        // Others may have changed other members since; ours must be as wanted.
        match now.changed(&name.owner, &wishes) {
            Ok(same) if same.same(&now) => Ok(Self::pool(&name, &now)),
            _ => Err(self.overruled(&name, &now)),
        }
    }

    async fn set_ttl(&self, pool: &str, ttl: Duration) -> Result<Pool, Error> {
        let name = self.named(pool)?;
        let secs = u32::try_from(ttl.as_secs()).ok().filter(|_| ttl <= MAX_TTL && ttl.subsec_nanos() == 0);
        let Some(secs) = secs else {
            let what = format!("a TTL cannot be {}", crate::text::duration(ttl));
            return Err(self.api.error(Kind::Refused, what).hint("a TTL is a whole number of seconds below 2^31"));
        };
        let before = self.pool_of(&name).await.map_err(Error::nothing_changed)?;
        let now = self.swap(&name, &before, &before.with_ttl(secs)).await?;
        match now.same(&now.with_ttl(secs)) {
            true => Ok(Self::pool(&name, &now)),
            false => Err(self.overruled(&name, &now)),
        }
    }

    async fn kept(&self, _pool: &str, _wanted: &[Change]) -> Result<Kept, Error> {
        Ok(kind::kept(self.api.words().title))
    }

    async fn settled(&self, _pool: &str) -> Result<Option<String>, Error> {
        // A change is not done before name servers have it; what resolvers keep is outlasted.
        Ok(None)
    }

    async fn writable(&self, pool: &str) -> Result<(), Error> {
        let name = self.named(pool)?;
        let sets = self.pool_of(&name).await?;
        self.api.try_change(&name.owner, &sets).await
    }
}
