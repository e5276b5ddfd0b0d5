//! Which machines of which NetBox, as inventories say it.

use std::collections::BTreeMap;

use reqwest::Url;
use serde::{Deserialize, Serialize};

use super::machine::Kind;
use crate::fields::template::Use;
use crate::fields::{kinds, secret};
use crate::secret::SecretRef;
use crate::text;
use crate::yaml::map::{Map, one_of};
use crate::yaml::reader::Value;

const KINDS: [(&str, Kind); 2] = [("devices", Kind::Device), ("virtual_machines", Kind::Virtual)];

/// Which machines. Every condition that is given must hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    /// Where it is, without `/api`.
    pub url: String,
    /// What lets one in.
    pub token: SecretRef,
    /// Devices, virtual machines, or both.
    pub machines: Vec<Kind>,
    /// Slugs of sites; none: any.
    pub sites: Vec<String>,
    /// Slugs of roles; none: any.
    pub roles: Vec<String>,
    /// Slugs of tags, of which a machine must have all.
    pub tags: Vec<String>,
    /// Values of custom fields.
    pub custom_fields: BTreeMap<String, String>,
}

impl kinds::Settings for Settings {
    const KEY: &'static str = "netbox";

    fn read(value: Value<'_>, _: &Map<'_>, _: &mut Vec<Use>) -> Option<Self> {
        value.map("netbox source", "netbox: {url: https://netbox.example.com, token: {env: NETBOX_TOKEN}}", |m| {
            let words = |key: &'static str| -> Option<Vec<String>> {
                let Some(value) = m.get(key) else { return Some(Vec::new()) };
                value.one_or_many().iter().map(|v| Some(v.line("a slug", &format!("{key}: fra1"))?.value)).collect()
            };
            let url = m.need("url", "https://netbox.example.com").and_then(url);
            let token = m.need("token", "{env: NETBOX_TOKEN}").and_then(secret::read);
            let machines = match m.get("machines") {
                None => Some(vec![Kind::Device, Kind::Virtual]),
                Some(value) => {
                    let one = |v: &Value<'_>| Some(one_of(*v, "a kind of machines", "kinds", &KINDS)?.value);
                    value.one_or_many().iter().map(one).collect::<Option<Vec<Kind>>>().filter(|kinds| !kinds.is_empty())
                }
            };
            let (sites, roles, tags) = (words("site"), words("role"), words("tags"));
            let fields = m.get("custom_fields").map_or(Some(BTreeMap::new()), custom_fields);
            Some(Self {
                url: url?,
                token: token?,
                machines: machines?,
                sites: sites?,
                roles: roles?,
                tags: tags?,
                custom_fields: fields?,
            })
        })?
    }
}

fn custom_fields(value: Value<'_>) -> Option<BTreeMap<String, String>> {
    let entries = value.entries("values by the names of custom fields", "custom_fields: {softlayer_id: \"1000\"}");
    let one =
        |(key, value): (Value<'_>, Value<'_>)| Some((key.name().to_owned(), value.line("a value", "\"1000\"")?.value));
    entries.into_iter().map(one).collect()
}

fn url(value: Value<'_>) -> Option<String> {
    let text = value.line("the URL of NetBox", "url: https://netbox.example.com")?.value;
    let here = |url: &Url| url.host_str().is_some_and(|h| h == "localhost" || h == "[::1]" || h.starts_with("127."));
    let why = match Url::parse(&text) {
        Err(_) => "is not a URL",
        Ok(url) if url.scheme() == "http" && !here(&url) => "would carry the token unencrypted",
        Ok(url) if !matches!(url.scheme(), "http" | "https") || !url.has_host() => "is neither HTTPS nor HTTP",
        Ok(url) if !url.username().is_empty() || url.password().is_some() || url.query().is_some() => {
            "holds more than a host and a path"
        }
        Ok(_) => return Some(text.trim_end_matches('/').to_owned()),
    };
    value.error(format!("`{}` {why}", text::escape(text.as_bytes(), 100)), "for example https://netbox.example.com");
    None
}

impl Settings {
    /// The conditions as NetBox is asked for them.
    pub fn query(&self) -> Vec<(String, String)> {
        let each = |key: &'static str, values: &[String]| {
            values.iter().map(move |value| (key.to_owned(), value.clone())).collect::<Vec<_>>()
        };
        let fields = self.custom_fields.iter().map(|(name, value)| (format!("cf_{name}"), value.clone()));
        let listed = [each("site", &self.sites), each("role", &self.roles), each("tag", &self.tags)].concat();
        listed.into_iter().chain(fields).collect()
    }
}
