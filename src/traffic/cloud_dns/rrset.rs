//! Cloud DNS's JSON: listings, changes to send and how they stand, errors.
//!
//! Pure. Must never take a part of a record set that it does not know for nothing: a set that is not understood cannot be deleted exactly.

use serde_json::{Map, Value, json};

use super::super::hosted::Taken;
use super::super::hosted::sets::{RecordSet, Sets};

/// Parts of sets that the API tells and nobody has to tell it.
const TOLD: [&str; 2] = ["kind", "signatureRrdatas"];

/// A page of sets, and by what the next one is asked for.
pub(super) struct Page {
    pub sets: Vec<RecordSet>,
    pub next: Option<String>,
}

/// Reads the answer to a listing; `None` where it is none. Each item of a routing policy is a set of its own.
pub(super) fn page(bytes: &[u8]) -> Option<Page> {
    let answer: Value = serde_json::from_slice(bytes).ok()?;
    let answer = answer.as_object()?;
    let mut sets = Vec::new();
    // A name without records has no list.
    for set in answer.get("rrsets").map_or(Some(&Vec::new()), Value::as_array)? {
        sets.extend(read(set.as_object()?)?);
    }
    let next = answer.get("nextPageToken").map(|token| token.as_str().map(str::to_owned));
    Some(Page { sets, next: next.map_or(Some(None), |token| token.map(Some))? })
}

/// One record set, or as many as its policy has items.
fn read(set: &Map<String, Value>) -> Option<Vec<RecordSet>> {
    let text = |key: &str| set.get(key).and_then(Value::as_str).map(str::to_owned);
    let mut plain = RecordSet {
        name: text("name")?,
        rtype: text("type")?,
        ttl: set.get("ttl").map_or(Some(None), |ttl| Some(Some(u32::try_from(ttl.as_u64()?).ok()?)))?,
        values: values(set)?,
        ..RecordSet::default()
    };
    let mut items = None;
    for (key, value) in set {
        match key.as_str() {
            "name" | "type" | "ttl" | "rrdatas" => {}
            "routingPolicy" => items = policy(value.as_object()?, &mut plain.other)?,
            told if TOLD.contains(&told) => {}
            other => plain.other.push(other.to_owned()),
        }
    }
    let Some(items) = items else { return Some(vec![plain]) };
    if items.is_empty() || !plain.values.is_empty() {
        plain.other.push("routingPolicy".to_owned());
        return Some(vec![plain]);
    }
    items.iter().map(|item| weighted(item.as_object()?, &plain)).collect()
}

/// The items of a weighted policy; `None` where it is another one, which is noted.
fn policy<'a>(policy: &'a Map<String, Value>, other: &mut Vec<String>) -> Option<Option<&'a Vec<Value>>> {
    let mut items = None;
    for (key, value) in policy.iter().filter(|(key, _)| *key != "kind") {
        match key.as_str() {
            "wrr" => items = Some(value.get("items").map_or(Some(const { &Vec::new() }), Value::as_array)?),
            unknown => other.push(unknown.to_owned()),
        }
    }
    if items.is_none() && other.is_empty() {
        other.push("routingPolicy".to_owned());
    }
    Some(items)
}

fn weighted(item: &Map<String, Value>, set: &RecordSet) -> Option<RecordSet> {
    let values = values(item)?;
    let mut own = RecordSet { id: values.first().cloned(), values, ..set.clone() };
    for (key, value) in item {
        match key.as_str() {
            "weight" => {
                let told = value.as_f64()?;
                let whole = (told.fract() == 0.0 && (0.0..=f64::from(u16::MAX)).contains(&told)).then_some(told as u16);
                own.weight = whole;
                own.other.extend(whole.is_none().then(|| format!("the weight {told}")));
            }
            "rrdatas" => {}
            told if TOLD.contains(&told) => {}
            other => own.other.push(other.to_owned()),
        }
    }
    // A weight of 0 may be left out.
    own.weight = own.weight.or(Some(0).filter(|_| !item.contains_key("weight")));
    Some(own)
}

fn values(of: &Map<String, Value>) -> Option<Vec<String>> {
    let Some(values) = of.get("rrdatas") else { return Some(Vec::new()) };
    values.as_array()?.iter().map(|value| value.as_str().map(str::to_owned)).collect()
}

