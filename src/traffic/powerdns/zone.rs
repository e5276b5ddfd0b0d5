//! PowerDNS's JSON: a zone with the record sets of a name, changes to send, errors; and its serials.
//!
//! Pure. Must never take a part of a record set that it does not know for nothing: who replaces a set replaces all of it.

use serde_json::{Map, Value, json};

use super::super::hosted::sets::{RecordSet, Sets, in_question};

/// A zone, as far as one name is concerned.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Zone {
    /// The serial before the next change.
    pub serial: u32,
    /// How changes through the API move the serial, or whatever it says instead of one that is known.
    pub pace: Result<SerialPace, String>,
    /// Whether it is the copy of a zone of another server.
    pub is_copy: bool,
    pub sets: Vec<RecordSet>,
}

/// How each change moves the serial (`SOA-EDIT-API`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SerialPace {
    /// To today's date with 01 behind it where it is lower, else by one.
    Default,
    /// By one.
    Increase,
}

/// More changes than others can make between a look and a write. Without it the 101st change of a day, which ends in 01 as well, would be
/// taken for the first one of the next.
const IN_A_MOMENT: u32 = 50;

impl SerialPace {
    /// Whether one change alone makes `new` of `old`.
    pub fn is_one_change(self, old: u32, new: u32) -> bool {
        let leaps = new.checked_sub(old).is_some_and(|by| by > IN_A_MOMENT);
        let is_first_of_a_day = self == Self::Default && leaps && new % 100 == 1;
        new == old.wrapping_add(1) || is_first_of_a_day
    }
}

/// Reads a zone; `None` where it is none. Records of other names are left out.
pub(super) fn read(bytes: &[u8], owner: &str) -> Option<Zone> {
    let zone: Value = serde_json::from_slice(bytes).ok()?;
    let text = |key: &str| zone.get(key).and_then(Value::as_str).unwrap_or_default();
    let pace = match text("soa_edit_api") {
        "DEFAULT" => Ok(SerialPace::Default),
        "INCREASE" => Ok(SerialPace::Increase),
        other => Err(other.to_owned()),
    };
    let mut sets = Vec::new();
    for set in zone.get("rrsets")?.as_array()? {
        let set = set.as_object()?;
        let rtype = set.get("type").and_then(Value::as_str)?;
        // Both make addresses of something else.
        let stands_in = ["ALIAS", "LUA"].contains(&rtype);
        if set.get("name").and_then(Value::as_str)? == owner && (stands_in || in_question(rtype)) {
            sets.push(read_set(set)?);
        }
    }
    let serial = u32::try_from(zone.get("serial")?.as_u64()?).ok()?;
    Some(Zone { serial, pace, is_copy: ["Slave", "Secondary", "Consumer"].contains(&text("kind")), sets })
}

fn read_set(set: &Map<String, Value>) -> Option<RecordSet> {
    let text = |key: &str| set.get(key).and_then(Value::as_str).map(str::to_owned);
    let ttl = u32::try_from(set.get("ttl")?.as_u64()?).ok()?;
    let mut read = RecordSet { name: text("name")?, rtype: text("type")?, ttl: Some(ttl), ..RecordSet::default() };
    for record in set.get("records")?.as_array()? {
        read.values.push(record.get("content").and_then(Value::as_str)?.to_owned());
        for (key, value) in record.as_object()? {
            match (key.as_str(), value) {
                ("content", _) | ("disabled", Value::Bool(false)) | ("modified_at", _) => {}
                ("disabled", _) => read.other.push("a disabled record".to_owned()),
                (other, _) => read.other.push(other.to_owned()),
            }
        }
    }
    // Comments stay unless they are sent.
    let unknown = set.keys().filter(|key| !["name", "type", "ttl", "records", "comments"].contains(&key.as_str()));
    read.other.extend(unknown.cloned());
    Some(read)
}

