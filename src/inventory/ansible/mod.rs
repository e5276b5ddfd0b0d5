//! An inventory of Ansible as a source: through `ansible-inventory` where that is installed, else what static YAML and INI files say.
//!
//! Groups become labels, variables become variables. Must never take a password along: variables of Ansible's own are read where they
//! say how to log in, and left out otherwise.

mod files;
mod merge;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use self::merge::Groups;
use super::found::{self, Found};
use super::rules::{Rules, Usual};
use super::{Document, InventorySource, SourceError, SourceKind, program};
use crate::fields::kinds;
use crate::fields::template::Use;
use crate::secret::Secrets;
use crate::text::name;
use crate::yaml::map::Map as Keys;
use crate::yaml::reader::Value as Yaml;

const PROGRAM: &str = "ansible-inventory";

/// Where the inventory is, and which of its groups are wanted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    /// File or directory.
    pub inventory: PathBuf,
    /// Hosts of these groups; none: of all.
    pub groups: Vec<String>,
    /// What reads it.
    pub program: String,
}

impl kinds::Settings for Settings {
    const KEY: &'static str = "ansible";

    fn read(value: Yaml<'_>, _: &Keys<'_>, _: &mut Vec<Use>) -> Option<Self> {
        value.map("ansible source", "ansible: {inventory: ./hosts.ini}", |m| {
            let inventory = m.need("inventory", "./hosts.ini").and_then(|v| v.path());
            let words = |v: Yaml<'_>| -> Option<Vec<String>> {
                v.one_or_many().iter().map(|v| Some(v.line("the name of a group", "groups: web")?.value)).collect()
            };
            let groups = m.get("groups").map_or(Some(Vec::new()), words);
            let program =
                m.get("program").map_or(Some(PROGRAM.to_owned()), |v| Some(v.line("a program", PROGRAM)?.value));
            Some(Self { inventory: inventory?, groups: groups?, program: program? })
        })?
    }
}

impl SourceKind for Settings {
    fn title(&self) -> &'static str {
        "Ansible"
    }

    fn usual(&self) -> Usual {
        Usual { name: "{{ inventory_hostname }}", addresses: &["host"], site: "{{ site }}" }
    }

    fn open(&self, address: &str, rules: &Rules) -> Box<dyn InventorySource> {
        Box::new(Ansible { address: address.to_owned(), settings: self.clone(), rules: rules.clone() })
    }
}

struct Ansible {
    address: String,
    settings: Settings,
    rules: Rules,
}

#[async_trait]
impl InventorySource for Ansible {
    async fn documents(&self, _: &dyn Secrets) -> Result<Vec<Document>, SourceError> {
        let path = self.settings.inventory.display().to_string();
        if !self.settings.inventory.exists() {
            let hint = Some("a path in a file is relative to that file".to_owned());
            return Err(SourceError { what: format!("there is no {path}"), hint });
        }
        let groups = match program::output(&self.settings.program, &["-i", &path, "--list"]).await? {
            Some(said) => from_program(&said)?,
            None => files::read(&self.settings.inventory)?,
        };
        let unknown: Vec<&String> = self.settings.groups.iter().filter(|g| !groups.members.contains_key(*g)).collect();
        if let Some(group) = unknown.first() {
            let what = format!("{path} has no group `{}`", crate::text::escape(group.as_bytes(), 60));
            let there = groups.members.keys().map(String::as_str);
            return Err(SourceError { what, hint: Some(crate::text::suggest::hint(group, "groups", there)) });
        }
        let wanted = |host: &String| {
            let of = |group: &String| groups.members.get(group).is_some_and(|members| members.contains(host));
            self.settings.groups.is_empty() || self.settings.groups.iter().any(of)
        };
        let hosts = groups.vars.iter().filter(|(host, _)| wanted(host));
        let found: Vec<Found> = hosts.map(|(host, vars)| one(host, vars, &groups.members)).collect();
        let what = "Hosts of an inventory of Ansible; what is not said of them here, the file with this source says.";
        found::documents(&self.address, what, &found, &self.rules)
    }
}

/// What `ansible-inventory --list` says: variables of hosts come merged already.
fn from_program(said: &str) -> Result<Groups, SourceError> {
    let bad =
        |what: String| SourceError { what: format!("what ansible-inventory says cannot be read: {what}"), hint: None };
    let said: Map<String, Value> = serde_json::from_str(said).map_err(|e| bad(e.to_string()))?;
    let mut raw = merge::Raw::default();
    let names = |value: Option<&Value>| -> Vec<String> {
        let items = value.and_then(Value::as_array).into_iter().flatten();
        items.filter_map(|item| item.as_str().map(str::to_owned)).collect()
    };
    for (name, group) in said.iter().filter(|(name, _)| *name != "_meta") {
        let entry = raw.groups.entry(name.clone()).or_default();
        entry.hosts.extend(names(group.get("hosts")));
        entry.children.extend(names(group.get("children")));
    }
    let vars = said.get("_meta").and_then(|meta| meta.get("hostvars")).and_then(Value::as_object);
    for (host, vars) in vars.into_iter().flatten() {
        raw.hosts.insert(host.clone(), vars.as_object().cloned().unwrap_or_default());
    }
    raw.merged().map_err(bad)
}

/// One host with its variables and groups.
fn one(host: &str, vars: &Map<String, Value>, members: &BTreeMap<String, BTreeSet<String>>) -> Found {
    let groups = members.iter().filter(|(name, _)| !["all", "ungrouped"].contains(&name.as_str()));
    let tags = groups.filter(|(_, hosts)| hosts.contains(host)).map(|(name, _)| name.clone()).collect();
    let mut found = Found { origin: format!("host `{host}`"), tags, ..Found::default() };
    for (name, value) in vars.iter().filter(|(name, _)| is_plain(name)) {
        found.fact(name, words(value));
    }
    let own = |name: &str| vars.get(name).and_then(words);
    found.fact("inventory_hostname", Some(host.to_owned()));
    found.fact("host_address", own("ansible_host").or_else(|| Some(host.to_owned())));
    let port = own("ansible_port").and_then(|port| port.parse::<u16>().ok());
    let login = [
        ("user", own("ansible_user").map(|user| json!(user))),
        ("port", port.map(|port| json!(port))),
        ("key", own("ansible_ssh_private_key_file").map(|key| json!(key))),
    ];
    found.ssh.extend(login.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?))));
    found
}

/// Whether a variable says something of a host, and no secret.
fn is_plain(name: &str) -> bool {
    let lower = name.to_ascii_lowercase();
    let secret = ["pass", "secret", "token", "private", "vault", "credential"].iter().any(|word| lower.contains(word));
    !secret && !lower.starts_with("ansible_") && name::check_variable(name).is_ok()
}

/// Text, numbers and booleans; what Ansible would have to fill in first is left out.
fn words(value: &Value) -> Option<String> {
    match value {
        Value::String(text) if !text.contains("{{") && !text.contains('\n') => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(flag) => Some(flag.to_string()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_secret_becomes_a_variable() {
        let plain =
            ["rack", "db_port", "ansible_become_pass", "ansible_user", "DB_PASSWORD", "api_token", "vault_x", "a-b"];
        assert_eq!(plain.into_iter().filter(|name| is_plain(name)).collect::<Vec<_>>(), ["rack", "db_port"]);
    }
}
