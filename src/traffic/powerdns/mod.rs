//! A zone of PowerDNS as director, over its HTTP API: a change replaces the record sets of a name, all of them or none.
//!
//! The API has no compare-and-swap. Three things stand in for it: the name is read just before it is written, and must be as it was;
//! the serial then tells whether anybody else wrote in between; and the name is looked at again after a while, by when another of these
//! directors that had read it before has written. Whoever keeps what he has read for longer is somebody who changes it later: the run keeps
//! looking. Must never be silent about a change that it may have written over.

mod kind;
mod settings;
mod wire;
mod zone;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::Instant;

use self::wire::{OVERTAKEN, TOO_LARGE};
use super::DirectorKind;
use super::hosted::exchange::Failure;
use super::hosted::kind::Zone;
use super::hosted::sets::{RecordSet, Sets, Words};
use super::hosted::{self, Hosted, Taken};
use crate::outside::{Error, Kind};
use crate::secret::Secrets;

pub use self::settings::Settings;
pub use self::wire::Api;

/// The longest time between reading a name and writing it.
const WINDOW: Duration = Duration::from_secs(1);
/// How long a change must have stood: another of these directors that had read the name before has written by then.
const STANDS: Duration = Duration::from_secs(2);
/// What to do about an API that does not answer.
const SILENT: &str =
    "does `endpoint` say what `webserver-address` and `webserver-port` of pdns.conf do, and is `api=yes` there?";
/// How a change stands that was written.
const WRITTEN: &str = "written";

const WORDS: Words = Words {
    title: "PowerDNS",
    kinds: "PowerDNS has plain record sets",
    one_each: "PowerDNS has plain record sets",
    all_zero: "which PowerDNS answers all alike",
};

/// One zone.
pub type PowerDns = Hosted<Api>;

impl PowerDns {
    /// A director over this zone. Contacts nobody yet; the key is looked up at each request.
    pub fn new(name: &str, settings: &Settings, secrets: Arc<dyn Secrets>) -> Self {
        Self::over(Api::new(name, settings, secrets))
    }
}

impl Api {
    /// The zone, of which writers can be told apart.
    async fn look(&self, owner: &str) -> Result<zone::Zone, Error> {
        let bytes = self.read().await.map_err(|failure| {
            let silent = matches!(failure, Failure::Lost(_));
            let error = hosted::Api::failed(self, "be read", failure);
            if silent { error.hint(SILENT) } else { error }
        })?;
        let lost = || hosted::Api::error(self, Kind::Lost, "its answer cannot be understood".to_owned());
        let zone = zone::read(&bytes, owner).ok_or_else(lost)?;
        if zone.is_copy {
            let what = "it is a secondary's copy, and changes come from its primary".to_owned();
            return Err(hosted::Api::error(self, Kind::Refused, what).hint("name the primary's API"));
        }
        if let Err(pace) = &zone.pace {
            let is = if pace.is_empty() { "not set".to_owned() } else { crate::text::escape(pace.as_bytes(), 60) };
            let what = format!("its SOA-EDIT-API is {is}: its serials do not tell whether somebody else writes");
            let hint = format!("`pdnsutil set-meta {} SOA-EDIT-API DEFAULT`, or INCREASE", self.settings.domain);
            return Err(hosted::Api::error(self, Kind::Refused, what).hint(hint));
        }
        Ok(zone)
    }

    /// Whether the change was the only one since the zone was read.
    fn alone(&self, before: &zone::Zone, serial: Option<u32>, owner: &str) -> Result<(), Failure> {
        let Ok(pace) = before.pace else { return Ok(()) };
        if serial.is_some_and(|serial| pace.is_one_change(before.serial, serial)) {
            return Ok(());
        }
        let (old, owner) = (before.serial, owner.trim_end_matches('.'));
        let now = serial.map_or("is not told".to_owned(), |new| format!("is {new}"));
        let what = format!(
            "somebody else changed the zone between reading and writing: its serial was {old} and {now} after one change of ours; what they made of {owner}, if it was that name, is written over"
        );
        let hint = "find out who else updates the zone and whether they meant this name, then run again";
        Err(Failure::Overwrote(hosted::Api::error(self, Kind::Disagrees, what).hint(hint)))
    }
}

#[async_trait]
impl hosted::Api for Api {
    fn name(&self) -> &str {
        &self.name
    }

    fn kind(&self) -> &dyn DirectorKind {
        &self.settings
    }

    fn words(&self) -> &'static Words {
        &WORDS
    }

    fn zone(&self) -> Zone<'_> {
        self.settings.zone()
    }

    fn in_sync(&self) -> &'static str {
        WRITTEN
    }

    fn error(&self, kind: Kind, what: String) -> Error {
        Error::new(format!("{} (PowerDNS at {})", self.name, self.settings.endpoint), kind, what)
    }

    fn said(&self, code: &str, what: String) -> Error {
        match code {
            TOO_LARGE => {
                self.error(Kind::Refused, what).hint("use a `dns` director: its updates ask for one name alone")
            }
            "401" => self.error(Kind::Refused, what).hint("`api_key` must be what pdns.conf says as `api-key`"),
            "403" => {
                self.error(Kind::Refused, what).hint("this machine must be in `webserver-allow-from` of pdns.conf")
            }
            "404" => {
                let hint = "`pdnsutil list-all-zones` tells the zones there are; does pdns.conf say `api=yes`?";
                self.error(Kind::Refused, what).hint(hint)
            }
            _ => self.error(Kind::Refused, what),
        }
    }

    fn is_overtaken(&self, code: &str) -> bool {
        code == OVERTAKEN
    }

    async fn list(&self, owner: &str) -> Result<Vec<RecordSet>, Error> {
        self.look(owner).await.map(|zone| zone.sets)
    }

    async fn change(&self, before: &Sets, after: &Sets) -> Result<Taken, Failure> {
        let owner = before.all.first().or(after.all.first()).map(|set| set.name.clone()).unwrap_or_default();
        let read_at = Instant::now();
        let zone = self.look(&owner).await.map_err(Failure::Unsent)?;
        let now = Sets { all: zone.sets.clone(), ..before.clone() };
        if !now.same(before) {
            return Err(Failure::said(OVERTAKEN, "it has changed since it was read"));
        }
        if read_at.elapsed() > WINDOW {
            let what = "it answers so slowly that others could write meanwhile".to_owned();
            return Err(Failure::Unsent(Error { transient: true, ..self.error(Kind::Refused, what) }));
        }
        let serial = self.patch(&zone::change(before, after)).await?;
        tokio::time::sleep(STANDS).await;
        self.alone(&zone, serial, &owner)?;
        Ok(Taken { id: String::new(), status: WRITTEN.to_owned() })
    }

    async fn status(&self, _id: &str) -> Result<String, Error> {
        Ok(WRITTEN.to_owned())
    }

    async fn open(&self, _owner: &str, _sets: &Sets) -> Result<Option<Taken>, Error> {
        // A change is in the database when it has been answered.
        Ok(None)
    }

    async fn delete_nothing(&self, owner: &str, _sets: &Sets) -> Result<(), Failure> {
        match self.patch(&zone::unreadable(owner)).await {
            // It has let the key in, found the zone, and read the record.
            Err(Failure::Said(code, message)) if code == "422" => Err(Failure::Said(OVERTAKEN.to_owned(), message)),
            other => other.map(drop),
        }
    }
}
