//! A DNS zone as director: RFC 2136 updates signed with TSIG, read back from every authoritative server.
//!
//! Members are the addresses of a name. Must never write over a change that it has not seen, and never take the last
//! address away.

pub(super) mod advice;
mod agree;
pub(super) mod edit;
mod key;
pub(super) mod kind;
pub(super) mod lookup;
pub(super) mod refusal;
pub(super) mod settings;
mod update;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use domain::base::Rtype;
use domain::tsig::Key;

use self::key::Signer;
use self::kind::CAPABILITIES;
use self::lookup::{Addresses, Owner};
use self::refusal::Question;
use self::update::{Rejection, Swap, Update};
use super::{Director, MAX_TTL, misnamed};
use crate::model::{Capabilities, Change, Kept, Pool};
use crate::outside::{Error, Kind};
use crate::secret::Secrets;

pub use self::settings::{Settings, TsigKey};

/// How long secondaries may need to follow the primary.
const FOLLOW: Duration = Duration::from_secs(60);

/// How often a swap is tried while the records go away from what we read and come back to it.
const SWAPS: u32 = 5;

/// One zone and all servers that answer for it.
pub struct Zone {
    name: String,
    zone: Owner,
    settings: Settings,
    signer: Option<Signer>,
    follow: Duration,
}

/// A pool as it is called and as it is asked for.
struct PoolName<'a> {
    pool: &'a str,
    owner: Owner,
    /// The owner for people.
    text: String,
}

impl Zone {
    /// A director over this zone. Contacts nobody yet; the secret is looked up at each update.
    pub fn new(name: &str, settings: &Settings, secrets: Arc<dyn Secrets>) -> Result<Self, Error> {
        let zone = kind::zone(&settings.zone).map_err(|unfit| misnamed(name, &settings.zone, unfit))?;
        let signer = match &settings.key {
            None => None,
            Some(key) => Some(Signer::new(key, secrets).map_err(|bad| refused(name, bad.0).hint(bad.1))?),
        };
        Ok(Self { name: name.to_owned(), zone, settings: settings.clone(), signer, follow: FOLLOW })
    }

    /// The same with another time that secondaries may need to follow the primary; 60 s unless given.
    #[must_use]
    pub fn follow_within(mut self, follow: Duration) -> Self {
        self.follow = follow;
        self
    }

    fn named<'a>(&self, pool: &'a str) -> Result<PoolName<'a>, Error> {
        let owner = kind::owner(&self.zone, pool).map_err(|unfit| misnamed(&self.name, pool, unfit))?;
        Ok(PoolName { pool, text: owner.to_string(), owner })
    }

    fn asked<'a>(&'a self, role: &str, server: SocketAddr, name: &'a PoolName<'_>) -> Question<'a> {
        Question {
            server: format!("{} ({role} {server})", self.name),
            zone: &self.settings.zone,
            owner: &name.text,
            key: self.settings.key.as_ref().map(|k| k.name.as_str()),
            records: 0,
        }
    }

    fn refused_for(&self, what: impl Into<String>) -> Error {
        refused(&format!("{} (primary {})", self.name, self.settings.primary), what)
    }

    /// The key that questions to authoritative servers are signed with: views are chosen by it.
    async fn key(&self, name: &PoolName<'_>) -> Result<Option<Key>, Error> {
        let Some(signer) = &self.signer else { return Ok(None) };
        let refused = |bad| self.asked("primary", self.settings.primary, name).rejected(Rejection::Key(bad));
        signer.key().await.map(Some).map_err(refused)
    }

    /// The pool before a write, once all servers agree on it.
    async fn before(&self, name: &PoolName<'_>) -> Result<Addresses, Error> {
        self.agreed(name, self.follow).await.map_err(Error::nothing_changed)
    }

    /// Brings the records from what was read to what is wanted, and reads them back everywhere.
    async fn swap(&self, name: &PoolName<'_>, before: &Addresses, after: &Addresses) -> Result<Addresses, Error> {
        if !after.same_records(before) {
            self.update(name, before, after).await?;
        }
        self.agreed(name, self.follow).await.map_err(|mut e| {
            e.what.push_str("; the primary has taken the change");
            e
        })
    }

    async fn update(&self, name: &PoolName<'_>, before: &Addresses, after: &Addresses) -> Result<(), Error> {
        let records =
            [Rtype::A, Rtype::AAAA].into_iter().map(|family| after.of(family).count()).max().unwrap_or_default();
        let primary = || Question { records, ..self.asked("primary", self.settings.primary, name) };
        let update = Update { zone: &self.zone, owner: &name.owner, before, after: Some(after) };
        for _ in 0..SWAPS {
            let lost = match update::send(self.settings.primary, &update, self.signer.as_ref()).await {
                Ok(Swap::Done) => return Ok(()),
                Ok(Swap::Conflict) => None,
                Err(lost @ Rejection::Lost(_)) => Some(lost),
                Err(other) => return Err(primary().rejected(other).nothing_changed()),
            };
            // A lost answer, or an earlier run that got just this far: what is there now decides.
            let now = self.primary(name, self.key(name).await?.as_ref()).await?.addresses;
            match lost {
                _ if now.same_records(after) => return Ok(()),
                Some(lost) => return Err(primary().rejected(lost)),
                None if !now.same_records(before) => return Err(self.conflict(name, before, &now)),
                // Somebody has changed it back in the meantime.
                None => {}
            }
        }
        Err(self.not_its_own(name, before))
    }

    fn conflict(&self, name: &PoolName<'_>, before: &Addresses, now: &Addresses) -> Error {
        let what = format!(
            "{} was changed by somebody else: it had {} and now has {}; nothing of ours was written",
            name.text,
            before.in_words(),
            now.in_words()
        );
        Error::new(format!("{} (primary {})", self.name, self.settings.primary), Kind::Conflict, what)
            .hint("find out who else updates this name, then run again")
    }

    /// The server answers with addresses, and does not find them at the name.
    fn not_its_own(&self, name: &PoolName<'_>, before: &Addresses) -> Error {
        let text = &name.text;
        let what = format!("{text} answers {} and has other records of its own", before.in_words());
        self.refused_for(what).nothing_changed().hint(format!(
            "its addresses may come from a wildcard or another view: give {text} address records of its own"
        ))
    }

    fn pool(&self, name: &PoolName<'_>, addresses: &Addresses) -> Pool {
        let ttl = addresses.ttl().map(|secs| Duration::from_secs(secs.into()));
        Pool { name: name.pool.to_owned(), members: addresses.members(), ttl }
    }

    fn overruled(&self, name: &PoolName<'_>, now: &Addresses) -> Error {
        let what = format!("{} was written and reads back {} with TTL {:?}", name.text, now.in_words(), now.ttl());
        Error::new(&self.name, Kind::Disagrees, what).hint("somebody else is changing it: find out who, then run again")
    }
}

