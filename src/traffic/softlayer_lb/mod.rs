//! Balancers of SoftLayer (IBM Cloud Load Balancer, LBaaS) as director: a pool is a balancer, its members are addresses with weights from
//! 0 to 100.
//!
//! While a balancer is at work on a change (`UPDATE_PENDING`) it takes no other one: that is waited for before a write and after it, and
//! only then is it read back. Must never write to a balancer whose weights do not say who gets its traffic.

mod balancer;
mod kind;
mod settings;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::Instant;

use self::balancer::Balancer;
use self::kind::{AROUND, CAPABILITIES, MAX_WEIGHT};
pub use self::settings::Settings;
use super::{Director, DirectorKind as _, misnamed};
use crate::model::{Capabilities, Change, Kept, Mode, Pool, PoolFacts, Sharing};
use crate::outside::{Certainty, Error, Kind};
use crate::secret::Secrets;
use crate::softlayer::Api;
use crate::text::duration;

/// Time between two looks; it doubles up to the last.
const INTERVALS: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(10));

/// The balancers of an account.
pub struct Balancers {
    name: String,
    settings: Settings,
    secrets: Arc<dyn Secrets>,
}

impl Balancers {
    /// A director over them. Contacts nobody yet; the key is looked up at each call.
    pub fn new(name: &str, settings: &Settings, secrets: Arc<dyn Secrets>) -> Self {
        Self { name: name.to_owned(), settings: settings.clone(), secrets }
    }

    fn api(&self) -> Result<Api, Error> {
        let login = self.settings.access.login(self.secrets.as_ref());
        Api::new(&self.name, login.map_err(|e| Error { at: self.name.clone(), ..e })?)
    }

    fn refused(&self, what: impl Into<String>) -> Error {
        Error::new(&self.name, Kind::Refused, what)
    }

    async fn balancer(&self, api: &Api, pool: &str) -> Result<Balancer, Error> {
        Balancer::read(api, pool).await.map_err(|e| Error { at: self.name.clone(), ..e })
    }

    fn named(&self, pool: &str) -> Result<String, Error> {
        self.settings.pool_name(pool).map_err(|unfit| misnamed(&self.name, pool, unfit))
    }

    /// The balancer once it is at work on nothing.
    async fn at_rest(&self, api: &Api, pool: &str) -> Result<Balancer, Error> {
        let (start, (mut interval, longest)) = (Instant::now(), INTERVALS);
        loop {
            let balancer = self.balancer(api, pool).await?;
            if balancer.is_active() {
                return Ok(balancer);
            }
            if start.elapsed() >= self.settings.within {
                let trouble = balancer.trouble.map(|trouble| format!(" ({trouble})")).unwrap_or_default();
                let what =
                    format!("{pool} is still {} after {}{trouble}", balancer.status, duration(self.settings.within));
                let hint = "open a ticket at SoftLayer; `migrate apply` goes on when it is ACTIVE again";
                return Err(Error::new(&self.name, Kind::Lost, what).hint(hint));
            }
            tokio::time::sleep(interval).await;
            interval = longest.min(interval * 2);
        }
    }

    /// The weight that each member is to have; whoever is not ready gets nothing new.
    fn wishes(&self, changes: &[Change]) -> Result<BTreeMap<String, u16>, Error> {
        let mut wishes = BTreeMap::new();
        for change in changes {
            self.settings.check_member(&change.member).map_err(|unfit| misnamed(&self.name, &change.member, unfit))?;
            let weight = if change.mode == Mode::Ready { change.weight } else { 0 };
            if weight > MAX_WEIGHT {
                let what = format!("{}: a weight is from 0 to {MAX_WEIGHT}, not {weight}", change.member);
                return Err(self.refused(what));
            }
            wishes.insert(change.member.clone(), weight);
        }
        Ok(wishes)
    }

    async fn pool(&self, api: &Api, pool: &str, balancer: &Balancer) -> Result<Pool, Error> {
        let up = balancer.health(api).await.map_err(|e| Error { at: self.name.clone(), ..e })?;
        Ok(Pool { name: pool.to_owned(), members: balancer.as_members(&up), ttl: None })
    }

