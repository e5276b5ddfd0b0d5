//! A DNS zone as director: RFC 2136 updates signed with TSIG, read back from every authoritative server.
//!
//! Members are the addresses of a name. Must never write over a change that it has not seen, and never take the last
//! address away.

mod agree;
mod edit;
mod key;
mod lookup;
mod refusal;
mod update;
mod wire;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use self::key::Signer;
use self::lookup::{Addresses, Owner};
use self::refusal::Asked;
use self::update::{Outcome, Rejection, Update};
use super::Director;
use crate::model::{Capabilities, Change, Pool, Weights};
use crate::outside::{Error, Kind};
use crate::secret::SecretRef;
use crate::secret::Secrets;

/// How long secondaries may need to follow the primary.
const FOLLOW: Duration = Duration::from_secs(60);

/// How often a swap is tried while the records go away from what we read and come back to it.
const SWAPS: u32 = 5;

/// Largest TTL there is (RFC 2181).
const MAX_TTL: u64 = 0x7fff_ffff;

/// Where a zone is written and read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rfc2136Config {
    /// The zone's name.
    pub zone: String,
    /// The server that takes updates.
    pub primary: SocketAddr,
    /// Every authoritative server that must answer the same; the primary is asked too.
    pub secondaries: Vec<SocketAddr>,
    /// Resolvers that must answer the new records before the move goes on.
    pub resolvers: Vec<SocketAddr>,
    /// Name, algorithm and secret of the TSIG key. `None` sends unsigned updates.
    pub key: Option<TsigKey>,
}

/// A TSIG key by reference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TsigKey {
    /// Key name as the server has it.
    pub name: String,
    /// `hmac-sha256` unless given; also `hmac-sha1`, `hmac-sha384`, `hmac-sha512`.
    pub algorithm: String,
    /// The base64 secret.
    pub secret: SecretRef,
}

/// One zone and all servers that answer for it.
pub struct Zone {
    name: String,
    zone: Owner,
    config: Rfc2136Config,
    signer: Option<Signer>,
    follow: Duration,
}

/// A pool as it is called and as it is asked for.
struct Target<'a> {
    pool: &'a str,
    owner: Owner,
    /// The owner for people.
    text: String,
}

impl Zone {
    /// A director over this zone. Contacts nobody yet; the secret is looked up at each update.
    pub fn new(name: &str, config: &Rfc2136Config, secrets: Arc<dyn Secrets>) -> Result<Self, Error> {
        let zone = parse_name(&config.zone).ok_or_else(|| {
            let shown = crate::text::escape(config.zone.as_bytes(), 80);
            refused(name, format!("`{shown}` cannot be the name of a zone")).hint("write it like `example.com`")
        })?;
        let signer = match &config.key {
            None => None,
            Some(key) => Some(Signer::new(key, secrets).map_err(|bad| refused(name, bad.0).hint(bad.1))?),
        };
        Ok(Self { name: name.to_owned(), zone, config: config.clone(), signer, follow: FOLLOW })
    }

    /// The same with another time that secondaries may need to follow the primary; 60 s unless given.
    #[must_use]
    pub fn follow_within(mut self, follow: Duration) -> Self {
        self.follow = follow;
        self
    }

