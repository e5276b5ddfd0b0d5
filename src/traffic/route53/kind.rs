//! What a hosted zone can do, and what its pools and members may be called.

use std::sync::Arc;

use super::super::{Context, Director, DirectorKind, Intent, dns};
use super::sets::MAX_WEIGHT;
use super::settings::Records;
use super::{HostedZone, Settings};
use crate::fields::template::Unfit;
use crate::model::finding::Finding;
use crate::model::{Capabilities, Weights};
use crate::outside::Error;

impl DirectorKind for Settings {
    fn title(&self) -> &'static str {
        "Route 53"
    }

    fn capabilities(&self) -> Capabilities {
        let weights = match self.records {
            Records::Weighted => Weights::Exact(MAX_WEIGHT),
            Records::Multivalue | Records::Plain => Weights::Presence,
        };
        Capabilities { weights, adds_members: true, connections: false, drain: false, ttl: true }
    }

    fn default_member(&self) -> &'static str {
        "{{ address }}"
    }

    fn pool_name(&self, written: &str) -> Result<String, Unfit> {
        let owner = dns::kind::owner(&dns::kind::zone(&self.domain)?, written)?;
        Ok(owner.to_string().to_ascii_lowercase())
    }

    fn check_member(&self, name: &str) -> Result<(), Unfit> {
        dns::kind::address(name).map(drop)
    }

    fn advice(&self, intent: &Intent<'_>) -> Vec<Finding> {
        let about = intent.about();
        let shares = match self.records {
            Records::Weighted => {
                "weights decide what each resolver gets, not each client: a large resolver takes all its clients along"
            }
            Records::Multivalue => {
                "up to eight addresses are answered at a time, and clients choose among them: shares are not exact"
            }
            Records::Plain => "clients choose among the addresses: shares are not exact",
        };
        vec![
            Finding::note(&about, shares),
            Finding::note(&about, "every change is waited for until Route 53 says INSYNC, about a minute"),
        ]
    }

    fn connect(&self, name: &str, context: &Context) -> Result<Arc<dyn Director>, Error> {
        Ok(Arc::new(HostedZone::new(name, self, context.secrets.clone())))
    }
}
