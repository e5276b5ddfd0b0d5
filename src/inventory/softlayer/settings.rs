//! Which machines of which account, as inventories say it.

use serde::{Deserialize, Serialize};

use super::machine::Kind;
use crate::fields::kinds;
use crate::fields::template::Use;
use crate::softlayer::Access;
use crate::yaml::map::{Map, one_of};
use crate::yaml::reader::Value;

const KINDS: [(&str, Kind); 2] = [("hardware", Kind::Hardware), ("virtual_guests", Kind::Guests)];

/// Which machines of which account. Every condition that is given must hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    /// How to log in.
    pub access: Access,
    /// Bare metal, virtual guests, or both.
    pub kinds: Vec<Kind>,
    /// Stands in one of these; none: anywhere.
    pub datacenters: Vec<String>,
    /// Has all of these tags.
    pub tags: Vec<String>,
    /// Has a name in one of these domains.
    pub domains: Vec<String>,
    /// Was ordered by one of these users.
    pub owners: Vec<String>,
}

impl kinds::Settings for Settings {
    const KEY: &'static str = "softlayer";

    fn read(value: Value<'_>, _: &Map<'_>, _: &mut Vec<Use>) -> Option<Self> {
        let home = value.cx.home.map(std::path::Path::to_path_buf);
        value.map("softlayer source", "softlayer: {datacenter: dal10}", |m| {
            let words = |key: &'static str, kind: &str, example: &str| -> Option<Vec<String>> {
                let Some(value) = m.get(key) else { return Some(Vec::new()) };
                value.one_or_many().iter().map(|v| Some(v.line(kind, example)?.value)).collect()
            };
            let kinds = match m.get("machines") {
                None => Some(vec![Kind::Hardware, Kind::Guests]),
                Some(value) => {
                    let one = |v: &Value<'_>| Some(one_of(*v, "a kind of machines", "kinds", &KINDS)?.value);
                    value.one_or_many().iter().map(one).collect::<Option<Vec<Kind>>>().filter(|kinds| !kinds.is_empty())
                }
            };
            let datacenters = words("datacenter", "the name of a datacenter", "datacenter: dal10");
            let tags = words("tags", "a tag", "tags: web");
            let domains = words("domain", "a DNS domain", "domain: example.com");
            let owners = words("owner", "the name of a user", "owner: SL278444");
            let access = Access::read(m, home);
            Some(Self {
                access,
                kinds: kinds?,
                datacenters: datacenters?,
                tags: tags?,
                domains: domains?,
                owners: owners?,
            })
        })?
    }
}
