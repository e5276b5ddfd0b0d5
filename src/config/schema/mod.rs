//! JSON Schemas of plans and inventories, for editors: what the readers take, as they take it.
//!
//! The readers themselves are the table: they read a sample that has every key and every form, and what they ask of it becomes the schema.
//! What a schema cannot say (names that must be there, templates, what goes with what) is left to `migrate validate`. Must never refuse what
//! the readers take.

mod quantities;

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use serde_json::{Map, Value as Json, json};

use super::read::{inventory, plan};
use crate::text::name::MAX_NAMES;
use crate::yaml::diagnostic::Sink;
use crate::yaml::node;
use crate::yaml::reader::{Cx, Value};
use crate::yaml::source::Source;
use crate::yaml::trace::{Concept, Place, Seen, Taken};

/// What there are schemas of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Of {
    /// Plans.
    Plan,
    /// Inventories.
    Inventory,
}

impl Of {
    /// By name.
    pub const ALL: [(&str, Self); 2] = [("plan", Self::Plan), ("inventory", Self::Inventory)];

    fn concept(self) -> &'static str {
        match self {
            Self::Plan => "the plan",
            Self::Inventory => "the inventory",
        }
    }
}

/// Documents that hold every key that there is.
const PLANS: [&str; 2] = [include_str!("../../../tests/spec/good/plan.yaml"), include_str!("forms.plan.yaml")];
const INVENTORIES: [&str; 2] =
    [include_str!("../../../tests/spec/good/inventory.yaml"), include_str!("forms.inventory.yaml")];
/// What is said of each key.
const DOCS: [&str; 2] = [include_str!("../../../docs/plan.md"), include_str!("../../../docs/inventory.md")];

/// The schema of plans or of inventories.
pub fn schema(of: Of) -> Json {
    let seen = watch(of);
    let schema = Schema { seen: &seen };
    let mut definitions = BTreeMap::new();
    let mut open = vec![of.concept()];
    while let Some(concept) = open.pop() {
        if definitions.contains_key(concept) {
            continue;
        }
        let Some(known) = seen.concepts.get(concept) else { continue };
        open.extend(schema.concepts(known, seen.concepts.get(like(concept)).unwrap_or(known)));
        definitions.insert(concept, schema.concept(concept, known));
    }
    let root = json!({ "$ref": reference(of.concept()) });
    let title = format!("{} of migrate", of.concept().trim_start_matches("the "));
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": title,
        "allOf": [root],
        "$defs": definitions,
    })
}

/// Lets the readers read the samples.
fn watch(of: Of) -> Seen {
    let sink = Sink::watching();
    let samples = match of {
        Of::Plan => PLANS,
        Of::Inventory => INVENTORIES,
    };
    for (text, order) in samples.into_iter().zip(0..) {
        let source = Source::from_text("sample.yaml", order, text.to_owned());
        read(of, &source, &sink);
    }
    sink.seen()
}

fn read(of: Of, source: &Arc<Source>, sink: &Sink) {
    let Some(node) = node::parse(source, sink) else { return };
    let (home, names_left) = (Some(Path::new("/")), Cell::new(MAX_NAMES));
    let cx = Cx { source, sink, home, dir: None, names_left };
    let root = Value::root(&cx, &node);
    match of {
        Of::Plan => drop(plan::read(root)),
        Of::Inventory => drop(inventory::read(root)),
    }
}

fn reference(concept: &str) -> String {
    format!("#/$defs/{concept}")
}

struct Schema<'a> {
    seen: &'a Seen,
}

