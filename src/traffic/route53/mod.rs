//! A hosted zone of Route 53 as director: DELETE of what was read and CREATE of what is wanted in one batch, which is a compare-and-swap.
//!
//! Members are the addresses of a name. Must never send UPSERT, which writes over what nobody has read, and never report a change as done
//! before the name servers have it.

mod credentials;
mod kind;
mod sets;
mod settings;
mod sign;
mod wire;
mod xml;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::Mutex;

use self::sets::{MAX_WEIGHT, RecordSet, Sets};
use self::settings::Records;
use self::wire::{Api, Ask, Failure};
use super::{Director, DirectorKind, MAX_TTL, misnamed};
use crate::model::{Capabilities, Change, Kept, Pool};
use crate::outside::{Certainty, Error, Kind};
use crate::secret::Secrets;

pub use self::settings::{From, Records as RecordKind, Settings};

/// How long a change may be PENDING.
const FOLLOW: Duration = Duration::from_secs(300);
/// How often it is asked for meanwhile: five requests a second are an account's all.
const EVERY: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(5));
/// Most pages of a listing that one name can have.
const PAGES: usize = 20;
/// What Route 53 takes in one batch.
const LONGEST_BATCH: usize = 32_000;
/// What nobody's address is.
const NOBODY: &str = "migrate-asks-whether-it-may";

/// One hosted zone.
pub struct HostedZone {
    api: Api,
    patience: Duration,
    /// What name servers were seen to have, by name. A change that another controller made may still be PENDING.
    in_sync: Mutex<BTreeMap<String, Sets>>,
}

/// A pool as it is called and as Route 53 calls it.
struct PoolName<'a> {
    pool: &'a str,
    /// In lower case, with a dot at the end.
    owner: String,
}

impl HostedZone {
    /// A director over this zone. Contacts nobody yet; credentials are looked up at each request.
    pub fn new(name: &str, settings: &Settings, secrets: Arc<dyn Secrets>) -> Self {
        Self { api: Api::new(name, settings, secrets), patience: FOLLOW, in_sync: Mutex::default() }
    }

    /// The same with another time that a change may be PENDING; 5 minutes unless given.
    #[must_use]
    pub fn follow_within(mut self, follow: Duration) -> Self {
        self.patience = follow;
        self
    }

