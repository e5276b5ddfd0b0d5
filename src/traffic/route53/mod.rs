//! A hosted zone of Route 53 as director: DELETE of what was read and CREATE of what is wanted in one batch, which is a compare-and-swap.
//!
//! Members are the addresses of a name. Must never send UPSERT, which writes over what nobody has read, and never report a change as done
//! before the name servers have it.

mod credentials;
mod kind;
mod metadata;
mod settings;
mod sign;
mod wire;
mod xml;

use std::sync::Arc;

use async_trait::async_trait;

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

/// Largest weight of a set.
const MAX_WEIGHT: u16 = 255;
/// Most pages of a listing that one name can have.
const PAGES: usize = 20;
/// What Route 53 takes in one batch.
const LONGEST_BATCH: usize = 32_000;
/// What nobody's address is.
const NOBODY: &str = "migrate-asks-whether-it-may";

const WORDS: Words = Words {
    title: "Route 53",
    kinds: "say `records: weighted`, `multivalue` or `plain`, as they are",
    one_each: "give each address a set of its own",
    all_zero: "which Route 53 answers all alike",
};

/// One hosted zone.
pub type HostedZone = Hosted<Api>;

impl HostedZone {
    /// A director over this zone. Contacts nobody yet; credentials are looked up at each request.
    pub fn new(name: &str, settings: &Settings, secrets: Arc<dyn Secrets>) -> Self {
        Self::over(Api::new(name, settings, secrets))
    }
}

impl Api {
    fn path(&self) -> String {
        format!("/2013-04-01/hostedzone/{}/rrset", self.settings.zone)
    }

    /// One batch: all of it, or nothing.
    async fn batch(&self, gone: &[&RecordSet], new: &[&RecordSet]) -> Result<Taken, Failure> {
        let body = xml::batch(gone, new);
        if body.len() > LONGEST_BATCH {
            let what = "the change is longer than Route 53 takes in one batch".to_owned();
            return Err(Failure::Unsent(hosted::Api::error(self, Kind::Refused, what)));
        }
        let path = format!("{}/", self.path());
        let answer = self.ask(Ask { method: "POST", path, query: &[], body }).await?;
        let lost = |what: &str| Failure::Lost(what.to_owned());
        let (id, status) = xml::change(&answer).ok_or_else(|| lost("the answer to the change cannot be understood"))?;
        let id = id.rsplit('/').next().unwrap_or_default().to_owned();
        match !id.is_empty() && id.bytes().all(|b| b.is_ascii_alphanumeric()) {
            true => Ok(Taken { id, status }),
            false => Err(lost("the answer to the change has no id")),
        }
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
        "INSYNC"
    }

    fn error(&self, kind: Kind, what: String) -> Error {
        Error::new(format!("{} (Route 53 zone {})", self.name, self.settings.zone), kind, what)
    }

    fn said(&self, code: &str, what: String) -> Error {
        let error = |kind| self.error(kind, what.clone());
        match code {
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

    fn is_overtaken(&self, code: &str) -> bool {
        code == "InvalidChangeBatch"
    }

    async fn list(&self, owner: &str) -> Result<Vec<RecordSet>, Error> {
        let mut all: Vec<RecordSet> = Vec::new();
        let mut from = (owner.to_owned(), "A".to_owned(), None::<String>);
        for _ in 0..PAGES {
            let mut query = vec![("name", from.0.as_str()), ("type", from.1.as_str()), ("maxitems", "300")];
            query.extend(from.2.as_deref().map(|id| ("identifier", id)));
            let ask = Ask { method: "GET", path: self.path(), query: &query, body: String::new() };
            let bytes = self.ask(ask).await.map_err(|failure| self.failed("be read", failure))?;
            let page = xml::page(&bytes);
            let page = page.ok_or_else(|| self.error(Kind::Lost, "its listing cannot be understood".to_owned()))?;
            all.extend(page.sets.into_iter().filter(|set| set.name == owner && in_question(&set.rtype)));
            match page.next {
                // They are in the order of names.
                Some(next) if next.0 == owner => from = next,
                _ => return Ok(all),
            }
        }
        Err(self.error(Kind::Refused, format!("{owner} has more record sets than can be read")))
    }

    async fn change(&self, before: &Sets, after: &Sets) -> Result<Taken, Failure> {
        let (gone, new) = before.steps_to(after);
        self.batch(&gone, &new).await
    }

    async fn status(&self, id: &str) -> Result<String, Error> {
        let ask = Ask { method: "GET", path: format!("/2013-04-01/change/{id}"), query: &[], body: String::new() };
        let bytes = self.ask(ask).await.map_err(|failure| self.failed("be asked for the change", failure))?;
        let lost = || self.error(Kind::Lost, "the state of the change cannot be understood".to_owned());
        xml::change(&bytes).map(|(_, status)| status).ok_or_else(lost)
    }

    /// Puts one set in its own place: when that is INSYNC, all that was changed before it is, too.
    async fn open(&self, owner: &str, sets: &Sets) -> Result<Option<Taken>, Error> {
        let Some(first) = sets.all.first() else { return Ok(None) };
        match self.batch(&[first], &[first]).await {
            Ok(taken) => Ok(Some(taken)),
            Err(Failure::Said(code, _)) if self.is_overtaken(&code) => {
                let what = format!("{} is just being changed by somebody else", owner.trim_end_matches('.'));
                Err(self.error(Kind::Conflict, what).hint("find out who else updates this name, then run again"))
            }
            Err(failure) => Err(self.failed("be asked whether name servers have it", failure)),
        }
    }

    async fn delete_nothing(&self, _owner: &str, sets: &Sets) -> Result<(), Failure> {
        let like = sets.all.first().cloned().unwrap_or_default();
        let id = Some(NOBODY.to_owned());
        let values = vec![if like.rtype == "A" { "192.0.2.255" } else { "2001:db8::ffff" }.to_owned()];
        let absent = RecordSet { id, weight: Some(0), multivalue: None, health_check: None, values, ..like };
        self.batch(&[&absent], &[]).await.map(drop)
    }
}
