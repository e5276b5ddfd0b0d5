//! A device or a virtual machine as NetBox tells of it: any part of it may be missing.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Settings;
use crate::inventory::found::Found;
use crate::text::name;

/// What kind of machines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Bare metal.
    Device,
    /// Virtual machines.
    Virtual,
}

impl Kind {
    /// Where they are listed.
    pub fn path(self) -> &'static str {
        match self {
            Self::Device => "/api/dcim/devices/",
            Self::Virtual => "/api/virtualization/virtual-machines/",
        }
    }
}

fn words(value: Option<&Value>) -> Option<String> {
    match value? {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(flag) => Some(flag.to_string()),
        // A choice: its value.
        Value::Object(choice) => words(choice.get("value").or_else(|| choice.get("slug"))),
        _ => None,
    }
}

fn slug<'a>(row: &'a Value, key: &str) -> Option<&'a str> {
    row.get(key)?.get("slug")?.as_str()
}

/// Before version 4 roles of devices had another name.
fn role(row: &Value) -> Option<&str> {
    slug(row, "role").or_else(|| slug(row, "device_role"))
}

fn tags(row: &Value) -> impl Iterator<Item = &str> {
    let tags = row.get("tags").and_then(Value::as_array).into_iter().flatten();
    tags.filter_map(|tag| tag.get("slug")?.as_str())
}

/// Whether a machine meets every condition.
pub fn fits(settings: &Settings, row: &Value) -> bool {
    let one_of =
        |wanted: &[String], have: Option<&str>| wanted.is_empty() || wanted.iter().any(|w| have == Some(w.as_str()));
    let field = |(name, wanted): (&String, &String)| {
        words(row.get("custom_fields").and_then(|fields| fields.get(name))).as_ref() == Some(wanted)
    };
    one_of(&settings.sites, slug(row, "site"))
        && one_of(&settings.roles, role(row))
        && settings.tags.iter().all(|wanted| tags(row).any(|tag| tag == wanted))
        && settings.custom_fields.iter().all(field)
}

/// What is known of a machine.
pub fn found(kind: Kind, row: &Value) -> Found {
    let at = |pointer: &str| words(row.pointer(pointer));
    let word = match kind {
        Kind::Device => "device",
        Kind::Virtual => "virtual machine",
    };
    let named = at("/name").map(|name| format!(" ({name})")).unwrap_or_default();
    let mut found = Found {
        origin: format!("{word} {}{named}", at("/id").unwrap_or_default()),
        tags: tags(row).map(str::to_owned).collect(),
        ..Found::default()
    };
    let fields = row.get("custom_fields").and_then(Value::as_object).into_iter().flatten();
    for (field, value) in fields.filter(|(field, _)| name::check_variable(field).is_ok()) {
        found.fact(field, words(Some(value)));
    }
    for (fact, pointer) in [
        ("netbox_id", "/id"),
        ("hostname", "/name"),
        ("site", "/site/slug"),
        ("platform", "/platform/slug"),
        ("tenant", "/tenant/slug"),
        ("serial", "/serial"),
        ("asset_tag", "/asset_tag"),
        ("rack", "/rack/name"),
        ("position", "/position"),
        ("model", "/device_type/model"),
        ("manufacturer", "/device_type/manufacturer/name"),
        ("cluster", "/cluster/name"),
    ] {
        found.fact(fact, at(pointer));
    }
    found.fact("role", role(row).map(str::to_owned));
    found.fact("netbox_kind", Some(word.replace(' ', "_")));
    let address = |key: &str| Some(at(&format!("/{key}/address"))?.split('/').next().unwrap_or_default().to_owned());
    found.fact("primary_address", address("primary_ip").or_else(|| address("primary_ip4")));
    found.fact("oob_address", address("oob_ip"));
    if kind == Kind::Virtual {
        let number = |key: &str| at(key)?.parse::<f64>().ok();
        found.fact("cores", number("/vcpus").map(|n| n.to_string()));
        found.fact("memory_gib", number("/memory").map(|mib| (mib / 1024.0).to_string()));
        found.fact("disk_gb", number("/disk").map(|mb| (mb / 1000.0).to_string()));
    }
    if let Some(status) = at("/status").filter(|status| status != "active") {
        found.warnings.push(format!("its status in NetBox is {status}"));
    }
    found
}