/// One change: deletions of exactly what was read, additions of what is wanted.
pub(super) fn change(before: &Sets, after: &Sets) -> Value {
    let (gone, new) = before.steps_to(after);
    let mut touched: Vec<&str> = gone.iter().chain(&new).map(|set| set.rtype.as_str()).collect();
    touched.sort_unstable();
    touched.dedup();
    let of = |sets: &Sets| touched.iter().filter_map(|rtype| one(sets, rtype)).collect::<Vec<_>>();
    json!({ "deletions": of(before), "additions": of(after) })
}

/// The one record set of a type, as the API has it.
fn one(sets: &Sets, rtype: &str) -> Option<Value> {
    let all: Vec<&RecordSet> = sets.all.iter().filter(|set| set.rtype == rtype).collect();
    let first = all.first()?;
    let (data, value) = if first.weight.is_none() {
        ("rrdatas", json!(first.values))
    } else {
        let items: Vec<Value> = all.iter().map(|set| json!({ "weight": set.weight, "rrdatas": set.values })).collect();
        ("routingPolicy", json!({ "wrr": { "items": items } }))
    };
    let ttl = first.ttl.map(|ttl| ("ttl", json!(ttl)));
    let parts = [("name", json!(first.name)), ("type", json!(rtype)), (data, value)].into_iter().chain(ttl);
    Some(parts.map(|(key, value)| (key.to_owned(), value)).collect::<Map<_, _>>().into())
}

/// Id and status of a change: `12`, `pending`.
pub(super) fn taken(bytes: &[u8]) -> Option<Taken> {
    of_change(&serde_json::from_slice(bytes).ok()?)
}

