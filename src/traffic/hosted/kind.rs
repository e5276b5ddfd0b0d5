//! What every kind of hosted zone says of itself, before one is asked.

use std::net::SocketAddr;

use super::super::{Intent, dns};
use super::sets::Records;
use crate::fields::template::Unfit;
use crate::model::finding::Finding;
use crate::model::{Capabilities, Kept, Weights};

/// The member that a host is unless the plan says otherwise.
pub const MEMBER: &str = "{{ address }}";

/// A zone behind an API, as its settings say it.
#[derive(Debug, Clone, Copy)]
pub struct Zone<'a> {
    /// Its name in DNS.
    pub domain: &'a str,
    /// How the records of a pool make shares.
    pub records: Records,
    /// Name servers that can be asked.
    pub servers: &'a [SocketAddr],
}

impl Zone<'_> {
    /// What it can do; `most` is the largest weight.
    pub fn capabilities(&self, most: u16) -> Capabilities {
        let weights = match self.records {
            Records::Weighted => Weights::Exact(most),
            Records::Multivalue | Records::Plain => Weights::Presence,
        };
        Capabilities { weights, ..dns::kind::CAPABILITIES }
    }

    /// The one name of a pool.
    pub fn pool_name(&self, written: &str) -> Result<String, Unfit> {
        let owner = dns::kind::owner(&dns::kind::zone(self.domain)?, written)?;
        Ok(owner.to_string().to_ascii_lowercase())
    }

    /// What follows for a plan from how shares are made and changes waited for; `says` completes "until …".
    pub fn advice(&self, intent: &Intent<'_>, says: &str) -> Vec<Finding> {
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
        let besides = match self.servers.is_empty() {
            true => ": name servers may need longer, and `servers` names those to ask",
            false => ", and the name servers answer it",
        };
        let waited = format!("every change is waited for until {says}{besides}");
        vec![Finding::note(&about, shares), Finding::note(&about, waited)]
    }
}

/// What a restart makes of record sets that an API keeps.
pub fn kept(title: &str) -> Kept {
    Kept::noted(format!("the record sets are what {title} keeps: nothing starts anew"))
}
