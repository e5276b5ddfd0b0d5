//! What the management controllers of targets say of them. It only asks.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::{StreamExt, stream};

use super::super::observed::Seen;
use super::{LiveSystem, PARALLEL, unreachable};
use crate::model::{Bmc, Host};
use crate::redfish::System;
use crate::spec::Spec;

/// Asks those of all targets that have one.
pub async fn survey(spec: &Spec, live: &LiveSystem<'_>) -> BTreeMap<String, Seen<System>> {
    let targets: BTreeSet<&String> =
        spec.plan.services.iter().flat_map(|s| &s.pairs).map(|pair| &pair.target).collect();
    let known =
        targets.into_iter().filter_map(|name| spec.inventory.hosts.get(name).zip(spec.inventory.bmcs.get(name)));
    let asked = known.map(|(host, bmc)| async move { (host.name.clone(), ask(live, host, bmc).await) });
    let asked: Vec<_> = asked.collect();
    stream::iter(asked).buffer_unordered(PARALLEL).collect().await
}

async fn ask(live: &LiveSystem<'_>, host: &Host, bmc: &Bmc) -> Seen<System> {
    let url = match host.fill(&bmc.url) {
        Ok(url) => url,
        Err(finding) => {
            let why = format!("the `url` of its `bmc` cannot be made: {}", finding.what);
            return Seen::Failed { why, hint: Some("give the host that variable, or a `bmc` of its own".to_owned()) };
        }
    };
    live.bmcs.system(&host.name, bmc, &url).await.map_or_else(unreachable, Seen::Live)
}
