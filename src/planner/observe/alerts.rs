//! Whether those who are to be asked for silences can be asked. Makes none.

use std::collections::BTreeMap;

use super::super::observed::Seen;
use super::LiveSystem;
use crate::spec::Spec;

/// Asks every Alertmanager of the plan once: its version, by its URL.
pub async fn look(spec: &Spec, live: &LiveSystem<'_>) -> BTreeMap<String, Seen<String>> {
    let mut seen = BTreeMap::new();
    for silence in spec.plan.services.iter().filter_map(|service| service.silence.as_ref()) {
        if !seen.contains_key(&silence.at.url) {
            let answer = live.silences.look(&silence.at).await;
            let answer = answer.map_or_else(|e| Seen::Failed { why: e.to_string(), hint: e.hint }, Seen::Live);
            seen.insert(silence.at.url.clone(), answer);
        }
    }
    seen
}
