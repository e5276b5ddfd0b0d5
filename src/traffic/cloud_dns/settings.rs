//! A managed zone of Cloud DNS and who may change it, as inventories say it.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use super::super::dns::settings::domain;
use super::super::hosted::sets::Records;
use super::super::hosted::{exchange, settings};
use crate::fields::template::Use;
use crate::fields::{kinds, secret};
use crate::secret::SecretRef;
use crate::yaml::map::Map;
use crate::yaml::reader::Value;

const EXAMPLE: &str =
    "cloud_dns: {project: my-project, zone: example-com, domain: example.com, credentials: {metadata: true}}";
/// Where Google answers.
const ENDPOINT: &str = "https://dns.googleapis.com";
/// Where machines of Google ask for what is told to them.
const METADATA: &str = "http://metadata.google.internal";

/// A managed zone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    /// The project that it is in.
    pub project: String,
    /// Its name or id there.
    pub zone: String,
    /// Its name in DNS.
    pub domain: String,
    /// How the records of a pool make shares: weighted or plain.
    pub records: Records,
    /// Name servers of the zone that can be asked.
    pub servers: Vec<SocketAddr>,
    /// Where credentials come from.
    pub credentials: From,
    /// Where the API answers: `https://…`, without a slash at the end.
    pub endpoint: String,
}

/// Where access tokens come from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum From {
    /// The key of a service account, as JSON.
    ServiceAccount(SecretRef),
    /// The metadata server at this URL.
    Metadata(String),
    /// A token that somebody else gets.
    Token(SecretRef),
}

impl kinds::Settings for Settings {
    const KEY: &'static str = "cloud_dns";

    fn read(value: Value<'_>, _: &Map<'_>, _: &mut Vec<Use>) -> Option<Self> {
        value.map("cloud_dns director", EXAMPLE, |m| {
            let project = m.need("project", "my-project").and_then(|v| id(v, "a project", "my-project"));
            let zone = m.need("zone", "example-com").and_then(|v| id(v, "a managed zone", "example-com"));
            let domain = m.need("domain", "example.com").and_then(domain);
            let kinds = [("weighted", Records::Weighted), ("plain", Records::Plain)];
            let records = settings::records(m, &kinds);
            let servers = settings::servers(m);
            let credentials = m.need("credentials", "{metadata: true}").and_then(credentials);
            let endpoint = settings::endpoint(m, ENDPOINT);
            Some(Self {
                project: project?,
                zone: zone?,
                domain: domain?,
                records: records?,
                servers: servers?,
                credentials: credentials?,
                endpoint: endpoint?,
            })
        })?
    }
}

/// What stands in paths of the API.
fn id(value: Value<'_>, what: &str, example: &str) -> Option<String> {
    let text = value.line(&format!("the name of {what}"), example)?.value;
    // Old projects stand below a domain: `example.com:web`.
    let fits = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-.:".contains(&b);
    if !text.is_empty() && text.len() <= 100 && !text.starts_with('.') && text.bytes().all(fits) {
        return Some(text);
    }
    let shown = crate::text::escape(text.as_bytes(), 60);
    value.error(format!("`{shown}` is not the name of {what}"), format!("for example `{example}`"));
    None
}

fn credentials(value: Value<'_>) -> Option<From> {
    value.map("Google credentials", "credentials: {service_account: {file: ./mover.json}}", |m| {
        let kind = m.kind(&["service_account", "metadata", "token"])?;
        match kind.name() {
            "service_account" => secret::read(kind).map(From::ServiceAccount),
            "token" => secret::read(kind).map(From::Token),
            _ => {
                let at = m.get("at").map_or_else(|| Some(METADATA.to_owned()), |v| exchange::endpoint(v, METADATA));
                if !kind.bool()? {
                    let hint = "write `metadata: true`, or `service_account` or `token` instead";
                    kind.error("`metadata: false` names no credentials", hint);
                    return None;
                }
                at.map(From::Metadata)
            }
        }
    })?
}
