//! Where a zone is written and read, as inventories say it.

use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};

use crate::fields::kinds;
use crate::fields::template::Use;
use crate::secret::SecretRef;
use crate::text::name;
use crate::yaml::map::Map;
use crate::yaml::reader::Value;

const ALGORITHMS: [&str; 4] = ["hmac-sha256", "hmac-sha1", "hmac-sha384", "hmac-sha512"];

/// Where a zone is written and read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    /// The zone's name.
    pub zone: String,
    /// The server that takes updates.
    pub primary: SocketAddr,
    /// Every authoritative server that must answer the same; the primary is asked too.
    pub secondaries: Vec<SocketAddr>,
    /// Resolvers that must answer the new records before the move goes on.
    pub resolvers: Vec<SocketAddr>,
    /// Name, algorithm and secret of the TSIG key. `None` sends unsigned updates.
    pub key: Option<TsigKey>,
}

/// A TSIG key by reference.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TsigKey {
    /// Key name as the server has it.
    pub name: String,
    /// `hmac-sha256` unless given; also `hmac-sha1`, `hmac-sha384`, `hmac-sha512`.
    pub algorithm: String,
    /// The base64 secret.
    pub secret: SecretRef,
}

impl kinds::Settings for Settings {
    const KEY: &'static str = "dns";

    fn read(value: Value<'_>, _: &Map<'_>, _: &mut Vec<Use>) -> Option<Self> {
        value.map("dns director", "dns: {zone: example.com, primary: 10.0.0.53}", |m| {
            let zone = m.need("zone", "example.com").and_then(domain);
            let primary = m.need("primary", "10.0.0.53").and_then(server);
            let servers = |v: Value<'_>| v.one_or_many().iter().filter_map(|v| server(*v)).collect::<Vec<_>>();
            let secondaries = m.get("secondaries").map(servers).unwrap_or_default();
            let resolvers = m.get("resolvers").map(servers).unwrap_or_default();
            let key = m.get("key").map(key);
            Some(Self {
                zone: zone?,
                primary: primary?,
                secondaries,
                resolvers,
                key: key.map_or(Some(None), |k| k.map(Some))?,
            })
        })?
    }
}

pub(in crate::traffic) fn domain(value: Value<'_>) -> Option<String> {
    let text = value.line("the name of a zone", "example.com")?.value;
    match name::check_address(&text) {
        Ok(()) if text.parse::<IpAddr>().is_err() => Some(text),
        _ => {
            value.error(
                format!("`{}` is not a DNS name", crate::text::escape(text.as_bytes(), 80)),
                "for example `example.com`",
            );
            None
        }
    }
}

pub(in crate::traffic) fn server(value: Value<'_>) -> Option<SocketAddr> {
    let text = value.line("the IP address of a DNS server", "10.0.0.53")?.value;
    let parsed = text.parse::<SocketAddr>().or_else(|_| text.parse::<IpAddr>().map(|ip| SocketAddr::new(ip, 53)));
    match parsed {
        Ok(address) if address.port() > 0 => Some(address),
        _ => {
            let shown = crate::text::escape(text.as_bytes(), 80);
            value.error(
                format!("`{shown}` is not the IP address of a DNS server"),
                "for example 10.0.0.53, 10.0.0.53:5353 or [2001:db8::53]:53",
            );
            None
        }
    }
}

fn key(value: Value<'_>) -> Option<TsigKey> {
    value.map("TSIG key", "key: {name: migrate., secret: {file: ./tsig.secret}}", |m| {
        let name = m.need("name", "migrate.").and_then(|v| {
            let text = v.line("the name of a key", "name: migrate.")?.value;
            let ok = name::check_address(&text).is_ok();
            if !ok {
                v.error("a TSIG key has a DNS name", "for example `name: migrate.`");
            }
            ok.then_some(text)
        });
        let algorithm = m.get("algorithm").map_or(Some(ALGORITHMS[0].to_owned()), algorithm);
        let secret = m.need("secret", "{file: ./tsig.secret}").and_then(crate::fields::secret::read);
        Some(TsigKey { name: name?, algorithm: algorithm?, secret: secret? })
    })?
}

fn algorithm(value: Value<'_>) -> Option<String> {
    let text = value.line("a TSIG algorithm", "algorithm: hmac-sha256")?.value;
    if ALGORITHMS.contains(&text.as_str()) {
        return Some(text);
    }
    let hint = crate::text::suggest::hint(&text, "algorithms", ALGORITHMS);
    value.error(format!("unknown algorithm `{}`", crate::text::escape(text.as_bytes(), 60)), hint);
    None
}
