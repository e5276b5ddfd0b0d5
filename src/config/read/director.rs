//! Directors by kind. A new kind is one line in [`KINDS`] and one function.

use std::net::{IpAddr, SocketAddr};

use crate::secret::SecretRef;
use crate::text::name;
use crate::traffic::haproxy::Endpoint;
use crate::traffic::rfc2136::TsigKey;
use crate::traffic::{DirectorConfig, HaproxyConfig, Rfc2136Config};
use crate::yaml::reader::Value;
use crate::yaml::source::Located;

/// The kinds there are.
pub const KINDS: [&str; 2] = ["haproxy", "dns"];
const ALGORITHMS: [&str; 4] = ["hmac-sha256", "hmac-sha1", "hmac-sha384", "hmac-sha512"];
const ENDPOINTS: &str = "write unix:/run/haproxy/admin.sock, tcp:10.0.0.1:9999 or ssh:HOST:/run/haproxy/admin.sock";

/// A director and the hosts it names.
#[derive(Debug, Clone)]
pub struct DirectorDraft {
    /// `None` when it could not be read, which is reported.
    pub config: Option<DirectorConfig>,
    /// Hosts that its sockets are on.
    pub hosts: Vec<Located<String>>,
}

/// Reads one entry of `directors`.
pub fn read(value: Value<'_>) -> Option<DirectorDraft> {
    let kind = value.map("director", "edge: {haproxy: \"unix:/run/haproxy/admin.sock\"}", |m| m.kind(&KINDS))??;
    match kind.name() {
        "haproxy" => haproxy(kind),
        _ => dns(kind),
    }
}

fn haproxy(value: Value<'_>) -> Option<DirectorDraft> {
    let mut hosts = Vec::new();
    let items = value.one_or_many();
    let endpoints: Vec<Endpoint> = items.iter().filter_map(|item| endpoint(*item, &mut hosts)).collect();
    if items.is_empty() {
        value.error("`haproxy` names no runtime API", ENDPOINTS);
    }
    let complete = !items.is_empty() && endpoints.len() == items.len();
    let config = complete.then_some(DirectorConfig::Haproxy(HaproxyConfig { endpoints }));
    Some(DirectorDraft { config, hosts })
}

fn endpoint(value: Value<'_>, hosts: &mut Vec<Located<String>>) -> Option<Endpoint> {
    let text = value.line("where HAProxy's runtime API answers", "haproxy: \"unix:/run/haproxy/admin.sock\"")?;
    let bad = |why: &str| {
        value.error(
            format!("`{}` is no runtime API: {why}", crate::text::escape(text.value.as_bytes(), 100)),
            ENDPOINTS,
        );
        None
    };
    match text.value.split_once(':') {
        Some(("unix", "")) => bad("the path is missing"),
        Some(("unix", path)) => value.resolve(path).map(Endpoint::Unix),
        Some(("tcp", rest)) => match name::check_host_port(rest) {
            Ok(()) => Some(Endpoint::Tcp(rest.to_owned())),
            Err(why) => bad(why),
        },
        Some(("ssh", rest)) => match rest.split_once(':') {
            Some((host, path)) if path.starts_with('/') && name::check(host).is_ok() => {
                hosts.push(Located { value: host.to_owned(), at: text.at.clone() });
                Some(Endpoint::Ssh { host: host.to_owned(), path: path.to_owned() })
            }
            _ => bad("after `ssh:` come a host of the inventory and the absolute path of a socket there"),
        },
        _ => bad("it begins neither with `unix:` nor with `tcp:` nor with `ssh:`"),
    }
}

fn dns(value: Value<'_>) -> Option<DirectorDraft> {
    let config = value.map("dns director", "dns: {zone: example.com, primary: 10.0.0.53}", |m| {
        let zone = m.need("zone", "example.com").and_then(domain);
        let primary = m.need("primary", "10.0.0.53").and_then(server);
        let servers = |v: Value<'_>| v.one_or_many().iter().filter_map(|v| server(*v)).collect::<Vec<_>>();
        let secondaries = m.get("secondaries").map(servers).unwrap_or_default();
        let resolvers = m.get("resolvers").map(servers).unwrap_or_default();
        let key = m.get("key").map(key);
        Some(Rfc2136Config {
            zone: zone?,
            primary: primary?,
            secondaries,
            resolvers,
            key: key.map_or(Some(None), |k| k.map(Some))?,
        })
    })??;
    Some(DirectorDraft { config: Some(DirectorConfig::Rfc2136(config)), hosts: Vec::new() })
}

fn domain(value: Value<'_>) -> Option<String> {
    let text = value.line("the name of a zone", "zone: example.com")?.value;
    match name::check_address(&text) {
        Ok(()) if text.parse::<IpAddr>().is_err() => Some(text),
        _ => {
            value.error(
                format!("`{}` is not a DNS name", crate::text::escape(text.as_bytes(), 80)),
                "for example `zone: example.com`",
            );
            None
        }
    }
}

fn server(value: Value<'_>) -> Option<SocketAddr> {
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
        let secret: Option<SecretRef> = m.need("secret", "{file: ./tsig.secret}").and_then(crate::fields::secret::read);
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