    /// Refuses what weights do not direct.
    fn directs(&self, pool: &str, balancer: &Balancer) -> Result<(), Error> {
        match balancer.ignores_weights() {
            None => Ok(()),
            Some((why, hint)) => Err(self.refused(format!("{pool}: {why}")).hint(hint)),
        }
    }

    /// Writes, again where the balancer was at work on something else, as it says itself.
    async fn write(&self, api: &Api, pool: &str, wishes: &BTreeMap<String, u16>) -> Result<Balancer, Error> {
        let start = Instant::now();
        loop {
            let now = self.at_rest(api, pool).await.map_err(Error::nothing_changed)?;
            self.directs(pool, &now)?;
            if let Some(member) = wishes.keys().find(|member| !now.members.contains_key(*member)) {
                let what = format!("{pool} has no member {member}");
                return Err(self.refused(what).nothing_changed().hint(AROUND));
            }
            let holds = |now: &Balancer| wishes.iter().all(|(m, w)| now.members.get(m).is_some_and(|e| e.weight == *w));
            if holds(&now) {
                return Ok(now);
            }
            let wrote = now.set(api, wishes).await;
            match wrote {
                Err(failed)
                    if failed.error.what.contains("ObjectInInvalidState") && start.elapsed() < self.settings.within =>
                {
                    tokio::time::sleep(INTERVALS.0).await;
                }
                Err(failed) if !failed.error.is_unknown() => return Err(failed.error),
                wrote => {
                    // An answer that was lost is one that is looked for.
                    let after = self.at_rest(api, pool).await.map_err(|e| e.certainty(Certainty::Unknown))?;
                    return match (holds(&after), wrote) {
                        (true, _) => Ok(after),
                        (false, Err(failed)) => Err(failed.error),
                        (false, Ok(())) => {
                            let trouble = after.trouble.map(|trouble| format!(": {trouble}")).unwrap_or_default();
                            let what = format!("{pool} was written and reads back otherwise{trouble}");
                            let hint =
                                "somebody else is changing it, or it could not be done: see its events at SoftLayer";
                            Err(Error::new(&self.name, Kind::Disagrees, what).hint(hint))
                        }
                    };
                }
            }
        }
    }
}

#[async_trait]
impl Director for Balancers {
    fn capabilities(&self) -> Capabilities {
        CAPABILITIES
    }

    async fn observe(&self, pool: &str) -> Result<Pool, Error> {
        let pool = self.named(pool)?;
        let api = self.api()?;
        let balancer = self.balancer(&api, &pool).await?;
        self.pool(&api, &pool, &balancer).await
    }

    async fn facts(&self, pool: &str) -> Result<PoolFacts, Error> {
        let balancer = self.balancer(&self.api()?, &self.named(pool)?).await?;
        let sharing = if balancer.ignores_weights().is_none() { Sharing::Weights } else { Sharing::Unknown };
        Ok(PoolFacts { algorithm: Some(balancer.chooses()), sharing, pins: balancer.pins, ..PoolFacts::default() })
    }

    async fn apply(&self, pool: &str, changes: &[Change]) -> Result<Pool, Error> {
        let pool = self.named(pool)?;
        let wishes = self.wishes(changes).map_err(Error::nothing_changed)?;
        let api = self.api()?;
        let after = self.write(&api, &pool, &wishes).await?;
        self.pool(&api, &pool, &after).await
    }

    async fn set_ttl(&self, pool: &str, _: Duration) -> Result<Pool, Error> {
        self.named(pool)?;
        Err(self.refused("a balancer has no TTL"))
    }

    async fn settled(&self, _: &str) -> Result<Option<String>, Error> {
        Ok(None)
    }

    async fn kept(&self, _: &str, _: &[Change]) -> Result<Kept, Error> {
        Ok(kind::itself())
    }

    async fn writable(&self, pool: &str) -> Result<(), Error> {
        // The API has no way to try a write: that the key is good and that weights count is what can be known.
        let pool = self.named(pool)?;
        let balancer = self.balancer(&self.api()?, &pool).await?;
        self.directs(&pool, &balancer)
    }
}
