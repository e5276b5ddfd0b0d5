//! A zone that SoftLayer serves, as director: records are changed through its API, and read back from there and from every
//! authoritative server.
//!
//! Members are the addresses of a name, each a record of its own. The API can compare nothing before it writes, so nothing is written
//! but what was asked for, address by address, new ones first. Must never take the last address away.

mod kind;
mod records;
mod settings;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::Instant;

use self::records::{Row, Rows};
pub use self::settings::Settings;
use super::dns::kind as names;
use super::dns::lookup::{self, Addresses, Failure, Owner};
use super::dns::{edit, refusal::Question};
use super::{Director, MAX_TTL, misnamed};
use crate::model::{Capabilities, Change, Kept, Pool};
use crate::outside::{Error, Kind};
use crate::secret::Secrets;
use crate::softlayer::{Api, Failed};
use crate::text::duration;

/// How long servers may need to follow the API.
const FOLLOW: Duration = Duration::from_secs(300);
/// How long a mere look waits for servers that are about to follow.
const GLANCE: Duration = Duration::from_secs(10);
/// Time between two looks; it doubles up to the last.
const INTERVALS: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(5));

/// A zone at SoftLayer and all servers that answer for it.
pub struct Zone {
    name: String,
    zone: Owner,
    settings: Settings,
    secrets: Arc<dyn Secrets>,
    follow: Duration,
}

/// A pool as it is called, as servers are asked for it, and as records have it.
struct PoolName<'a> {
    pool: &'a str,
    owner: Owner,
    text: String,
    host: String,
}

impl Zone {
    /// A director over this zone. Contacts nobody yet; the key is looked up at each call.
    pub fn new(name: &str, settings: &Settings, secrets: Arc<dyn Secrets>) -> Result<Self, Error> {
        let zone = names::zone(&settings.zone).map_err(|unfit| misnamed(name, &settings.zone, unfit))?;
        Ok(Self { name: name.to_owned(), zone, settings: settings.clone(), secrets, follow: FOLLOW })
    }

    /// The same with another time that servers may need to follow the API; five minutes unless given.
    #[must_use]
    pub fn follow_within(mut self, follow: Duration) -> Self {
        self.follow = follow;
        self
    }

    fn api(&self) -> Result<Api, Error> {
        let login = self.settings.access.login(self.secrets.as_ref());
        Api::new(&self.name, login.map_err(|e| Error { at: self.name.clone(), ..e })?)
    }

    fn zone_text(&self) -> String {
        self.zone.to_string().trim_end_matches('.').to_ascii_lowercase()
    }

    fn named<'a>(&self, pool: &'a str) -> Result<PoolName<'a>, Error> {
        let owner = names::owner(&self.zone, pool).map_err(|unfit| misnamed(&self.name, pool, unfit))?;
        let text = owner.to_string().trim_end_matches('.').to_ascii_lowercase();
        let host = text.strip_suffix(&self.zone_text()).unwrap_or(&text).trim_end_matches('.').to_owned();
        let host = if host.is_empty() { "@".to_owned() } else { host };
        Ok(PoolName { pool, owner, text, host })
    }

    fn refused(&self, what: impl Into<String>) -> Error {
        Error::new(&self.name, Kind::Refused, what)
    }

    /// What the API has; an error when the name has no address.
    async fn rows(&self, api: &Api, name: &PoolName<'_>) -> Result<Rows, Error> {
        let rows = Rows::read(api, &self.zone_text(), &name.host).await?;
        if rows.all.is_empty() {
            let what = format!("{} has no address records", name.text);
            let hint = "check the pool's name; the first record is made by hand, with the TTL that you want";
            return Err(self.refused(what).hint(hint));
        }
        Ok(rows)
    }

    /// What the API has, once every server answers it.
    async fn agreed(&self, api: &Api, name: &PoolName<'_>, patience: Duration) -> Result<Rows, Error> {
        let (start, (mut interval, longest)) = (Instant::now(), INTERVALS);
        let mut wanted = self.rows(api, name).await?;
        loop {
            match self.laggard(name, &wanted.addresses()).await? {
                None => return Ok(wanted),
                Some(lag) if start.elapsed() >= patience => return Err(lag),
                Some(_) => tokio::time::sleep(interval).await,
            }
            interval = longest.min(interval * 2);
            wanted = self.rows(api, name).await?;
        }
    }

    /// The first server that answers otherwise than the API.
    async fn laggard(&self, name: &PoolName<'_>, wanted: &Addresses) -> Result<Option<Error>, Error> {
        for server in &self.settings.servers {
            let seen = lookup::authoritative(*server, &self.zone, &name.owner, None).await;
            let seen = seen.map_err(|failure| self.failed("server", *server, name, failure))?.addresses;
            if seen.same_records(wanted) {
                continue;
            }
            let ttl = |a: &Addresses| a.ttl().map(|ttl| format!(" with TTL {ttl}")).unwrap_or_default();
            let (answers, says) = (ttl(&seen), ttl(wanted));
            let what = format!("it answers {}{answers}, the API says {}{says}", seen.in_words(), wanted.in_words());
            let hint = "SoftLayer's servers follow its API after a while: try again, then ask its support";
            return Ok(Some(Error::new(format!("{} (server {server})", self.name), Kind::Disagrees, what).hint(hint)));
        }
        Ok(None)
    }

    fn failed(&self, role: &str, server: SocketAddr, name: &PoolName<'_>, failure: Failure) -> Error {
        let (server, zone) = (format!("{} ({role} {server})", self.name), self.settings.zone.as_str());
        Question { server, zone, owner: &name.text, key: None, records: 0 }.failed(failure)
    }

    fn pool(&self, name: &PoolName<'_>, rows: &Rows) -> Pool {
        let addresses = rows.addresses();
        let ttl = addresses.ttl().map(|secs| Duration::from_secs(secs.into()));
        Pool { name: name.pool.to_owned(), members: addresses.members(), ttl }
    }

    /// Reads what was written, from the API and then from every server; `holds` says whether it is as it was wanted.
    async fn read_back(&self, api: &Api, name: &PoolName<'_>, holds: impl Fn(&Rows) -> bool) -> Result<Rows, Error> {
        let overruled = |rows: &Rows| {
            let now = rows.addresses();
            let what = format!("{} was written and reads back {} with TTL {:?}", name.text, now.in_words(), now.ttl());
            Error::new(&self.name, Kind::Disagrees, what)
                .hint("somebody else is changing it: find out who, then run again")
        };
        let rows = self.rows(api, name).await?;
        if !holds(&rows) {
            return Err(overruled(&rows));
        }
        let rows = self.agreed(api, name, self.follow).await.map_err(|mut e| {
            e.what.push_str("; the API has taken the change");
            e
        })?;
        if holds(&rows) { Ok(rows) } else { Err(overruled(&rows)) }
    }

    /// A write whose answer was lost is done when what it should do is there.
    async fn settle(
        &self,
        api: &Api,
        name: &PoolName<'_>,
        wrote: Result<(), Failed>,
        done: impl Fn(&Rows) -> bool,
    ) -> Result<(), Error> {
        let Err(failed) = wrote else { return Ok(()) };
        if !failed.error.is_unknown() {
            return Err(failed.error);
        }
        match Rows::read(api, &self.zone_text(), &name.host).await {
            Ok(rows) if done(&rows) => Ok(()),
            _ => Err(failed.error),
        }
    }
}

