//! Object filters: operators, nested properties, order. One that cannot be understood is ignored, and every row comes back.

use std::cmp::Ordering;

use serde_json::{Map, Value};

/// The rows that a filter picks, in its order. `root` is the property behind the getter; methods such as `getAllObjects` have none.
pub fn apply<'a>(rows: Vec<&'a Value>, root: Option<&str>, text: Option<&str>) -> Vec<&'a Value> {
    let parsed = text.and_then(|text| serde_json::from_str::<Value>(text).ok());
    let Some(filter) =
        parsed.as_ref().and_then(|f| root.map_or(Some(f), |root| f.get(root))).and_then(Value::as_object)
    else {
        return rows;
    };
    if !understood(filter) {
        return rows;
    }
    let mut rows: Vec<&Value> = rows.into_iter().filter(|row| fits(row, filter)).collect();
    for (name, leaf) in filter {
        if operation(leaf) == Some("orderBy") {
            let descending = options(leaf).any(|value| value.as_str().is_some_and(|v| v.eq_ignore_ascii_case("desc")));
            rows.sort_by(|a, b| {
                let ordering = compare(a.get(name), b.get(name));
                if descending { ordering.reverse() } else { ordering }
            });
        }
    }
    rows
}

fn operation(leaf: &Value) -> Option<&str> {
    leaf.get("operation")?.as_str()
}

fn options(leaf: &Value) -> impl Iterator<Item = &Value> {
    let options = leaf.get("options").and_then(Value::as_array).into_iter().flatten();
    options.filter_map(|option| option.get("value")?.as_array()).flatten()
}

fn understood(filter: &Map<String, Value>) -> bool {
    filter.values().all(|below| match below.as_object() {
        Some(leaf) if leaf.contains_key("operation") => leaf["operation"].is_string() || leaf["operation"].is_number(),
        Some(deeper) => understood(deeper),
        None => false,
    })
}

fn fits(row: &Value, filter: &Map<String, Value>) -> bool {
    filter.iter().all(|(name, below)| match below.as_object() {
        Some(leaf) if leaf.contains_key("operation") => holds(row.get(name), below),
        Some(deeper) => match row.get(name) {
            Some(Value::Array(items)) => items.iter().any(|item| fits(item, deeper)),
            Some(value) => fits(value, deeper),
            None => false,
        },
        None => true,
    })
}

fn words(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn holds(value: Option<&Value>, leaf: &Value) -> bool {
    let Some(operation) = operation(leaf) else {
        return value.is_some_and(|v| words(v) == words(&leaf["operation"]));
    };
    let there = value.filter(|v| !v.is_null());
    match operation {
        "orderBy" => return true,
        "is null" => return there.is_none(),
        "not null" => return there.is_some(),
        "in" => return there.is_some_and(|v| options(leaf).any(|option| words(option) == words(v))),
        "not in" => return there.is_none_or(|v| options(leaf).all(|option| words(option) != words(v))),
        _ => {}
    }
    let Some(value) = there.map(words) else { return false };
    let (sign, wanted) = match operation.split_once(' ') {
        Some((sign, wanted)) if !sign.chars().any(char::is_alphanumeric) => (sign, wanted),
        _ => ("", operation),
    };
    let order = || compare(Some(&Value::from(value.as_str())), Some(&Value::from(wanted)));
    match sign {
        "" => value == wanted,
        "!=" => value != wanted,
        "_=" => value.eq_ignore_ascii_case(wanted),
        "^=" => value.starts_with(wanted),
        "!^=" => !value.starts_with(wanted),
        "$=" => value.ends_with(wanted),
        "!$=" => !value.ends_with(wanted),
        "*=" => value.to_lowercase().contains(&wanted.to_lowercase()),
        "!*=" => !value.to_lowercase().contains(&wanted.to_lowercase()),
        ">" => order().is_gt(),
        ">=" => order().is_ge(),
        "<" => order().is_lt(),
        "<=" => order().is_le(),
        "~" => regex::Regex::new(wanted).is_ok_and(|pattern| pattern.is_match(&value)),
        _ => true,
    }
}

fn compare(a: Option<&Value>, b: Option<&Value>) -> Ordering {
    let text = |v: Option<&Value>| v.map(words).unwrap_or_default();
    let (a, b) = (text(a), text(b));
    match (a.parse::<f64>(), b.parse::<f64>()) {
        (Ok(a), Ok(b)) => a.total_cmp(&b),
        _ => a.cmp(&b),
    }
}