impl Schema<'_> {
    /// Concepts that values of a concept are of.
    fn concepts(&self, concept: &Concept, alike: &Concept) -> Vec<&'static str> {
        let mut open: Vec<Place> = concept.keys.values().flat_map(|known| known.values.iter().copied()).collect();
        open.extend(alike.keys.values().flat_map(|known| known.values.iter().copied()));
        let mut reached = BTreeSet::new();
        let mut found = Vec::new();
        while let Some(place) = open.pop() {
            if !reached.insert(place) {
                continue;
            }
            open.extend(self.seen.within.get(&place).into_iter().flatten());
            let maps = self.seen.taken.get(&place).into_iter().flatten().filter_map(|taken| match taken {
                Taken::Map(concept) => Some(*concept),
                _ => None,
            });
            found.extend(maps);
        }
        found
    }

    fn concept(&self, name: &str, concept: &Concept) -> Json {
        let keys = concept.keys.iter().filter(|(key, _)| !key.starts_with("test_"));
        let property = |key: &str, values: &BTreeSet<Place>| {
            // What stands in for a service is read as one.
            let like = self.seen.concepts.get(like(name)).and_then(|like| like.keys.get(key));
            let all = values.iter().chain(like.iter().flat_map(|known| &known.values)).copied().collect();
            let mut schema = self.value(&all);
            if let (Some(said), Json::Object(fields)) = (described(name, key), &mut schema) {
                fields.insert("description".to_owned(), Json::from(said));
            }
            schema
        };
        let properties: Map<String, Json> =
            keys.clone().map(|(key, known)| ((*key).to_owned(), property(key, &known.values))).collect();
        let always = |needed: usize| needed == concept.times && !concept.falls_back;
        let required: Vec<&str> = keys.filter(|(_, known)| always(known.needed)).map(|(key, _)| *key).collect();
        let mut schema = Map::new();
        schema.insert("type".to_owned(), json!("object"));
        schema.insert("properties".to_owned(), Json::Object(properties));
        schema.insert("additionalProperties".to_owned(), json!(false));
        if !required.is_empty() {
            schema.insert("required".to_owned(), json!(required));
        }
        let kinds: Vec<Json> = concept.kinds.iter().map(|kinds| one_of_them(kinds)).collect();
        if !kinds.is_empty() {
            schema.insert("allOf".to_owned(), Json::Array(kinds));
        }
        Json::Object(schema)
    }

    /// What may stand where these values stand.
    fn value(&self, places: &BTreeSet<Place>) -> Json {
        let taken = self.taken(places);
        let many = taken.contains(&Taken::OneOrMany);
        let within = |form: char| -> BTreeSet<Place> {
            let own = places.iter().filter(|place| place.2 == form);
            own.filter_map(|place| self.seen.within.get(place)).flatten().copied().collect()
        };
        let mut forms: Vec<Json> = taken.iter().filter_map(one).collect();
        if taken.contains(&Taken::Names) {
            forms.push(json!({ "type": "object", "additionalProperties": self.value(&within('{')) }));
        }
        let mut lists = BTreeSet::new();
        if taken.contains(&Taken::List) || many {
            let items = within('[');
            // One item without brackets is read as items of a list are.
            let alone: BTreeSet<Place> = places.iter().filter(|place| many && place.2 != '[').copied().collect();
            let item = self.items(&items, &alone);
            lists.insert(json!({ "type": "array", "items": item }).to_string());
            if many {
                forms.push(item);
            }
        }
        forms.extend(lists.iter().filter_map(|list| serde_json::from_str(list).ok()));
        any_of(forms)
    }

    /// Items of a list, or what stands in place of a list.
    fn items(&self, items: &BTreeSet<Place>, alone: &BTreeSet<Place>) -> Json {
        let mut forms = Vec::new();
        if !items.is_empty() {
            forms.push(self.value(items));
        }
        let alone: BTreeSet<Taken> = self.taken(alone);
        forms.extend(alone.iter().filter_map(one));
        any_of(forms)
    }

    fn taken(&self, places: &BTreeSet<Place>) -> BTreeSet<Taken> {
        places.iter().filter_map(|place| self.seen.taken.get(place)).flatten().cloned().collect()
    }
}

