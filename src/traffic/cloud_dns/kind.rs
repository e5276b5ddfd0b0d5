//! What a managed zone can do, and what its pools and members may be called.

use std::sync::Arc;

use super::super::hosted::kind::{self, Zone};
use super::super::{Context, Director, DirectorKind, Intent, dns};
use super::{MAX_WEIGHT, ManagedZone, Settings, WORDS};
use crate::fields::template::Unfit;
use crate::model::finding::Finding;
use crate::model::{Capabilities, Change, Kept, PoolFacts};
use crate::outside::Error;

impl Settings {
    /// What it is to name servers and shares.
    pub(super) fn zone(&self) -> Zone<'_> {
        Zone { domain: &self.domain, records: self.records, servers: &self.servers }
    }
}

impl DirectorKind for Settings {
    fn title(&self) -> &'static str {
        WORDS.title
    }

    fn capabilities(&self) -> Capabilities {
        self.zone().capabilities(MAX_WEIGHT)
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
        self.zone().advice(intent, "Cloud DNS says done")
    }

    fn kept(&self, _facts: &PoolFacts, _wanted: &[Change]) -> Kept {
        kind::kept(WORDS.title)
    }

    fn connect(&self, name: &str, context: &Context) -> Result<Arc<dyn Director>, Error> {
        Ok(Arc::new(ManagedZone::new(name, self, context.secrets.clone())))
    }
}