    /// `www` in zone `lab.test` and `www.lab.test` are the same; `@` is the zone's own name.
    fn target<'a>(&self, pool: &'a str) -> Result<Target<'a>, Error> {
        let unfit = |why: &str| {
            let shown = crate::text::escape(pool.as_bytes(), 80);
            refused(&self.name, format!("`{shown}` {why}"))
                .hint(format!("name the pool relative to zone {z} (`www`) or in full (`www.{z}`)", z = self.zone))
        };
        let full = match pool {
            "@" => Some(self.zone.clone()),
            _ => parse_name(pool).filter(|name| name.ends_with(&self.zone)),
        };
        let owner = match full {
            Some(name) => name,
            None if pool.ends_with('.') => return Err(unfit("is not in the zone")),
            None => {
                parse_name(&format!("{pool}.{}", self.zone)).ok_or_else(|| unfit("cannot be the name of a pool"))?
            }
        };
        Ok(Target { pool, text: owner.to_string(), owner })
    }

    fn asked<'a>(&'a self, role: &str, server: SocketAddr, target: &'a Target<'_>) -> Asked<'a> {
        Asked {
            server: format!("{} ({role} {server})", self.name),
            zone: &self.config.zone,
            owner: &target.text,
            key: self.config.key.as_ref().map(|k| k.name.as_str()),
        }
    }

    fn refused_for(&self, what: impl Into<String>) -> Error {
        refused(&format!("{} (primary {})", self.name, self.config.primary), what)
    }

    /// The pool before a write, once all servers agree on it.
    async fn before(&self, target: &Target<'_>) -> Result<Addresses, Error> {
        self.agreed(target, self.follow).await.map_err(Error::nothing_changed)
    }

    /// Brings the records from what was read to what is wanted, and reads them back everywhere.
    async fn swap(&self, target: &Target<'_>, before: &Addresses, after: &Addresses) -> Result<Addresses, Error> {
        if !after.same_records(before) {
            self.update(target, before, after).await?;
        }
        self.agreed(target, self.follow).await.map_err(|mut e| {
            e.what.push_str("; the primary has taken the change");
            e
        })
    }

    async fn update(&self, target: &Target<'_>, before: &Addresses, after: &Addresses) -> Result<(), Error> {
        let primary = || self.asked("primary", self.config.primary, target);
        let update = Update { zone: &self.zone, owner: &target.owner, before, after: Some(after) };
        for _ in 0..SWAPS {
            let lost = match update::send(self.config.primary, &update, self.signer.as_ref()).await {
                Ok(Outcome::Done) => return Ok(()),
                Ok(Outcome::Changed) => None,
                Err(lost @ Rejection::Lost(_)) => Some(lost),
                Err(other) => return Err(primary().rejected(other).nothing_changed()),
            };
            // A lost answer, or an earlier run that got just this far: what is there now decides.
            let now = self.primary(target).await?.addresses;
            match lost {
                _ if now.same_records(after) => return Ok(()),
                Some(lost) => return Err(primary().rejected(lost)),
                None if !now.same_records(before) => return Err(self.conflict(target, before, &now)),
                // Somebody has changed it back in the meantime.
                None => {}
            }
        }
        Err(self.not_its_own(target, before))
    }

    fn conflict(&self, target: &Target<'_>, before: &Addresses, now: &Addresses) -> Error {
        let what = format!(
            "{} was changed by somebody else: it had {} and now has {}; nothing of ours was written",
            target.text,
            before.in_words(),
            now.in_words()
        );
        Error::new(format!("{} (primary {})", self.name, self.config.primary), Kind::Conflict, what)
            .hint("find out who else updates this name, then run again")
    }

    /// The server answers with addresses, and does not find them at the name.
    fn not_its_own(&self, target: &Target<'_>, before: &Addresses) -> Error {
        let name = &target.text;
        let what = format!("{name} answers {} and has other records of its own", before.in_words());
        self.refused_for(what).nothing_changed().hint(format!(
            "its addresses may come from a wildcard or another view: give {name} address records of its own"
        ))
    }

    fn pool(&self, target: &Target<'_>, addresses: &Addresses) -> Pool {
        let ttl = addresses.ttl().map(|secs| Duration::from_secs(secs.into()));
        Pool { name: target.pool.to_owned(), members: addresses.members(), ttl }
    }

    fn overruled(&self, target: &Target<'_>, now: &Addresses) -> Error {
        let what = format!("{} was written and reads back {} with TTL {:?}", target.text, now.in_words(), now.ttl());
        Error::new(&self.name, Kind::Disagrees, what).hint("somebody else is changing it: find out who, then run again")
    }
}

#[async_trait]
impl Director for Zone {
    fn capabilities(&self) -> Capabilities {
        Capabilities { weights: Weights::Presence, connections: false, drain: false, ttl: true }
    }

    async fn observe(&self, pool: &str) -> Result<Pool, Error> {
        let target = self.target(pool)?;
        let addresses = self.agreed(&target, agree::GLANCE.min(self.follow)).await?;
        Ok(self.pool(&target, &addresses))
    }

    async fn apply(&self, pool: &str, changes: &[Change]) -> Result<Pool, Error> {
        let target = self.target(pool)?;
        let wishes =
            edit::wishes(changes).map_err(|(what, hint)| refused(&self.name, what).nothing_changed().hint(hint))?;
        let before = self.before(&target).await?;
        let after = before.changed(&wishes);
        if after.all.is_empty() {
            let what = format!("this would take the last address away from {}", target.text);
            return Err(self.refused_for(what).nothing_changed().hint("add the new address before the old one goes"));
        }
        let now = self.swap(&target, &before, &after).await?;
        // Others may have changed other members since; ours must be as wanted.
        match now.changed(&wishes).all == now.all {
            true => Ok(self.pool(&target, &now)),
            false => Err(self.overruled(&target, &now)),
        }
    }

    async fn set_ttl(&self, pool: &str, ttl: Duration) -> Result<Pool, Error> {
        let target = self.target(pool)?;
        let secs = match ttl.as_secs() {
            secs if secs <= MAX_TTL && ttl.subsec_nanos() == 0 => u32::try_from(secs).unwrap_or(u32::MAX),
            _ => {
                let what = format!("a TTL cannot be {}", crate::text::duration(ttl));
                return Err(refused(&self.name, what).hint("a TTL is a whole number of seconds below 2^31"));
            }
        };
        let before = self.before(&target).await?;
        let now = self.swap(&target, &before, &before.with_ttl(secs)).await?;
        match now.same_records(&now.with_ttl(secs)) {
            true => Ok(self.pool(&target, &now)),
            false => Err(self.overruled(&target, &now)),
        }
    }

    async fn settled(&self, pool: &str) -> Result<Option<String>, Error> {
        let target = self.target(pool)?;
        let wanted = self.agreed(&target, agree::GLANCE.min(self.follow)).await?;
        self.stale_resolvers(&target, &wanted).await
    }

    async fn writable(&self, pool: &str) -> Result<(), Error> {
        let target = self.target(pool)?;
        let before = self.primary(&target).await?.addresses;
        let probe = Update { zone: &self.zone, owner: &target.owner, before: &before, after: None };
        match update::send(self.config.primary, &probe, self.signer.as_ref()).await {
            Ok(_) => Ok(()),
            Err(rejection) => Err(self.asked("primary", self.config.primary, &target).rejected(rejection)),
        }
    }
}

/// A host name; anything else is no name for a pool or a zone.
fn parse_name(text: &str) -> Option<Owner> {
    let fits = text.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c));
    if fits && !text.is_empty() { text.parse().ok() } else { None }
}

fn refused(director: &str, what: impl Into<String>) -> Error {
    Error::new(director, Kind::Refused, what)
}
