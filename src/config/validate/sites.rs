//! Sites.

use crate::yaml::diagnostic::Sink;

use super::{Inventories, unknown};

/// Every site that a host stands in is one of `sites`.
pub fn exist(inventories: &mut Inventories, sink: &Sink) {
    for host in inventories.hosts.values() {
        if let Some(site) = &host.settings.site
            && !inventories.sites.contains_key(&site.value)
        {
            unknown(sink, site, "site", inventories.sites.keys());
        }
    }
}
