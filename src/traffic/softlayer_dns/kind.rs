//! What a zone at SoftLayer can do. Names of pools and members are those of any zone.

use std::sync::Arc;

use super::super::dns::{advice, kind};
use super::super::{Context, Director, DirectorKind, Intent};
use super::{Settings, Zone};
use crate::fields::template::Unfit;
use crate::model::finding::Finding;
use crate::model::{Capabilities, Change, Kept, PoolFacts};
use crate::outside::Error;

impl DirectorKind for Settings {
    fn title(&self) -> &'static str {
        "SoftLayer DNS"
    }

    fn capabilities(&self) -> Capabilities {
        kind::CAPABILITIES
    }

    fn default_member(&self) -> &'static str {
        "{{ address }}"
    }

    fn pool_name(&self, written: &str) -> Result<String, Unfit> {
        kind::owner(&kind::zone(&self.zone)?, written).map(|owner| owner.to_string().to_ascii_lowercase())
    }

    fn check_member(&self, name: &str) -> Result<(), Unfit> {
        kind::address(name).map(drop)
    }

    fn advice(&self, intent: &Intent<'_>) -> Vec<Finding> {
        let what = "is changed record by record, since SoftLayer takes no change of several at once: for a moment it has more addresses than before or after";
        advice::of(intent).into_iter().chain([Finding::note(intent.about(), what)]).collect()
    }

    fn kept(&self, _facts: &PoolFacts, _wanted: &[Change]) -> Kept {
        itself(&self.zone)
    }

    fn connect(&self, name: &str, context: &Context) -> Result<Arc<dyn Director>, Error> {
        Ok(Arc::new(Zone::new(name, self, context.secrets.clone())?))
    }
}

/// What a restart makes of a zone at SoftLayer.
pub(super) fn itself(zone: &str) -> Kept {
    Kept::noted(format!("the zone {zone} is kept by SoftLayer: nothing here is started anew"))
}
