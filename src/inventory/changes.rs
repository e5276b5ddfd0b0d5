//! What a source says now that it did not say before.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::Document;
use super::found::hosts;
use crate::text;

/// How many are named of each kind of change.
const NAMED: usize = 8;

/// The differences between what a source said and what it says, in sentences; none when there are none.
pub fn since(before: &[Document], now: &[Document]) -> Vec<String> {
    let (before, now) = (hosts(before), hosts(now));
    let only = |a: &BTreeMap<String, Value>, b: &BTreeMap<String, Value>| -> Vec<String> {
        a.keys().filter(|name| !b.contains_key(*name)).cloned().collect()
    };
    let changed: Vec<String> = now.iter().filter_map(|(name, host)| changed(name, before.get(name)?, host)).collect();
    let kinds = [("new", only(&now, &before)), ("gone", only(&before, &now)), ("changed", changed)];
    let sentence = |(word, names): (&str, Vec<String>)| {
        let verb = if names.len() == 1 { "is" } else { "are" };
        let mut shown: Vec<String> = names.iter().take(NAMED).cloned().collect();
        if names.len() > NAMED {
            shown.push(format!("{} more", names.len() - NAMED));
        }
        format!("{} {verb} {word}: {}", text::count(names.len() as u64, "host"), text::list(&shown))
    };
    kinds.into_iter().filter(|(_, names)| !names.is_empty()).map(sentence).collect()
}

/// `web01 (address 10.1.0.11 → 10.1.0.12)`.
fn changed(name: &str, before: &Value, now: &Value) -> Option<String> {
    let (before, now) = (flat(before), flat(now));
    let keys: BTreeSet<&String> = before.keys().chain(now.keys()).collect();
    let different = keys.into_iter().filter(|key| before.get(*key) != now.get(*key));
    let words =
        |fields: &BTreeMap<String, String>, key: &String| fields.get(key).cloned().unwrap_or_else(|| "none".into());
    let told: Vec<String> =
        different.map(|key| format!("{key} {} → {}", words(&before, key), words(&now, key))).collect();
    (!told.is_empty()).then(|| format!("{name} ({})", told.join(", ")))
}

/// The fields of a host by name; variables go by their own names.
fn flat(host: &Value) -> BTreeMap<String, String> {
    let mut fields = BTreeMap::new();
    for (key, value) in host.as_object().into_iter().flatten() {
        match (key.as_str(), value) {
            ("vars" | "ssh", Value::Object(inner)) => {
                fields.extend(inner.iter().map(|(key, value)| (key.clone(), shown(value))));
            }
            _ => drop(fields.insert(key.clone(), shown(value))),
        }
    }
    fields
}

fn shown(value: &Value) -> String {
    let words = match value {
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().map(shown).collect::<Vec<_>>().join(" "),
        other => other.to_string(),
    };
    text::escape(words.as_bytes(), 100)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document(text: &str) -> Vec<Document> {
        vec![Document { name: "softlayer:dallas".into(), bytes: text.as_bytes().to_vec(), live: true }]
    }

    #[test]
    fn new_gone_and_changed_hosts_are_told_with_what_changed() {
        let before = document(
            "# x\nhosts:\n  \"a\": {\"address\":\"10.0.0.1\",\"vars\":{\"cores\":\"12\"}}\n  \"b\": {\"address\":\"10.0.0.2\"}\n",
        );
        let now = document(
            "hosts:\n  \"a\": {\"address\":\"10.0.0.9\",\"tags\":[\"x\"],\"vars\":{\"cores\":\"12\"}}\n  \"c\": {\"address\":\"10.0.0.3\"}\ngroups:\n  \"g\": [\"a\"]\n",
        );
        assert_eq!(
            since(&before, &now),
            [
                "1 host is new: c",
                "1 host is gone: b",
                "1 host is changed: a (address 10.0.0.1 → 10.0.0.9, tags none → x)"
            ]
        );
        assert_eq!(since(&now, &now), Vec::<String>::new());
    }
}
