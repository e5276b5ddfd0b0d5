//! Machines as sources find them, and the documents that come of them: one host a line, so that two documents can be compared.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use super::rules::Rules;
use super::{Document, SourceError};
use crate::text;

/// Hosts in one document: a document has its bounds.
const HOSTS_PER_DOCUMENT: usize = 2000;
/// How many are named where something is wrong with many.
const NAMED: usize = 8;

/// A host as it is written: its name, and its settings.
type Entry = (String, Map<String, Value>);

/// A machine that a source knows.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Found {
    /// What it is there, for people: `hardware 1234 (web01.example.com)`.
    pub origin: String,
    /// What is known of it: variables.
    pub facts: BTreeMap<String, String>,
    /// Labels, as they are there.
    pub tags: Vec<String>,
    /// What it costs in a month, as inventories write it.
    pub cost: Option<String>,
    /// How to log in, in the keys of inventories.
    pub ssh: Map<String, Value>,
    /// What speaks against moving it now.
    pub warnings: Vec<String>,
}

impl Found {
    /// Notes a fact, if there is something to note. Facts are one line.
    pub fn fact(&mut self, name: &str, value: Option<String>) {
        let value = value.map(|v| text::escape(v.trim().as_bytes(), 500)).filter(|v| !v.is_empty());
        if let Some(value) = value {
            self.facts.insert(name.to_owned(), value);
        }
    }
}

/// Everything of a source: hosts under its rules, as documents. `what` says in one line what the documents are.
pub fn documents(address: &str, what: &str, found: &[Found], rules: &Rules) -> Result<Vec<Document>, SourceError> {
    let mut hosts: BTreeMap<String, (&Found, Map<String, Value>)> = BTreeMap::new();
    let (mut twice, mut unfit) = (Vec::new(), BTreeMap::<String, Vec<String>>::new());
    let mut sites = BTreeSet::new();
    for found in found {
        match rules.host(found) {
            Ok((name, host)) => {
                sites.extend(host.get("site").and_then(Value::as_str).map(str::to_owned));
                match hosts.get(&name) {
                    Some((other, _)) => twice.push(format!("`{name}` is {} and {}", other.origin, found.origin)),
                    None => drop(hosts.insert(name, (found, host))),
                }
            }
            Err(why) => unfit.entry(why).or_default().push(found.origin.clone()),
        }
    }
    if let Some((why, origins)) = unfit.into_iter().next() {
        let what = format!("{} {why}: {}", text::count(origins.len() as u64, "host"), some(&origins));
        let hint = "change the rules of the source (`name`, `address`, `site`, `capacity`), or narrow it down";
        return Err(SourceError { what, hint: Some(hint.to_owned()) });
    }
    if !twice.is_empty() {
        let what = format!("hosts with the same name: {}", some(&twice));
        let hint = "tell them apart by the rule for names, as in `name: \"{{ fqdn }}\"`, or narrow the source down";
        return Err(SourceError { what, hint: Some(hint.to_owned()) });
    }
    let hosts: Vec<Entry> = hosts.into_iter().map(|(name, (_, host))| (name, host)).collect();
    Ok(write(address, what, &hosts, &sites))
}

fn some(all: &[String]) -> String {
    let mut named: Vec<String> = all.iter().take(NAMED).cloned().collect();
    if all.len() > NAMED {
        named.push(format!("{} more", all.len() - NAMED));
    }
    text::list(&named)
}

fn write(address: &str, what: &str, hosts: &[Entry], sites: &BTreeSet<String>) -> Vec<Document> {
    let chunks = hosts.chunks(HOSTS_PER_DOCUMENT).map(<[_]>::to_vec);
    let mut chunks: Vec<Vec<Entry>> = chunks.collect();
    if chunks.is_empty() {
        chunks.push(Vec::new());
    }
    let many = chunks.len() > 1;
    let document = |(n, hosts): (usize, Vec<Entry>)| {
        let mut text = format!("# {what}\n");
        if n == 0 && !sites.is_empty() {
            text.push_str("sites:\n");
            sites.iter().for_each(|site| line(&mut text, site, &Value::Object(Map::new())));
        }
        // A source that finds nothing is a source: what misses its hosts says so.
        text.push_str(if hosts.is_empty() { "hosts: {}\n" } else { "hosts:\n" });
        hosts.into_iter().for_each(|(name, host)| line(&mut text, &name, &Value::Object(host)));
        let name = if many { format!("{address}#{}", n + 1) } else { address.to_owned() };
        Document { name: name.into(), bytes: text.into_bytes(), live: true }
    };
    chunks.into_iter().enumerate().map(document).collect()
}

/// JSON is YAML, and one line whatever it holds.
fn line(text: &mut String, name: &str, value: &Value) {
    text.push_str(&format!("  {}: {value}\n", json!(name)));
}

/// The hosts of documents that were written here. Lines that are no hosts of this form are passed over: people may edit saved copies.
pub fn hosts(documents: &[Document]) -> BTreeMap<String, Value> {
    let mut hosts = BTreeMap::new();
    for document in documents {
        let text = String::from_utf8_lossy(&document.bytes);
        let inside = text.lines().skip_while(|line| *line != "hosts:").skip(1);
        for line in inside.take_while(|line| line.starts_with("  ")) {
            let entry = format!("{{{}}}", line.trim());
            let parsed: Map<String, Value> = serde_json::from_str(&entry).unwrap_or_default();
            hosts.extend(parsed);
        }
    }
    hosts
}