fn of_change(change: &Value) -> Option<Taken> {
    let part = |key: &str| change.get(key).and_then(Value::as_str).map(str::to_owned);
    let id = part("id").filter(|id| id.len() <= 64 && id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-'))?;
    Some(Taken { id, status: part("status").filter(|status| status.bytes().all(|b| b.is_ascii_alphabetic()))? })
}

/// The latest change of a listing that is pending; `None` where it is no listing.
pub(super) fn pending(bytes: &[u8]) -> Option<Option<Taken>> {
    let answer: Value = serde_json::from_slice(bytes).ok()?;
    let changes = answer.as_object()?.get("changes").map_or(Some(const { &Vec::new() }), Value::as_array)?;
    let all = changes.iter().map(of_change).collect::<Option<Vec<_>>>()?;
    Some(all.into_iter().find(|change| change.status == "pending"))
}

/// Reason and message of an error.
pub(super) fn error(bytes: &[u8]) -> Option<(String, String)> {
    let answer: Value = serde_json::from_slice(bytes).ok()?;
    let error = answer.get("error")?;
    let reason = error.pointer("/errors/0/reason").or_else(|| error.get("status")).and_then(Value::as_str);
    let message = error.get("message").and_then(Value::as_str).unwrap_or_default();
    Some((reason.unwrap_or("unknown").to_owned(), message.to_owned()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::super::hosted::sets::Records;
    use super::super::WORDS;
    use super::*;

    const LISTING: &[u8] = br#"{"kind": "dns#resourceRecordSetsListResponse", "rrsets": [
        {"kind": "dns#resourceRecordSet", "name": "www.lab.test.", "type": "A", "ttl": 60, "signatureRrdatas": [],
         "routingPolicy": {"kind": "dns#rRSetRoutingPolicy", "wrr": {"kind": "dns#rRSetRoutingPolicyWrrPolicy", "items": [
            {"kind": "dns#rRSetRoutingPolicyWrrPolicyWrrPolicyItem", "weight": 75.0, "rrdatas": ["192.0.2.1"]},
            {"weight": 0, "rrdatas": ["192.0.2.2"]}, {"rrdatas": ["192.0.2.3"]}]}}},
        {"name": "www.lab.test.", "type": "AAAA", "ttl": 300, "rrdatas": ["2001:db8::1", "2001:db8::2"]}],
        "nextPageToken": "more"}"#;

    fn sets(all: Vec<RecordSet>) -> Sets {
        Sets { records: Records::Weighted, words: &WORDS, all }
    }

    #[test]
    fn a_listing_is_read_with_each_item_of_a_policy() {
        let page = page(LISTING).unwrap();
        let weights: Vec<_> = page.sets.iter().map(|set| (set.values.join(" "), set.weight, set.ttl)).collect();
        assert_eq!(
            weights,
            [
                ("192.0.2.1".to_owned(), Some(75), Some(60)),
                ("192.0.2.2".to_owned(), Some(0), Some(60)),
                ("192.0.2.3".to_owned(), Some(0), Some(60)),
                ("2001:db8::1 2001:db8::2".to_owned(), None, Some(300)),
            ]
        );
        assert_eq!(page.next.as_deref(), Some("more"));
        assert!(super::page(b"{}").unwrap().sets.is_empty(), "a name without records has no list");
    }

    #[test]
    fn a_change_deletes_whole_sets_as_they_were_read_and_adds_them_as_they_shall_be() {
        let mut before = sets(page(LISTING).unwrap().sets);
        let other_type = before.all.pop().unwrap();
        let address = |text: &str| text.parse().unwrap();
        let wishes = [(address("192.0.2.1"), 25), (address("198.51.100.1"), 50)];
        let after = before.changed("www.lab.test.", &wishes).unwrap();
        before.all.push(other_type.clone());
        let after = Sets { all: [after.all, vec![other_type]].concat(), ..after };
        let item = |weight: u16, value: &str| json!({ "weight": weight, "rrdatas": [value] });
        let a = |items: Vec<Value>| json!({ "name": "www.lab.test.", "type": "A", "ttl": 60, "routingPolicy": { "wrr": { "items": items } } });
        let (was, stays) = (item(75, "192.0.2.1"), [item(0, "192.0.2.2"), item(0, "192.0.2.3")]);
        let is = [vec![item(25, "192.0.2.1")], stays.to_vec(), vec![item(50, "198.51.100.1")]].concat();
        let wanted = json!({ "deletions": [a([vec![was], stays.to_vec()].concat())], "additions": [a(is)] });
        assert_eq!(change(&before, &after), wanted, "the other type is left alone");
        assert_eq!(change(&before, &before), json!({ "deletions": [], "additions": [] }));
    }

    #[test]
    fn what_is_not_known_is_noted() {
        let other = |set: &str| {
            let page = page(format!("{{\"rrsets\": [{set}]}}").as_bytes()).unwrap();
            page.sets.into_iter().flat_map(|set| set.other).collect::<Vec<_>>()
        };
        let of = |policy: &str| other(&format!("{{\"name\": \"x.\", \"type\": \"A\", \"routingPolicy\": {policy}}}"));
        assert_eq!(of(r#"{"geo": {"items": []}}"#), ["geo"]);
        assert_eq!(of(r#"{"wrr": {"items": []}}"#), ["routingPolicy"]);
        assert_eq!(of(r#"{"wrr": {"items": [{"weight": 0.5, "rrdatas": ["192.0.2.1"]}]}}"#), ["the weight 0.5"]);
        let healthy =
            r#"{"wrr": {"items": [{"weight": 1, "rrdatas": [], "healthCheckedTargets": {}}]}, "healthCheck": "x"}"#;
        assert_eq!(of(healthy), ["healthCheck", "healthCheckedTargets"]);
        assert_eq!(other(r#"{"name": "x.", "type": "A", "rrdatas": ["192.0.2.1"], "alias": {}}"#), ["alias"]);
    }

    #[test]
    fn errors_and_changes_are_read() {
        let refused = br#"{"error": {"code": 412, "message": "Precondition not met for 'entity.change.deletions[0]'", "errors": [{"domain": "global", "reason": "conditionNotMet"}]}}"#;
        let (reason, message) = error(refused).unwrap();
        assert_eq!((reason.as_str(), message.starts_with("Precondition")), ("conditionNotMet", true));
        let plain = br#"{"error": {"code": 401, "message": "no", "status": "UNAUTHENTICATED"}}"#;
        assert_eq!(error(plain).unwrap().0, "UNAUTHENTICATED");
        let change = taken(br#"{"kind": "dns#change", "id": "12", "status": "pending"}"#).unwrap();
        assert_eq!((change.id.as_str(), change.status.as_str()), ("12", "pending"));
        assert!(taken(br#"{"id": "../x", "status": "done"}"#).is_none());
        let all = br#"{"changes": [{"id": "3", "status": "done"}, {"id": "2", "status": "pending"}, {"id": "1", "status": "pending"}]}"#;
        assert_eq!(pending(all).unwrap().unwrap().id, "2");
        assert!(pending(b"{}").unwrap().is_none());
    }

    proptest! {
        #[test]
        fn arbitrary_answers_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), text in "[\\[\\]{}:,\"a-zA-Z0-9.]{0,200}") {
            for bytes in [&bytes, text.as_bytes()] {
                let _ = (page(bytes).is_some(), taken(bytes).is_some(), pending(bytes).is_some(), error(bytes));
            }
        }
    }
}