    fn named<'a>(&self, pool: &'a str) -> Result<PoolName<'a>, Error> {
        let name = self.api.settings.pool_name(pool);
        let name = name.map_err(|unfit| misnamed(&self.api.name, pool, unfit))?;
        Ok(PoolName { pool, owner: format!("{name}.") })
    }

    fn path(&self) -> String {
        format!("/2013-04-01/hostedzone/{}/rrset", self.api.settings.zone)
    }

    /// All sets of a name that could be addresses, or stand in their place.
    async fn list(&self, name: &PoolName<'_>) -> Result<Sets, Error> {
        let mut all: Vec<RecordSet> = Vec::new();
        let mut from = (name.owner.clone(), "A".to_owned(), None::<String>);
        for _ in 0..PAGES {
            let mut query = vec![("name", from.0.as_str()), ("type", from.1.as_str()), ("maxitems", "300")];
            query.extend(from.2.as_deref().map(|id| ("identifier", id)));
            let ask = Ask { method: "GET", path: self.path(), query: &query, body: String::new() };
            let bytes = self.api.ask(ask).await.map_err(|failure| self.failed("be read", failure))?;
            let page = xml::page(&bytes);
            let page = page.ok_or_else(|| self.api.error(Kind::Lost, "its listing cannot be understood"))?;
            all.extend(page.sets.into_iter().filter(|set| set.name == name.owner && in_question(&set.rtype)));
            match page.next {
                // They are in the order of names.
                Some(next) if next.0 == name.owner => from = next,
                _ => return Ok(Sets { records: self.api.settings.records, all }),
            }
        }
        Err(self.api.error(Kind::Refused, format!("{} has more record sets than can be read", name.owner)))
    }

    async fn pool_of(&self, name: &PoolName<'_>) -> Result<Sets, Error> {
        let sets = self.list(name).await?;
        sets.check().map_err(|unfit| self.unfit(name, unfit))?;
        Ok(sets)
    }

    fn unfit(&self, name: &PoolName<'_>, sets::Unfit(what, hint): sets::Unfit) -> Error {
        self.api.error(Kind::Refused, format!("{} {what}", name.owner.trim_end_matches('.'))).hint(hint)
    }

    fn pool(&self, name: &PoolName<'_>, sets: &Sets) -> Pool {
        let ttl = sets.ttl().map(|secs| Duration::from_secs(secs.into()));
        Pool { name: name.pool.to_owned(), members: sets.members(), ttl }
    }

    /// Brings the sets from what was read to what is wanted, waits until name servers have it, and reads it again.
    async fn swap(&self, name: &PoolName<'_>, before: &Sets, after: &Sets) -> Result<Sets, Error> {
        let (gone, new) = before.steps_to(after);
        if gone.is_empty() && new.is_empty() {
            if self.in_sync.lock().await.get(&name.owner).is_some_and(|seen| seen.same(before)) {
                return Ok(before.clone());
            }
            // Whoever wrote this may not have waited.
            self.touch(name, before).await?;
        } else {
            match self.change(&gone, &new).await {
                Ok(answer) => self.follow(&answer).await?,
                Err(failure) => {
                    self.after_failure(name, (before, after), failure).await?;
                    self.touch(name, after).await?;
                }
            }
        }
        let now = self.pool_of(name).await.map_err(|e| e.certainty(Certainty::Unknown))?;
        if now.same(after) {
            self.in_sync.lock().await.insert(name.owner.clone(), now.clone());
        }
        Ok(now)
    }

    /// One batch: all of it, or nothing.
    async fn change(&self, gone: &[&RecordSet], new: &[&RecordSet]) -> Result<Vec<u8>, Failure> {
        let body = xml::batch(gone, new);
        if body.len() > LONGEST_BATCH {
            let error = self.api.error(Kind::Refused, "the change is longer than Route 53 takes in one batch");
            return Err(Failure::Unsent(error));
        }
        let path = format!("{}/", self.path());
        self.api.ask(Ask { method: "POST", path, query: &[], body }).await
    }

    /// Puts one set in its own place and waits for that: when it is INSYNC, all that was changed before it is, too.
    async fn touch(&self, name: &PoolName<'_>, sets: &Sets) -> Result<(), Error> {
        let Some(first) = sets.all.first() else { return Ok(()) };
        match self.change(&[first], &[first]).await {
            Ok(answer) => self.follow(&answer).await,
            Err(Failure::Said(code, _)) if code == "InvalidChangeBatch" => {
                let what = format!("{} is just being changed by somebody else", name.owner.trim_end_matches('.'));
                Err(self.api.error(Kind::Conflict, what).hint("find out who else updates this name, then run again"))
            }
            Err(failure) => Err(self.failed("be asked whether name servers have it", failure)),
        }
    }

    /// Waits until a change is INSYNC.
    async fn follow(&self, answer: &[u8]) -> Result<(), Error> {
        let lost = |what: &str| self.api.error(Kind::Lost, what);
        let (id, mut status) =
            xml::change(answer).ok_or_else(|| lost("the answer to the change cannot be understood"))?;
        let id = id.rsplit('/').next().unwrap_or_default().to_owned();
        if id.is_empty() || !id.bytes().all(|b| b.is_ascii_alphanumeric()) {
            return Err(lost("the answer to the change has no id"));
        }
        let (start, (mut interval, longest)) = (tokio::time::Instant::now(), EVERY);
        while status != "INSYNC" {
            if start.elapsed() >= self.patience {
                let waited = crate::text::duration(self.patience);
                let error = lost(&format!("change {id} was taken and is still {status} after {waited}"));
                return Err(
                    error.hint("not all name servers have it: see Route 53's status; run again when it is INSYNC")
                );
            }
            tokio::time::sleep(interval.min(self.patience)).await;
            interval = longest.min(interval * 2);
            let ask = Ask { method: "GET", path: format!("/2013-04-01/change/{id}"), query: &[], body: String::new() };
            let bytes = self.api.ask(ask).await.map_err(|failure| self.failed("be asked for the change", failure))?;
            (_, status) = xml::change(&bytes).ok_or_else(|| lost("the state of the change cannot be understood"))?;
        }
        Ok(())
    }

    /// A change that was refused or whose answer was lost: what is there now decides.
    async fn after_failure(
        &self,
        name: &PoolName<'_>,
        (before, after): (&Sets, &Sets),
        failure: Failure,
    ) -> Result<(), Error> {
        let batch = matches!(&failure, Failure::Said(code, _) if code == "InvalidChangeBatch");
        let lost = matches!(failure, Failure::Lost(_));
        if !batch && !lost {
            return Err(self.failed("be changed", failure).nothing_changed());
        }
        let now = self
            .list(name)
            .await
            .map_err(|e| if lost { e.certainty(Certainty::Unknown) } else { e.nothing_changed() })?;
        match () {
            // It was made, or an earlier try got just this far.
            () if now.same(after) => Ok(()),
            () if batch && !now.same(before) => Err(self.conflict(name, before, &now)),
            () if batch => Err(self.failed("be changed", failure).nothing_changed()),
            () => Err(self.failed("be changed", failure)),
        }
    }

    fn conflict(&self, name: &PoolName<'_>, before: &Sets, now: &Sets) -> Error {
        let what = format!(
            "{} was changed by somebody else: it had {} and now has {}; nothing of ours was written",
            name.owner.trim_end_matches('.'),
            before.words(),
            now.words()
        );
        self.api.error(Kind::Conflict, what).hint("find out who else updates this name, then run again")
    }

    /// What Route 53's errors mean and what to do about them.
    fn failed(&self, what: &str, failure: Failure) -> Error {
        let (code, message) = match failure {
            Failure::Unsent(error) => return error,
            Failure::Lost(why) => return self.api.error(Kind::Lost, format!("the zone could not {what}: {why}")),
            Failure::Said(code, message) => (code, message),
        };
        let error = |kind| self.api.error(kind, format!("the zone could not {what}: {message} ({code})"));
        match code.as_str() {
            "AccessDenied" | "AccessDeniedException" => error(Kind::Refused).hint(
                "allow `route53:ListResourceRecordSets` and `route53:ChangeResourceRecordSets` on the zone, and `route53:GetChange` on `change/*`",
            ),
            "InvalidClientTokenId" | "SignatureDoesNotMatch" | "IncompleteSignature" => {
                error(Kind::Refused).hint("these credentials are not valid; is this machine's clock right?")
            }
            "ExpiredToken" | "RequestExpired" => error(Kind::Refused).hint("get new credentials; is this machine's clock right?"),
            "NoSuchHostedZone" => error(Kind::Refused).hint("`aws route53 list-hosted-zones` tells the ids there are"),
            "Throttling" | "ThrottlingException" | "PriorRequestNotComplete" | "ServiceUnavailable" => Error {
                transient: true,
                ..error(Kind::Lost).certainty(Certainty::NotDone).hint("an account has five requests a second: who else makes them?")
            },
            "InternalFailure" | "InternalError" => error(Kind::Lost),
            _ => error(Kind::Refused),
        }
    }

    fn overruled(&self, name: &PoolName<'_>, now: &Sets) -> Error {
        let what = format!("{} was written and reads back {}", name.owner.trim_end_matches('.'), now.words());
        self.api.error(Kind::Disagrees, what).hint("somebody else is changing it: find out who, then run again")
    }

    fn check(&self, changes: &[Change]) -> Result<(), Error> {
        let over = changes.iter().find(|c| self.api.settings.records == Records::Weighted && c.weight > MAX_WEIGHT);
        let Some(change) = over else { return Ok(()) };
        let what = format!("weight {} of {} is over {MAX_WEIGHT}", change.weight, change.member);
        Err(self.api.error(Kind::Refused, what))
    }
}

