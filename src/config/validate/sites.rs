//! Sites.

use crate::yaml::diagnostic::Sink;

use super::{Atlas, unknown};

/// Every site that a host stands in is one of `sites`.
pub fn exist(atlas: &mut Atlas, sink: &Sink) {
    for host in atlas.hosts.values() {
        if let Some(site) = &host.settings.site
            && !atlas.sites.contains_key(&site.value)
        {
            unknown(sink, site, "site", atlas.sites.keys());
        }
    }
}
