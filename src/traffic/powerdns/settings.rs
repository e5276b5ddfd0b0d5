//! A zone of PowerDNS behind its HTTP API, as inventories say it.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use super::super::dns::settings::domain;
use super::super::hosted::settings;
use crate::fields::template::Use;
use crate::fields::{kinds, secret};
use crate::secret::SecretRef;
use crate::yaml::map::Map;
use crate::yaml::reader::Value;

const EXAMPLE: &str =
    "powerdns: {domain: example.com, endpoint: \"https://ns1.example.com:8081\", api_key: {file: ./pdns.key}}";
/// Where it answers unless told otherwise, on its own machine.
const ENDPOINT: &str = "http://127.0.0.1:8081";

/// A zone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    /// The zone's name in DNS.
    pub domain: String,
    /// Name servers of the zone that can be asked: its own, and secondaries.
    pub servers: Vec<SocketAddr>,
    /// What lets in.
    pub api_key: SecretRef,
    /// Where the API answers: `https://…`, without a slash at the end.
    pub endpoint: String,
}

impl kinds::Settings for Settings {
    const KEY: &'static str = "powerdns";

    fn read(value: Value<'_>, _: &Map<'_>, _: &mut Vec<Use>) -> Option<Self> {
        value.map("powerdns director", EXAMPLE, |m| {
            let domain = m.need("domain", "example.com").and_then(domain);
            let servers = settings::servers(m);
            let api_key = m.need("api_key", "{file: ./pdns.key}").and_then(secret::read);
            let endpoint = settings::endpoint(m, ENDPOINT);
            Some(Self { domain: domain?, servers: servers?, api_key: api_key?, endpoint: endpoint? })
        })?
    }
}