#[async_trait]
impl Director for Zone {
    fn capabilities(&self) -> Capabilities {
        names::CAPABILITIES
    }

    async fn observe(&self, pool: &str) -> Result<Pool, Error> {
        let name = self.named(pool)?;
        let rows = self.agreed(&self.api()?, &name, GLANCE.min(self.follow)).await?;
        Ok(self.pool(&name, &rows))
    }

    async fn apply(&self, pool: &str, changes: &[Change]) -> Result<Pool, Error> {
        let name = self.named(pool)?;
        let wishes =
            edit::wishes(changes).map_err(|(member, unfit)| misnamed(&self.name, member, unfit).nothing_changed())?;
        let api = self.api()?;
        let rows = self.agreed(&api, &name, self.follow).await.map_err(Error::nothing_changed)?;
        let before = rows.addresses();
        let after = before.changed(&wishes);
        if after.all.is_empty() {
            let what = format!("this would take the last address away from {}", name.text);
            return Err(self.refused(what).nothing_changed().hint("add the new address before the old one goes"));
        }
        // New addresses first: at no moment is there none.
        for ip in after.all.difference(&before.all) {
            let ttl = after.ttl_of_address(*ip).or(before.ttl()).unwrap_or(0);
            let added = rows.add(&api, *ip, ttl).await;
            self.settle(&api, &name, added, |rows| rows.all.iter().any(|row| row.ip == *ip)).await?;
        }
        let goes = |row: &&Row| !after.all.contains(&row.ip);
        for row in rows.all.iter().filter(goes) {
            let removed = rows.remove(&api, row).await;
            self.settle(&api, &name, removed, |rows| rows.all.iter().all(|other| other.id != row.id)).await?;
        }
        // Others may have changed other members since; ours must be as wanted.
        let holds = |rows: &Rows| {
            let now = rows.addresses();
            now.changed(&wishes).all == now.all
        };
        Ok(self.pool(&name, &self.read_back(&api, &name, holds).await?))
    }

    async fn set_ttl(&self, pool: &str, ttl: Duration) -> Result<Pool, Error> {
        let name = self.named(pool)?;
        let secs = match ttl.as_secs() {
            secs if ttl <= MAX_TTL && ttl.subsec_nanos() == 0 => u32::try_from(secs).unwrap_or(u32::MAX),
            _ => {
                let what = format!("a TTL cannot be {}", duration(ttl));
                return Err(self.refused(what).hint("a TTL is a whole number of seconds below 2^31"));
            }
        };
        let api = self.api()?;
        let rows = self.agreed(&api, &name, self.follow).await.map_err(Error::nothing_changed)?;
        for row in rows.all.iter().filter(|row| row.ttl != secs) {
            let set = rows.set_ttl(&api, row, secs).await;
            let done = |rows: &Rows| rows.all.iter().filter(|other| other.id == row.id).all(|other| other.ttl == secs);
            self.settle(&api, &name, set, done).await?;
        }
        let holds = |rows: &Rows| rows.all.iter().all(|row| row.ttl == secs);
        Ok(self.pool(&name, &self.read_back(&api, &name, holds).await?))
    }

    async fn settled(&self, pool: &str) -> Result<Option<String>, Error> {
        let name = self.named(pool)?;
        let wanted = self.agreed(&self.api()?, &name, GLANCE.min(self.follow)).await?.addresses();
        let stale = lookup::stale(&self.settings.resolvers, &name.owner, &wanted).await;
        stale.map_err(|(server, failure)| self.failed("resolver", server, &name, failure))
    }

    async fn kept(&self, _pool: &str, _wanted: &[Change]) -> Result<Kept, Error> {
        Ok(kind::itself(&self.settings.zone))
    }

    async fn writable(&self, pool: &str) -> Result<(), Error> {
        // The API has no way to try a write: that the key is good and the name is there is what can be known.
        let name = self.named(pool)?;
        self.rows(&self.api()?, &name).await.map(drop)
    }
}
