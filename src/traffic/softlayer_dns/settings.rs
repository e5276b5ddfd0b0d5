//! Which zone of which account, and who answers for it, as inventories say it.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use super::super::dns::settings::{domain, server};
use crate::fields::kinds;
use crate::fields::template::Use;
use crate::softlayer::Access;
use crate::yaml::map::Map;
use crate::yaml::reader::Value;

/// A zone of an account, and who answers for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    /// The zone's name.
    pub zone: String,
    /// Every authoritative server.
    pub servers: Vec<SocketAddr>,
    /// Resolvers that must answer the new records before the move goes on.
    pub resolvers: Vec<SocketAddr>,
    /// How to log in.
    pub access: Access,
}

impl kinds::Settings for Settings {
    const KEY: &'static str = "softlayer_dns";

    fn read(value: Value<'_>, _: &Map<'_>, _: &mut Vec<Use>) -> Option<Self> {
        let home = value.cx.home.map(std::path::Path::to_path_buf);
        value.map("softlayer_dns director", "softlayer_dns: {zone: example.com, servers: [192.0.2.53]}", |m| {
            let zone = m.need("zone", "example.com").and_then(domain);
            let servers = |v: Value<'_>| v.one_or_many().iter().map(|v| server(*v)).collect::<Option<Vec<_>>>();
            let authoritative = m.need("servers", "[192.0.2.53]").and_then(|v| {
                let all = servers(v)?;
                if all.is_empty() {
                    v.error(
                        "there are no servers, so that nothing could be read back",
                        "for example `servers: [192.0.2.53]`",
                    );
                }
                (!all.is_empty()).then_some(all)
            });
            let resolvers = m.get("resolvers").map_or(Some(Vec::new()), servers);
            let access = Access::read(m, home);
            Some(Self { zone: zone?, servers: authoritative?, resolvers: resolvers?, access })
        })?
    }
}
