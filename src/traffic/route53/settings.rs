//! A hosted zone of Route 53 and who may change it, as inventories say it.

use std::net::SocketAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::super::dns::settings::domain;
use super::super::hosted::sets::Records;
use super::super::hosted::{exchange, settings};
use crate::fields::kinds;
use crate::fields::template::Use;
use crate::yaml::map::Map;
use crate::yaml::reader::Value;

const EXAMPLE: &str = "route53: {zone: Z0123456789ABC, domain: example.com}";

/// Where AWS answers.
const ENDPOINT: &str = "https://route53.amazonaws.com";
/// Where machines of AWS ask for what is told to them.
const METADATA: &str = "http://169.254.169.254";

/// A hosted zone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    /// Id of the hosted zone.
    pub zone: String,
    /// Its name.
    pub domain: String,
    /// How the records of a pool make shares.
    pub records: Records,
    /// Name servers of the zone that can be asked.
    pub servers: Vec<SocketAddr>,
    /// Where credentials come from.
    pub credentials: From,
    /// Where the API answers: `https://…`, without a slash at the end.
    pub endpoint: String,
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
    /// The role of the machine, from the metadata server at this URL.
    Metadata(String),
}

impl kinds::Settings for Settings {
    const KEY: &'static str = "route53";

    fn read(value: Value<'_>, _: &Map<'_>, _: &mut Vec<Use>) -> Option<Self> {
        value.map("route53 director", EXAMPLE, |m| {
            let zone = m.need("zone", "Z0123456789ABC").and_then(zone);
            let domain = m.need("domain", "example.com").and_then(domain);
            let kinds =
                [("weighted", Records::Weighted), ("multivalue", Records::Multivalue), ("plain", Records::Plain)];
            let records = settings::records(m, &kinds);
            let servers = settings::servers(m);
            let credentials = m.get("credentials").map_or(Some(From::Environment), credentials);
            let endpoint = settings::endpoint(m, ENDPOINT);
            Some(Self {
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

fn credentials(value: Value<'_>) -> Option<From> {
    value.map("AWS credentials", "credentials: {profile: migrate, file: ~/.aws/credentials}", |m| {
        let kind = m.kind(&["env", "profile", "exec", "metadata"])?;
        match kind.name() {
            "env" => is_meant(kind, "env").then_some(From::Environment),
            "metadata" => {
                let at = m.get("at").map_or_else(|| Some(METADATA.to_owned()), |v| exchange::endpoint(v, METADATA));
                is_meant(kind, "metadata").then_some(at).flatten().map(From::Metadata)
            }
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

/// `KEY: true`, which names credentials where there is nothing more to say.
fn is_meant(value: Value<'_>, key: &str) -> bool {
    let meant = value.bool();
    if meant == Some(false) {
        let hint = format!("write `{key}: true`, or another of `env`, `profile`, `exec` and `metadata` instead");
        value.error(format!("`{key}: false` names no credentials"), hint);
    }
    meant == Some(true)
}
