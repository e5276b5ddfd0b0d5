//! A managed zone of Google Cloud DNS as director: deletions of exactly what was read and additions of what is wanted in one change.
//!
//! Members are the addresses of a name: items of a weighted policy, or the data of a plain record set.

mod credentials;
mod kind;
mod rrset;
mod settings;
mod wire;

use std::sync::Arc;

use async_trait::async_trait;
use serde_json::json;

use self::wire::Ask;
use super::DirectorKind;
use super::hosted::exchange::Failure;
use super::hosted::kind::Zone;
use super::hosted::sets::{RecordSet, Sets, Words, in_question};
use super::hosted::{self, Hosted, Taken};
use crate::outside::{Certainty, Error, Kind};
use crate::secret::Secrets;

pub use self::settings::{From, Settings};
pub use self::wire::Api;
pub use super::hosted::sets::Records as RecordKind;

/// Largest weight of an item.
const MAX_WEIGHT: u16 = 1000;
/// Most pages of a listing that one name can have.
const PAGES: usize = 20;
/// What is not there, so that nothing happens when it is deleted.
const NOBODY: &str = "migrate-asks-whether-it-may";

const WORDS: Words = Words {
    title: "Cloud DNS",
    kinds: "say `records: weighted` or `plain`, as they are",
    one_each: "give each address an item of its own",
    all_zero: "of which nobody knows whom they are answered to",
};

/// One managed zone.
pub type ManagedZone = Hosted<Api>;

impl ManagedZone {
    /// A director over this zone. Contacts nobody yet.
    pub fn new(name: &str, settings: &Settings, secrets: Arc<dyn Secrets>) -> Self {
        Self::over(Api::new(name, settings, secrets))
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
        "done"
    }

    fn error(&self, kind: Kind, what: String) -> Error {
        Error::new(format!("{} (Cloud DNS zone {})", self.name, self.settings.zone), kind, what)
    }

    fn said(&self, reason: &str, what: String) -> Error {
        let error = |kind| self.error(kind, what.clone());
        match reason {
            "authError" | "UNAUTHENTICATED" => {
                error(Kind::Refused).hint("these credentials are not valid; is this machine's clock right?")
            }
            "forbidden" | "insufficientPermissions" | "PERMISSION_DENIED" => error(Kind::Refused).hint(
                "give the account the role `roles/dns.admin` on the zone or its project, and its token the scope `ndev.clouddns.readwrite`",
            ),
            "accessNotConfigured" => error(Kind::Refused).hint("switch the Cloud DNS API on in this project"),
            "notFound" => error(Kind::Refused).hint("`gcloud dns managed-zones list` tells the names there are"),
            later if wire::means_later(later) => Error {
                transient: true,
                ..error(Kind::Lost)
                    .certainty(Certainty::NotDone)
                    .hint("a project has so many requests a minute: who else makes them?")
            },
            _ => error(Kind::Refused),
        }
    }

    fn is_overtaken(&self, reason: &str) -> bool {
        // Not as it was, not there any more, or there already.
        ["conditionNotMet", "notFound", "alreadyExists"].contains(&reason)
    }

    async fn list(&self, owner: &str) -> Result<Vec<RecordSet>, Error> {
        let (mut all, mut token): (Vec<RecordSet>, Option<String>) = (Vec::new(), None);
        for _ in 0..PAGES {
            let mut query = vec![("name", owner)];
            query.extend(token.as_deref().map(|token| ("pageToken", token)));
            let bytes = self.ask(Ask { path: "rrsets", query: &query, body: None }).await;
            let bytes = bytes.map_err(|failure| self.failed("be read", failure))?;
            let page = rrset::page(&bytes);
            let page = page.ok_or_else(|| self.error(Kind::Lost, "its listing cannot be understood".to_owned()))?;
            all.extend(page.sets.into_iter().filter(|set| set.name == owner && in_question(&set.rtype)));
            token = page.next;
            if token.is_none() {
                return Ok(all);
            }
        }
        Err(self.error(Kind::Refused, format!("{owner} has more record sets than can be read")))
    }

    async fn change(&self, before: &Sets, after: &Sets) -> Result<Taken, Failure> {
        let change = rrset::change(before, after);
        let bytes = self.ask(Ask { path: "changes", query: &[], body: Some(&change) }).await?;
        rrset::taken(&bytes).ok_or_else(|| Failure::Lost("the answer to the change cannot be understood".to_owned()))
    }

    async fn status(&self, id: &str) -> Result<String, Error> {
        let bytes = self.ask(Ask { path: &format!("changes/{id}"), query: &[], body: None }).await;
        let bytes = bytes.map_err(|failure| self.failed("be asked for the change", failure))?;
        let taken = rrset::taken(&bytes);
        let lost = || self.error(Kind::Lost, "the state of the change cannot be understood".to_owned());
        taken.map(|taken| taken.status).ok_or_else(lost)
    }

    async fn open(&self, _owner: &str, _sets: &Sets) -> Result<Option<Taken>, Error> {
        // Changes of a zone are made in their order.
        let query = [("sortBy", "changeSequence"), ("sortOrder", "descending"), ("maxResults", "50")];
        let bytes = self.ask(Ask { path: "changes", query: &query, body: None }).await;
        let bytes = bytes.map_err(|failure| self.failed("be asked for its changes", failure))?;
        let pending = rrset::pending(&bytes);
        pending.ok_or_else(|| self.error(Kind::Lost, "the list of its changes cannot be understood".to_owned()))
    }

    async fn delete_nothing(&self, owner: &str, _sets: &Sets) -> Result<(), Failure> {
        let name = format!("{NOBODY}.{owner}");
        let absent = json!({ "name": name, "type": "TXT", "ttl": 1, "rrdatas": ["\"-\""] });
        let change = json!({ "deletions": [absent], "additions": [] });
        self.ask(Ask { path: "changes", query: &[], body: Some(&change) }).await.map(drop)
    }
}
