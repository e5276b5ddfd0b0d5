//! A hosted zone of Route 53 and who may change it, as inventories say it.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::fields::kinds;
use crate::fields::template::Use;
use crate::text::name;
use crate::yaml::map::{Map, one_of};
use crate::yaml::reader::Value;

const EXAMPLE: &str = "route53: {zone: Z0123456789ABC, domain: example.com}";

/// Where AWS answers.
const ENDPOINT: &str = "https://route53.amazonaws.com";

/// A hosted zone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    /// Id of the hosted zone.
    pub zone: String,
    /// Its name.
    pub domain: String,
    /// How the records of a pool make shares.
    pub records: Records,
    /// Where credentials come from.
    pub credentials: From,
    /// Where the API answers: `https://…`, without a slash at the end.
    pub endpoint: String,
}

/// How the records of a pool make shares.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Records {
    /// A record set for each address, with a weight.
    Weighted,
    /// A record set for each address, up to eight of which are answered.
    Multivalue,
    /// One record set with all addresses.
    Plain,
}

/// Where credentials come from. They are looked up at each use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum From {
    /// `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY` and `AWS_SESSION_TOKEN`.
    Environment,
    /// A profile in a file of AWS's tools.
    Profile {
        /// The file.
        file: PathBuf,
        /// The profile.
        profile: String,
    },
    /// A command that prints what `credential_process` prints.
    Command(Vec<String>),
}

impl kinds::Settings for Settings {
    const KEY: &'static str = "route53";

    fn read(value: Value<'_>, _: &Map<'_>, _: &mut Vec<Use>) -> Option<Self> {
        value.map("route53 director", EXAMPLE, |m| {
            let zone = m.need("zone", "Z0123456789ABC").and_then(zone);
            let domain = m.need("domain", "example.com").and_then(domain);
            let kinds =
                [("weighted", Records::Weighted), ("multivalue", Records::Multivalue), ("plain", Records::Plain)];
            let records = m.get("records").map_or(Some(Records::Weighted), |v| {
                one_of(v, "a kind of records", "kinds of records", &kinds).map(|found| found.value)
            });
            let credentials = m.get("credentials").map_or(Some(From::Environment), credentials);
            let endpoint = m.get("endpoint").map_or_else(|| Some(ENDPOINT.to_owned()), endpoint);
            Some(Self {
                zone: zone?,
                domain: domain?,
                records: records?,
                credentials: credentials?,
                endpoint: endpoint?,
            })
        })?
    }
}

fn zone(value: Value<'_>) -> Option<String> {
    let text = value.line("the id of a hosted zone", "zone: Z0123456789ABC")?.value;
    let id = text.strip_prefix("/hostedzone/").unwrap_or(&text);
    if !id.is_empty() && id.len() <= 32 && id.bytes().all(|b| b.is_ascii_alphanumeric()) {
        return Some(id.to_owned());
    }
    let shown = crate::text::escape(text.as_bytes(), 60);
    value.error(format!("`{shown}` is not the id of a hosted zone"), "`aws route53 list-hosted-zones` tells it");
    None
}

fn domain(value: Value<'_>) -> Option<String> {
    let text = value.line("the name of the zone", "domain: example.com")?.value;
    if name::check_address(&text).is_ok() && text.parse::<std::net::IpAddr>().is_err() {
        return Some(text);
    }
    let shown = crate::text::escape(text.as_bytes(), 80);
    value.error(format!("`{shown}` is not a DNS name"), "for example `domain: example.com`");
    None
}

fn endpoint(value: Value<'_>) -> Option<String> {
    let text = value.line("where the API answers", "endpoint: https://route53.amazonaws.com")?.value;
    let host = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    let fits = |c: char| c.is_ascii_alphanumeric() || ".-:[]".contains(c);
    if host.is_some_and(|host| !host.is_empty() && host.chars().all(fits)) {
        return Some(text);
    }
    let shown = crate::text::escape(text.as_bytes(), 80);
    value.error(
        format!("`{shown}` is not where an API answers"),
        "for example `endpoint: https://route53.amazonaws.com`",
    );
    None
}

fn credentials(value: Value<'_>) -> Option<From> {
    value.map("AWS credentials", "credentials: {profile: migrate, file: ~/.aws/credentials}", |m| {
        let kind = m.kind(&["env", "profile", "exec"])?;
        match kind.name() {
            "env" => match kind.bool()? {
                true => Some(From::Environment),
                false => {
                    kind.error(
                        "`env: false` names no credentials",
                        "write `env: true`, or `profile` or `exec` instead",
                    );
                    None
                }
            },
            "profile" => {
                let profile = kind.line("the name of a profile", "profile: migrate")?.value;
                let file = m.need("file", "~/.aws/credentials").and_then(|v| v.path())?;
                Some(From::Profile { file, profile })
            }
            _ => {
                let items =
                    kind.list("a command and its arguments as a list", "exec: [aws, configure, export-credentials]");
                let words: Vec<String> =
                    items.iter().filter_map(|i| i.text("one word of a command", "aws").map(|t| t.value)).collect();
                if words.first().is_none_or(String::is_empty) {
                    kind.error("`exec` names no command", "for example `exec: [aws, configure, export-credentials]`");
                }
                (words.len() == items.len() && words.first().is_some_and(|w| !w.is_empty()))
                    .then_some(From::Command(words))
            }
        }
    })?
}
