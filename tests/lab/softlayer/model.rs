//! What the API's types are made of (`model.txt`), and what of an object a mask lets through.
//!
//! Without a mask come the local properties. With one come those it names: where it names none of an object's own local ones, all of
//! these come, too. A property that the type does not have is an error.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use serde_json::{Map, Value};

use super::mask::{Mask, Tree};
use super::refused::Refused;

#[derive(Debug, Default)]
struct Type {
    base: String,
    local: BTreeSet<&'static str>,
    relational: BTreeMap<&'static str, &'static str>,
}

static TYPES: LazyLock<BTreeMap<&'static str, Type>> = LazyLock::new(|| {
    let mut types: BTreeMap<&'static str, Type> = BTreeMap::new();
    let mut name = "";
    for line in include_str!("model.txt").lines() {
        let (word, rest) = line.split_once(' ').expect("a word and what belongs to it");
        match word {
            "type" => {
                let (own, base) = rest.split_once(' ').expect("a type has a base");
                name = own;
                types.insert(own, Type { base: base.to_owned(), ..Type::default() });
            }
            "local" => types.get_mut(name).expect("a type comes first").local.extend(rest.split(' ')),
            "relational" => {
                let pairs = rest.split(' ').filter_map(|pair| pair.trim_end_matches('*').split_once(':'));
                types.get_mut(name).expect("a type comes first").relational.extend(pairs);
            }
            _ => {}
        }
    }
    types
});

/// What a property of a type is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    Local,
    Relational(&'static str),
    /// How many the list of that name has.
    Count,
    /// The type has none of that name.
    None,
    /// The type is not in the model.
    Unknown,
}

fn known(name: &str) -> Option<&'static Type> {
    // Those of particular kinds of things add nothing that matters here.
    TYPES.get(name).or_else(|| TYPES.get("Billing_Item").filter(|_| name.starts_with("Billing_Item_")))
}

/// Looks a property up, in the bases too.
pub fn form(type_name: &str, property: &str) -> Form {
    let mut next = type_name;
    while let Some(found) = known(next) {
        if found.local.contains(property) {
            return Form::Local;
        }
        if let Some(other) = found.relational.get(property) {
            return Form::Relational(other);
        }
        next = &found.base;
    }
    match known(type_name) {
        None => Form::Unknown,
        Some(_) => match property.strip_suffix("Count") {
            Some(list) if !matches!(form(type_name, list), Form::None) || plural(type_name, list) => Form::Count,
            _ => Form::None,
        },
    }
}

fn plural(type_name: &str, list: &str) -> bool {
    form(type_name, &format!("{list}s")) != Form::None
}

/// What of a value of this type comes out.
pub fn project(value: &Value, type_name: &str, mask: Option<&Mask>) -> Result<Value, Refused> {
    match mask {
        None => tree(value, type_name, None),
        Some(mask) => {
            // Parts of a list of masks may be for a subtype each: what they give is put together.
            for part in &mask.parts {
                check(part.for_type.as_deref().unwrap_or(type_name), &part.tree)?;
            }
            let mut all = Tree::default();
            mask.parts.iter().for_each(|part| all.merge(&part.tree));
            let widest = mask.parts.iter().find_map(|part| part.for_type.as_deref()).unwrap_or(type_name);
            tree(value, widest, Some(&all))
        }
    }
}

fn check(type_name: &str, tree: &Tree) -> Result<(), Refused> {
    for (name, below) in &tree.0 {
        match form(type_name, name) {
            Form::None => return Err(Refused::no_property(name, type_name)),
            Form::Relational(other) => check(other, below)?,
            _ => {}
        }
    }
    Ok(())
}

fn tree(value: &Value, type_name: &str, wanted: Option<&Tree>) -> Result<Value, Refused> {
    match value {
        Value::Array(items) => items.iter().map(|item| tree(item, type_name, wanted)).collect(),
        Value::Object(object) => object_of(object, type_name, wanted.filter(|tree| !tree.0.is_empty())),
        other => Ok(other.clone()),
    }
}

fn object_of(object: &Map<String, Value>, type_name: &str, wanted: Option<&Tree>) -> Result<Value, Refused> {
    let is_local = |name: &str, value: &Value| match form(type_name, name) {
        Form::Local => true,
        Form::Unknown => !value.is_array() && !value.is_object(),
        _ => false,
    };
    let names_local = wanted.is_some_and(|w| {
        w.0.keys().any(|name| match form(type_name, name) {
            Form::Unknown => object.get(name).is_some_and(|v| is_local(name, v)),
            other => other == Form::Local,
        })
    });
    let mut out = Map::new();
    if !names_local {
        out.extend(object.iter().filter(|(n, v)| is_local(n, v)).map(|(n, v)| (n.clone(), v.clone())));
    }
    for (name, below) in wanted.iter().flat_map(|tree| &tree.0) {
        match (form(type_name, name), object.get(name)) {
            (Form::Count, _) => drop(out.insert(name.clone(), count(object, name).into())),
            // What is not there has no key.
            (_, None) => {}
            (Form::Relational(other), Some(value)) => drop(out.insert(name.clone(), tree(value, other, Some(below))?)),
            (_, Some(value)) => drop(out.insert(name.clone(), tree(value, "", Some(below))?)),
        }
    }
    Ok(Value::Object(out))
}

fn count(object: &Map<String, Value>, name: &str) -> usize {
    let list = name.trim_end_matches("Count");
    let found = object.get(list).or_else(|| object.get(&format!("{list}s")));
    found.and_then(Value::as_array).map_or(0, Vec::len)
}