/// Exactly one of these words is there.
fn one_of_them(kinds: &[&'static str]) -> Json {
    let kinds = kinds.iter().filter(|kind| !kind.starts_with("test_"));
    json!({ "oneOf": kinds.map(|kind| json!({ "required": [kind] })).collect::<Vec<_>>() })
}

/// One form of a value; `None` for what is no form of its own.
fn one(taken: &Taken) -> Option<Json> {
    let form = match taken {
        Taken::Map(concept) => json!({ "$ref": reference(concept) }),
        // Numbers are taken as they are written.
        Taken::Text | Taken::Line => json!({ "type": ["string", "number"] }),
        Taken::Identifier => json!({ "type": ["string", "number"], "pattern": "^[A-Za-z0-9][A-Za-z0-9._-]*$" }),
        Taken::Bool => json!({ "type": "boolean" }),
        Taken::Integer(least, most) => json!({ "type": "integer", "minimum": least, "maximum": most }),
        Taken::Quantity(wants) => quantities::schema(wants),
        Taken::Words(words) => json!({ "enum": words }),
        // Other readers of YAML make a boolean of it.
        Taken::Off => json!({ "enum": ["off", false] }),
        Taken::Null => json!({ "type": "null" }),
        Taken::Names | Taken::List | Taken::OneOrMany | Taken::Form => return None,
    };
    Some(form)
}

/// Any of these; anything at all where nothing is known.
fn any_of(forms: Vec<Json>) -> Json {
    let mut seen = BTreeSet::new();
    let mut flat = Vec::new();
    for form in forms {
        match form.get("anyOf").and_then(Json::as_array) {
            Some(inner) => flat.extend(inner.iter().cloned()),
            None => flat.push(form),
        }
    }
    flat.retain(|form| seen.insert(form.to_string()));
    match flat.as_slice() {
        [] => json!({}),
        [one] => one.clone(),
        _ => json!({ "anyOf": flat }),
    }
}

/// The concept whose keys stand in a concept, too, and are read by the same readers.
fn like(concept: &str) -> &str {
    match concept {
        "defaults" | "site defaults" => "host",
        "service defaults" => "service",
        "alertmanager" => "prometheus server",
        concept => concept,
    }
}

/// What the documents say of a key: its type, its default and its meaning.
fn described(concept: &str, key: &str) -> Option<String> {
    let heading = like(concept);
    let sections = || DOCS.iter().flat_map(|doc| doc.split("\n## ").flat_map(|part| part.split("\n### ")));
    let section = sections().find(|s| s.lines().next().is_some_and(|h| h.eq_ignore_ascii_case(heading)))?;
    let row = section.lines().find_map(|line| line.strip_prefix(&format!("| `{key}` | ")))?;
    let cells: Vec<&str> = row.trim_end_matches(" |").split(" | ").collect();
    match cells.as_slice() {
        [kind, default, meaning] => Some(format!("{meaning}\n\n{kind}; default: {default}")),
        cells => Some(cells.join("; ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(of: Of) -> Seen {
        let sink = Sink::watching();
        let samples = if of == Of::Plan { PLANS } else { INVENTORIES };
        for (text, order) in samples.into_iter().zip(0..) {
            read(of, &Source::from_text("sample.yaml", order, text.to_owned()), &sink);
        }
        assert!(!sink.has_errors(), "{}", sink.into_diagnostics());
        watch(of)
    }

    #[test]
    fn the_sample_has_a_value_for_every_key_and_every_form_of_what_has_several() {
        for (name, of) in Of::ALL {
            let seen = sample(of);
            let schema = Schema { seen: &seen };
            let mut missing = Vec::new();
            for (concept, known) in &seen.concepts {
                for (key, known) in known.keys.iter().filter(|(key, _)| !key.starts_with("test_")) {
                    let alike = seen.concepts.get(like(concept)).and_then(|like| like.keys.get(key));
                    let values: BTreeSet<Place> =
                        known.values.iter().chain(alike.iter().flat_map(|known| &known.values)).copied().collect();
                    let taken = schema.taken(&values);
                    let forms: BTreeSet<char> = values.iter().map(|place| place.2).collect();
                    // A secret is only asked whether it is a reference.
                    let several = taken.contains(&Taken::Form) && !taken.contains(&Taken::Map("secret"));
                    if values.is_empty() || (several && forms.len() < 2 && *key != "services") {
                        missing.push(format!("{concept}: {key} {forms:?}"));
                    }
                }
            }
            assert!(missing.is_empty(), "{name}: write them into forms.{name}.yaml: {missing:#?}");
        }
    }

    #[test]
    fn every_key_has_the_words_of_the_documents() {
        for (_, of) in Of::ALL {
            for (concept, known) in &sample(of).concepts {
                for key in known.keys.keys().filter(|key| !key.starts_with("test_")) {
                    assert!(described(concept, key).is_some_and(|said| !said.is_empty()), "{concept}: {key}");
                }
            }
        }
    }
}