#[async_trait]
impl Director for Zone {
    fn capabilities(&self) -> Capabilities {
        CAPABILITIES
    }

    async fn observe(&self, pool: &str) -> Result<Pool, Error> {
        let name = self.named(pool)?;
        let addresses = self.agreed(&name, agree::GLANCE.min(self.follow)).await?;
        Ok(self.pool(&name, &addresses))
    }

    async fn apply(&self, pool: &str, changes: &[Change]) -> Result<Pool, Error> {
        let name = self.named(pool)?;
        let wishes =
            edit::wishes(changes).map_err(|(member, unfit)| misnamed(&self.name, member, unfit).nothing_changed())?;
        let before = self.before(&name).await?;
        let after = before.changed(&wishes);
        if after.all.is_empty() {
            let what = format!("this would take the last address away from {}", name.text);
            return Err(self.refused_for(what).nothing_changed().hint("add the new address before the old one goes"));
        }
        let now = self.swap(&name, &before, &after).await?;
        // Others may have changed other members since; ours must be as wanted.
        match now.changed(&wishes).all == now.all {
            true => Ok(self.pool(&name, &now)),
            false => Err(self.overruled(&name, &now)),
        }
    }

    async fn set_ttl(&self, pool: &str, ttl: Duration) -> Result<Pool, Error> {
        let name = self.named(pool)?;
        let secs = match ttl.as_secs() {
            secs if ttl <= MAX_TTL && ttl.subsec_nanos() == 0 => u32::try_from(secs).unwrap_or(u32::MAX),
            _ => {
                let what = format!("a TTL cannot be {}", crate::text::duration(ttl));
                return Err(refused(&self.name, what).hint("a TTL is a whole number of seconds below 2^31"));
            }
        };
        let before = self.before(&name).await?;
        let now = self.swap(&name, &before, &before.with_ttl(secs)).await?;
        match now.same_records(&now.with_ttl(secs)) {
            true => Ok(self.pool(&name, &now)),
            false => Err(self.overruled(&name, &now)),
        }
    }

    async fn settled(&self, pool: &str) -> Result<Option<String>, Error> {
        let name = self.named(pool)?;
        let wanted = self.agreed(&name, agree::GLANCE.min(self.follow)).await?;
        self.stale_resolvers(&name, &wanted).await
    }

    async fn kept(&self, _pool: &str, _wanted: &[Change]) -> Result<Kept, Error> {
        Ok(kind::itself(&self.settings.zone))
    }

    async fn writable(&self, pool: &str) -> Result<(), Error> {
        let name = self.named(pool)?;
        let before = self.primary(&name, self.key(&name).await?.as_ref()).await?.addresses;
        let probe = Update { zone: &self.zone, owner: &name.owner, before: &before, after: None };
        match update::send(self.settings.primary, &probe, self.signer.as_ref()).await {
            Ok(_) => Ok(()),
            Err(rejection) => Err(self.asked("primary", self.settings.primary, &name).rejected(rejection)),
        }
    }
}

fn refused(director: &str, what: impl Into<String>) -> Error {
    Error::new(director, Kind::Refused, what)
}
