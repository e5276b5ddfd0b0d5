//! Zones: records with all that the API does to them.

use std::net::IpAddr;

use serde_json::{Map, Value, json};

use super::super::authority::{Record, Zone};
use super::calls::{Answer, Call};
use super::refused::Refused;
use super::world::World;

const FIELDS: [&str; 13] = [
    "id",
    "domainId",
    "host",
    "data",
    "ttl",
    "type",
    "expire",
    "minimum",
    "mxPriority",
    "refresh",
    "retry",
    "responsiblePerson",
    "complexType",
];

fn done(value: Value) -> Result<Answer, Refused> {
    Ok(Answer { value, total: None })
}

/// Ids and numbers come as text, too.
fn number(value: Option<&Value>) -> Option<u64> {
    value.and_then(|v| v.as_u64().or_else(|| v.as_str()?.parse().ok()))
}

impl World {
    /// Puts a zone into the account, with its SOA and its name servers.
    pub fn add_zone(&mut self, name: &str) -> u64 {
        let id = self.id();
        let own = |world: &mut Self, kind: &str, data: &str| json!({ "id": world.id(), "domainId": id, "host": "@", "data": data, "ttl": 86400, "type": kind });
        let records = [
            own(self, "soa", "ns1.softlayer.com."),
            own(self, "ns", "ns1.softlayer.com."),
            own(self, "ns", "ns2.softlayer.com."),
        ];
        self.domains.push(json!({ "id": id, "name": name, "serial": 2_026_112_901_u64, "updateDate": "2026-11-29T10:00:00-06:00", "resourceRecords": records }));
        id
    }

    /// Puts a record into a zone.
    pub fn add_record(&mut self, zone: u64, host: &str, kind: &str, data: &str, ttl: u32) -> u64 {
        let id = self.id();
        let record = json!({
            "id": id, "domainId": zone, "host": host, "data": data, "ttl": ttl, "type": kind, "expire": null, "minimum": null,
            "mxPriority": null, "refresh": null, "retry": null, "responsiblePerson": null,
        });
        let zone = self.domains.iter_mut().find(|domain| domain["id"] == zone).expect("a zone");
        zone["resourceRecords"].as_array_mut().expect("a list").push(record);
        zone["serial"] = json!(zone["serial"].as_u64().unwrap_or(0) + 1);
        id
    }

    /// Every record of every zone.
    pub fn records(&self) -> Vec<Value> {
        self.domains
            .iter()
            .flat_map(|domain| domain["resourceRecords"].as_array().cloned().unwrap_or_default())
            .collect()
    }

    /// A change of records; `None` for calls that only read.
    pub(super) fn change_records(&mut self, call: &Call) -> Option<Result<Answer, Refused>> {
        if call.service != "Dns_Domain_ResourceRecord" {
            return None;
        }
        match call.method.as_str() {
            "createObject" => Some(self.create(call)),
            "editObject" => Some(self.edit(call)),
            "deleteObject" => Some(self.delete(call)),
            _ => None,
        }
    }

    fn create(&mut self, call: &Call) -> Result<Answer, Refused> {
        let template = template(call)?;
        let zone = number(template.get("domainId")).ok_or_else(Refused::internal)?;
        if !self.domains.iter().any(|domain| domain["id"] == zone) {
            return Err(Refused::not_found(zone));
        }
        let text = |key: &str| template.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
        let ttl = number(template.get("ttl")).and_then(|ttl| u32::try_from(ttl).ok()).unwrap_or(86_400);
        let id =
            self.add_record(zone, &scrubbed(&text("host")), &text("type").to_lowercase(), &data(&text("data")), ttl);
        done(self.records().into_iter().find(|record| record["id"] == id).unwrap_or_default())
    }

    fn edit(&mut self, call: &Call) -> Result<Answer, Refused> {
        let template = template(call)?;
        let record = self.record(call)?;
        for (key, value) in template.iter().filter(|(key, _)| *key != "id" && *key != "domainId") {
            record[key] = match key.as_str() {
                "ttl" => json!(number(Some(value))),
                "data" => json!(data(value.as_str().unwrap_or_default())),
                "host" => json!(scrubbed(value.as_str().unwrap_or_default())),
                "type" => json!(value.as_str().unwrap_or_default().to_lowercase()),
                _ => value.clone(),
            };
        }
        done(json!(true))
    }

    fn delete(&mut self, call: &Call) -> Result<Answer, Refused> {
        let record = self.record(call)?;
        if ["soa", "ns", "ptr"].iter().any(|kind| record["type"] == *kind) {
            return Err(Refused::new(500, "Public", "This record cannot be deleted."));
        }
        let id = record["id"].clone();
        for domain in &mut self.domains {
            domain["resourceRecords"].as_array_mut().expect("a list").retain(|record| record["id"] != id);
        }
        done(json!(true))
    }

    fn record(&mut self, call: &Call) -> Result<&mut Value, Refused> {
        let id = call.id.ok_or_else(|| Refused::not_found(0))?;
        for domain in &mut self.domains {
            let serial = domain["serial"].as_u64().unwrap_or(0) + 1;
            let there = domain["resourceRecords"].as_array().into_iter().flatten().any(|record| record["id"] == id);
            if there {
                domain["serial"] = json!(serial);
                let records = domain["resourceRecords"].as_array_mut().expect("a list");
                return records.iter_mut().find(|record| record["id"] == id).ok_or_else(|| Refused::not_found(id));
            }
        }
        Err(Refused::not_found(id))
    }
}

/// The object that is sent. Fields that it cannot have are refused.
fn template(call: &Call) -> Result<Map<String, Value>, Refused> {
    let template = call.parameters.first().and_then(Value::as_object).cloned().ok_or_else(Refused::internal)?;
    match template.keys().find(|key| !FIELDS.contains(&key.as_str())) {
        None => Ok(template),
        Some(key) => {
            let text = format!("The property '{key}' is not valid for 'SoftLayer_Dns_Domain_ResourceRecord'.");
            Err(Refused::new(500, "Public", text))
        }
    }
}

fn scrubbed(host: &str) -> String {
    host.chars().filter(|c| c.is_alphanumeric() || "@_.*-".contains(*c)).collect()
}

/// IPv6 addresses are kept in small letters.
fn data(text: &str) -> String {
    if text.parse::<IpAddr>().is_ok() { text.to_lowercase() } else { text.to_owned() }
}

impl World {
    /// The zones as name servers serve them.
    pub(super) fn zones(&self) -> Vec<Zone> {
        let text = |of: &Value, key: &str| of[key].as_str().unwrap_or_default().to_owned();
        let number = |of: &Value, key: &str| of[key].as_u64().and_then(|n| u32::try_from(n).ok()).unwrap_or(0);
        let record = |record: &Value| Record {
            host: text(record, "host"),
            rtype: text(record, "type").to_uppercase(),
            ttl: number(record, "ttl"),
            data: text(record, "data"),
        };
        let zone = |zone: &Value| Zone {
            name: text(zone, "name"),
            serial: number(zone, "serial"),
            records: zone["resourceRecords"].as_array().into_iter().flatten().map(record).collect(),
        };
        self.domains.iter().map(zone).collect()
    }
}
