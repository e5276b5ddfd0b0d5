//! What all authoritative servers say alike, and what resolvers still say.

use std::net::SocketAddr;
use std::time::Duration;

use domain::base::iana::TsigRcode;
use domain::tsig::Key;
use tokio::time::Instant;

use super::lookup::{self, Addresses, Failure, View};
use super::{PoolName, Zone};
use crate::outside::{Error, Kind};

/// How long a mere look waits for secondaries that are about to follow.
pub(super) const GLANCE: Duration = Duration::from_secs(10);

/// Time between two looks; it doubles up to the last.
const INTERVALS: (Duration, Duration) = (Duration::from_millis(25), Duration::from_secs(1));

impl Zone {
    /// What the primary has. An error when the name has no address.
    pub(super) async fn primary(&self, name: &PoolName<'_>, key: Option<&Key>) -> Result<View, Error> {
        let view = self.look("primary", self.settings.primary, name, key).await?;
        if view.addresses.all.is_empty() {
            return Err(self
                .refused_for(format!("{} has no address records", name.text))
                .hint("check the pool's name; the first record is made by hand, with the TTL that you want"));
        }
        Ok(view)
    }

    async fn look(
        &self,
        role: &str,
        server: SocketAddr,
        name: &PoolName<'_>,
        key: Option<&Key>,
    ) -> Result<View, Error> {
        let seen = match lookup::authoritative(server, &self.zone, &name.owner, key).await {
            // A secondary that does not know the key chooses no view by it.
            Err(Failure::Tsig(TsigRcode::BADKEY, _)) if server != self.settings.primary => {
                lookup::authoritative(server, &self.zone, &name.owner, None).await
            }
            seen => seen,
        };
        seen.map_err(|failure| self.asked(role, server, name).failed(failure))
    }

    /// What all servers answer alike, waiting for secondaries to follow.
    pub(super) async fn agreed(&self, name: &PoolName<'_>, patience: Duration) -> Result<Addresses, Error> {
        let (start, (mut interval, longest)) = (Instant::now(), INTERVALS);
        let key = self.key(name).await?;
        let mut wanted = self.primary(name, key.as_ref()).await?;
        loop {
            match self.laggard(name, &wanted, key.as_ref()).await? {
                None => return Ok(wanted.addresses),
                Some(lag) if start.elapsed() >= patience => return Err(lag),
                Some(_) => tokio::time::sleep(interval).await,
            }
            interval = longest.min(interval * 2);
            let now = self.primary(name, key.as_ref()).await?;
            // In a busy zone the serial runs on; while our records stay, it is enough to reach where it was.
            if !now.addresses.same_records(&wanted.addresses) {
                wanted = now;
            }
        }
    }

    /// The first secondary that has other records than the primary, or an older zone.
    async fn laggard(&self, name: &PoolName<'_>, primary: &View, key: Option<&Key>) -> Result<Option<Error>, Error> {
        for server in &self.settings.secondaries {
            let view = self.look("secondary", *server, name, key).await?;
            // RFC 1982: serials that cannot be compared are not known to be new enough.
            let current = view.serial >= primary.serial;
            if current && view.addresses.same_records(&primary.addresses) {
                continue;
            }
            let what = format!(
                "it answers {} (serial {}), the primary {} (serial {})",
                described(&view.addresses),
                view.serial,
                described(&primary.addresses),
                primary.serial
            );
            let label = format!("{} (secondary {server})", self.name);
            return Ok(Some(Error::new(label, Kind::Disagrees, what).hint(format!(
                "see why it does not follow: `rndc notify {zone}` on the primary, `rndc refresh {zone}` here",
                zone = self.settings.zone
            ))));
        }
        Ok(None)
    }

    /// Resolvers that answer otherwise, in words.
    pub(super) async fn stale_resolvers(
        &self,
        name: &PoolName<'_>,
        wanted: &Addresses,
    ) -> Result<Option<String>, Error> {
        let stale = lookup::stale(&self.settings.resolvers, &name.owner, wanted).await;
        stale.map_err(|(server, failure)| self.asked("resolver", server, name).failed(failure))
    }
}

fn described(addresses: &Addresses) -> String {
    match addresses.ttl() {
        Some(ttl) => format!("{} with TTL {ttl}", addresses.in_words()),
        None => addresses.in_words(),
    }
}