/// What makes `after` of `before`.
pub(super) fn change(before: &Sets, after: &Sets) -> Value {
    let (gone, new) = before.steps_to(after);
    let replaced = |set: &&RecordSet| new.iter().any(|new| new.rtype == set.rtype);
    let delete = |set: &RecordSet| json!({ "name": set.name, "type": set.rtype, "changetype": "DELETE" });
    let deletes: Vec<Value> = gone.iter().filter(|set| !replaced(set)).map(|set| delete(set)).collect();
    let replaces = new.iter().map(|set| {
        let records: Vec<Value> =
            set.values.iter().map(|value| json!({ "content": value, "disabled": false })).collect();
        json!({ "name": set.name, "type": set.rtype, "ttl": set.ttl, "changetype": "REPLACE", "records": records })
    });
    json!({ "rrsets": deletes.into_iter().chain(replaces).collect::<Vec<_>>() })
}

/// What no server takes: an address that is none.
pub(super) fn unreadable(owner: &str) -> Value {
    let name = format!("migrate-asks-whether-it-may.{owner}");
    let record = json!({ "content": "none", "disabled": false });
    json!({ "rrsets": [{ "name": name, "type": "A", "ttl": 1, "changetype": "REPLACE", "records": [record] }] })
}

/// The sentence of an error: what its JSON says, else what it is.
pub(super) fn error(bytes: &[u8]) -> String {
    let answer: Option<Value> = serde_json::from_slice(bytes).ok();
    let said = answer.as_ref().and_then(|answer| answer.get("error")?.as_str());
    said.map_or_else(|| String::from_utf8_lossy(bytes).trim().to_owned(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    const WWW: &str = "www.lab.test.";

    fn zone(rrsets: &Value) -> Zone {
        let zone = json!({ "kind": "Native", "serial": 7, "soa_edit_api": "DEFAULT", "rrsets": rrsets });
        read(zone.to_string().as_bytes(), WWW).unwrap()
    }

    fn set(rtype: &str, records: &Value) -> Value {
        json!({ "name": WWW, "type": rtype, "ttl": 60, "comments": [], "records": records })
    }

    #[test]
    fn what_is_not_understood_of_a_set_is_told() {
        let on = json!({ "content": "192.0.2.1", "disabled": false, "modified_at": 1 });
        let off = json!({ "content": "192.0.2.2", "disabled": true });
        let other = |rrset: Value| zone(&json!([rrset])).sets[0].other.clone();
        assert_eq!(other(set("A", &json!([on]))), Vec::<String>::new());
        assert_eq!(other(set("A", &json!([on, off]))), ["a disabled record"]);
        let mut routed = set("A", &json!([on]));
        routed["route"] = json!("x");
        assert_eq!(other(routed), ["route"]);
        assert_eq!(zone(&json!([set("LUA", &json!([]))])).sets[0].rtype, "LUA");
        let elsewhere = json!({ "name": "api.lab.test.", "type": "A", "ttl": 60, "records": [on] });
        assert_eq!(zone(&json!([elsewhere, set("TXT", &json!([]))])).sets, []);
    }

    #[test]
    fn a_serial_tells_whether_somebody_else_wrote() {
        use SerialPace::{Default, Increase};
        for (pace, old, new, one) in [
            (Increase, 7, 8, true),
            (Increase, 7, 9, false),
            (Increase, u32::MAX, 0, true),
            (Default, 7, 2_026_113_001, true),
            (Default, 7, 2_026_113_002, false),
            (Default, 2_026_113_001, 2_026_113_002, true),
            (Default, 2_026_113_001, 2_026_113_003, false),
            (Default, 2_026_113_004, 2_026_120_101, true),
            (Default, 2_026_111_599, 2_026_111_600, true),
            (Default, 2_026_111_599, 2_026_111_601, false),
            (Default, 3_000_000_098, 3_000_000_101, false),
            (Increase, 7, 2_026_113_001, false),
            (Default, 7, 7, false),
        ] {
            assert_eq!(pace.is_one_change(old, new), one, "{pace:?} {old} {new}");
        }
    }

    #[test]
    fn answers_that_are_none_are_not_taken_for_empty_zones() {
        for answer in
            ["", "{}", "[]", r#"{"rrsets": []}"#, r#"{"rrsets": {}, "serial": 1}"#, r#"{"rrsets": [], "serial": -1}"#]
        {
            assert_eq!(read(answer.as_bytes(), WWW), None, "{answer}");
        }
    }
}