/// Types that addresses are, or that stand in their place.
fn in_question(rtype: &str) -> bool {
    ["A", "AAAA", "CNAME"].contains(&rtype)
}

#[async_trait]
impl Director for HostedZone {
    fn capabilities(&self) -> Capabilities {
        self.api.settings.capabilities()
    }

    async fn observe(&self, pool: &str) -> Result<Pool, Error> {
        let name = self.named(pool)?;
        let sets = self.pool_of(&name).await?;
        Ok(self.pool(&name, &sets))
    }

    async fn apply(&self, pool: &str, changes: &[Change]) -> Result<Pool, Error> {
        let name = self.named(pool)?;
        let wishes = sets::wishes(changes);
        let wishes = wishes.map_err(|(member, unfit)| misnamed(&self.api.name, member, unfit).nothing_changed())?;
        self.check(changes).map_err(Error::nothing_changed)?;
        let before = self.pool_of(&name).await.map_err(Error::nothing_changed)?;
        if changes.is_empty() {
            return Ok(self.pool(&name, &before));
        }
        let after = before.changed(&name.owner, &wishes);
        let after = after.map_err(|unfit| self.unfit(&name, unfit).nothing_changed())?;
        let now = self.swap(&name, &before, &after).await?;
        // Others may have changed other members since; ours must be as wanted.
        match now.changed(&name.owner, &wishes) {
            Ok(same) if same.same(&now) => Ok(self.pool(&name, &now)),
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
            true => Ok(self.pool(&name, &now)),
            false => Err(self.overruled(&name, &now)),
        }
    }

    async fn kept(&self, _pool: &str, _wanted: &[Change]) -> Result<Kept, Error> {
        Ok(Kept::noted("the record sets are what Route 53 keeps: nothing starts anew"))
    }

    async fn settled(&self, _pool: &str) -> Result<Option<String>, Error> {
        // A change is not done before all name servers have it; what resolvers keep is outlasted.
        Ok(None)
    }

    async fn writable(&self, pool: &str) -> Result<(), Error> {
        let name = self.named(pool)?;
        let sets = self.pool_of(&name).await?;
        // A set that is not there cannot be deleted: credentials and zone are looked at, and nothing changes.
        let Some(like) = sets.all.first() else { return Ok(()) };
        let id = Some(NOBODY.to_owned());
        let values = vec![if like.rtype == "A" { "192.0.2.255" } else { "2001:db8::ffff" }.to_owned()];
        let absent = RecordSet { id, weight: Some(0), multivalue: None, health_check: None, values, ..like.clone() };
        match self.change(&[&absent], &[]).await {
            Err(Failure::Said(code, _)) if code == "InvalidChangeBatch" => Ok(()),
            Err(failure) => Err(self.failed("be changed", failure)),
            Ok(_) => Err(self.api.error(Kind::Disagrees, "it says that it has deleted a record set that is not there")),
        }
    }
}
