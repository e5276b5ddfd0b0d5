//! Rules by which machines become hosts: what they are called, which of their addresses counts, where they stand.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use super::found::Found;
use crate::model::Template;
use crate::text::{self, name};
use crate::yaml::map::Map as Keys;
use crate::yaml::reader::Value as Yaml;

/// The keys that [`Rules::read`] asks for.
pub const KEYS: &[&str] = &["name", "address", "site", "tags", "capacity"];

/// Rules of one source.
#[derive(Debug, Clone, PartialEq)]
pub struct Rules {
    /// What hosts are called.
    pub name: Template,
    /// Which addresses count: the first of these kinds that a machine has.
    pub address: Vec<String>,
    /// Where hosts stand; nothing where the variable is not known of a host.
    pub site: Template,
    /// Labels for all.
    pub tags: Vec<String>,
    /// Serving capacity.
    pub capacity: Option<Template>,
}

/// The rules that a kind of source has by itself.
#[derive(Debug, Clone, Copy)]
pub struct Usual {
    /// What hosts are called.
    pub name: &'static str,
    /// Kinds of addresses that its machines can have; the first one counts unless something else is said.
    pub addresses: &'static [&'static str],
    /// Where hosts stand.
    pub site: &'static str,
}

impl Rules {
    /// Reads the rules beside the kind of a source.
    pub fn read(map: &Keys<'_>, usual: Usual) -> Option<Self> {
        let template = |value: Yaml<'_>| {
            let text =
                value.line("a text with `{{ variables }}`", &format!("{}: \"{{{{ hostname }}}}\"", value.name()))?;
            match Template(text.value.clone()).pieces() {
                Ok(_) => Some(Template(text.value)),
                Err(error) => {
                    value.error(error.to_string(), "write `{{ name }}`; for two literal braces write `{{{{`");
                    None
                }
            }
        };
        let or =
            |value: Option<Yaml<'_>>, usual: &str| value.map_or_else(|| Some(Template(usual.to_owned())), template);
        let (name, site) = (or(map.get("name"), usual.name), or(map.get("site"), usual.site));
        let address = map.get("address").map(|value| addresses(value, usual.addresses));
        let first = || usual.addresses.iter().take(1).map(|word| (*word).to_owned()).collect();
        let tags =
            map.get("tags").map(|v| v.one_or_many().iter().filter_map(|v| v.identifier("a tag", "web")).collect());
        let tags: Vec<crate::yaml::source::Located<String>> = tags.unwrap_or_default();
        let capacity = map.get("capacity").map_or(Some(None), |value| template(value).map(Some));
        Some(Self {
            name: name?,
            address: address.unwrap_or_else(|| Some(first()))?,
            site: site?,
            tags: tags.into_iter().map(|tag| tag.value).collect(),
            capacity: capacity?,
        })
    }

    /// Name and settings of the host that a machine is, or why it can be none.
    pub fn host(&self, found: &Found) -> Result<(String, Map<String, Value>), String> {
        let fill = |key: &str, template: &Template| {
            template.render_plain(&found.facts).map_err(|e| format!("cannot have a {key}: {e}"))
        };
        let called = fill("name", &self.name)?;
        name::check(&called)
            .map_err(|why| format!("cannot be called `{}`: {why}", text::escape(called.as_bytes(), 60)))?;
        let address = self.address.iter().find_map(|kind| found.facts.get(&format!("{kind}_address")));
        let address = address.ok_or_else(|| format!("with no {} address", self.address.join(" or ")))?;
        name::check_address(address).map_err(|why| format!("with the address `{address}`: {why}"))?;
        let mut host = Map::new();
        // Only where it is known: what stands nowhere has no site.
        if let Ok(site) = self.site.render_plain(&found.facts) {
            name::check(&site)
                .map_err(|why| format!("cannot stand in `{}`: {why}", text::escape(site.as_bytes(), 60)))?;
            host.insert("site".into(), json!(site));
        }
        host.insert("address".into(), json!(address));
        let tags: BTreeSet<String> = found.tags.iter().filter_map(|tag| label(tag)).chain(self.tags.clone()).collect();
        if !tags.is_empty() {
            host.insert("tags".into(), json!(tags));
        }
        if let Some(template) = &self.capacity {
            let written = fill("capacity", template)?;
            let number = written.parse::<u32>().ok().filter(|n| (1..=1_000_000).contains(n));
            let number =
                number.ok_or_else(|| format!("whose capacity is no number from 1 to 1,000,000: `{written}`"))?;
            host.insert("capacity".into(), json!(number));
        }
        let more = [
            ("cost_per_month", found.cost.as_ref().map(|cost| json!(cost))),
            ("ssh", (!found.ssh.is_empty()).then(|| json!(found.ssh))),
            ("warnings", (!found.warnings.is_empty()).then(|| json!(found.warnings))),
            ("vars", Some(json!(vars(&found.facts))).filter(|v| v.as_object().is_some_and(|v| !v.is_empty()))),
        ];
        host.extend(more.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?))));
        Ok((called, host))
    }
}

/// Those that a host has by itself are no variables of its own.
fn vars(facts: &BTreeMap<String, String>) -> BTreeMap<&String, &String> {
    facts.iter().filter(|(name, _)| !["name", "address", "site"].contains(&name.as_str())).collect()
}

fn addresses(value: Yaml<'_>, known: &[&str]) -> Option<Vec<String>> {
    let mut words = Vec::new();
    for item in value.one_or_many() {
        let word = item.line("a kind of address", &format!("address: {}", known.first().unwrap_or(&"private")))?.value;
        if !known.contains(&word.as_str()) {
            let hint = text::suggest::hint(&word, "kinds of addresses", known.iter().copied());
            item.error(format!("`{}` is not a kind of address", text::escape(word.as_bytes(), 60)), hint);
            return None;
        }
        words.push(word);
    }
    (!words.is_empty()).then_some(words)
}

/// A label as selectors can name it: what names cannot hold becomes `-`.
pub fn label(text: &str) -> Option<String> {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    let label: String = text.trim().chars().map(|c| if fits(c) { c } else { '-' }).collect();
    let label = label.trim_start_matches(['-', '.', '_']).to_owned();
    name::check(&label).is_ok().then_some(label)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_what_selectors_can_name() {
        let labels = ["web", "ops team: chat", " #tag ", "-", ""].map(|tag| label(tag).unwrap_or_default());
        assert_eq!(labels, ["web", "ops-team--chat", "tag", "", ""]);
    }
}
