//! What lists are narrowed down by, and whether a machine is really of the kind that was asked for.

use serde_json::{Map, Value, json};

use super::Settings;

/// The filter below the root of a list. Every list is looked at again with [`fits`], so it only saves time.
pub fn wanted(settings: &Settings) -> Map<String, Value> {
    let any = |values: &[String]| json!({ "operation": "in", "options": [{ "name": "data", "value": values }] });
    let mut filter = Map::new();
    if !settings.datacenters.is_empty() {
        filter.insert("datacenter".into(), json!({ "name": any(&settings.datacenters) }));
    }
    // One of the tags narrows it down far enough.
    if let Some(tag) = settings.tags.first() {
        filter.insert("tagReferences".into(), json!({ "tag": { "name": any(std::slice::from_ref(tag)) } }));
    }
    if !settings.domains.is_empty() {
        filter.insert("domain".into(), any(&settings.domains));
    }
    filter
}

/// Whether a machine meets every condition.
pub fn fits(settings: &Settings, row: &Value) -> bool {
    let text = |pointer: &str| row.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    let one_of =
        |wanted: &[String], have: &str| wanted.is_empty() || wanted.iter().any(|w| w.eq_ignore_ascii_case(have));
    let tags: Vec<&str> = super::machine::tags(row).collect();
    one_of(&settings.datacenters, text("/datacenter/name"))
        && one_of(&settings.domains, text("/domain"))
        && one_of(&settings.owners, text("/billingItem/orderItem/order/userRecord/username"))
        && settings.tags.iter().all(|wanted| tags.iter().any(|tag| tag.eq_ignore_ascii_case(wanted)))
}
