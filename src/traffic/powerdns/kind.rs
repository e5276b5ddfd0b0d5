//! What a zone of PowerDNS can do, and what its pools and members may be called.

use std::sync::Arc;

use super::super::hosted::kind::{self, Zone};
use super::super::hosted::sets::Records;
use super::super::{Context, Director, DirectorKind, Intent, dns};
use super::{PowerDns, Settings, WORDS};
use crate::fields::template::Unfit;
use crate::model::finding::Finding;
use crate::model::{Capabilities, Change, Kept, PoolFacts};
use crate::outside::Error;

impl Settings {
    /// What it is to name servers and shares.
    pub(super) fn zone(&self) -> Zone<'_> {
        Zone { domain: &self.domain, records: Records::Plain, servers: &self.servers }
    }

    /// Whether the key is seen by all that lie between.
    fn is_overheard(&self) -> bool {
        let host = self.endpoint.strip_prefix("http://").map(|rest| rest.trim_start_matches('['));
        host.is_some_and(|host| !["127.", "localhost", "::1"].iter().any(|here| host.starts_with(here)))
    }
}

impl DirectorKind for Settings {
    fn title(&self) -> &'static str {
        WORDS.title
    }

    fn capabilities(&self) -> Capabilities {
        dns::kind::CAPABILITIES
    }

    fn default_member(&self) -> &'static str {
        kind::MEMBER
    }

    fn pool_name(&self, written: &str) -> Result<String, Unfit> {
        self.zone().pool_name(written)
    }

    fn check_member(&self, name: &str) -> Result<(), Unfit> {
        dns::kind::address(name).map(drop)
    }

    fn advice(&self, intent: &Intent<'_>) -> Vec<Finding> {
        let mut all = self.zone().advice(intent, "PowerDNS has kept it for two seconds");
        let about = intent.about();
        let race = "PowerDNS's API has no compare-and-swap: somebody else's change in the same moment is noticed, and may be written over; updates by `dns` have one";
        all.push(Finding::note(&about, race));
        if self.is_overheard() {
            let what = format!("the API key goes to {} as it is, for all between to read", self.endpoint);
            let hint = "put TLS in front of the API and write `endpoint: https://…`, or go through an SSH tunnel to `http://127.0.0.1:8081`";
            all.push(Finding::risk(&about, what).hint(hint));
        }
        all
    }

    fn kept(&self, _facts: &PoolFacts, _wanted: &[Change]) -> Kept {
        kind::kept(WORDS.title)
    }

    fn connect(&self, name: &str, context: &Context) -> Result<Arc<dyn Director>, Error> {
        Ok(Arc::new(PowerDns::new(name, self, context.secrets.clone())))
    }
}
