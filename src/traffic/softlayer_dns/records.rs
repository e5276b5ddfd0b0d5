//! The address records of one name, as the API has them: a row for each, with an id of its own.
//!
//! Must never touch a row that is not an address of the name that was asked for, whatever a list holds.

use std::collections::BTreeSet;
use std::net::IpAddr;

use serde_json::{Map, Value, json};

use super::super::dns::lookup::Addresses;
use crate::outside::{Error, Kind};
use crate::softlayer::{Api, Call, Failed, Why};
use crate::text;

const MASK: &str = "mask[id,domainId,host,data,ttl,type]";

/// One row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    pub id: u64,
    pub ip: IpAddr,
    pub ttl: u32,
}

/// The rows of a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rows {
    /// The zone they are in.
    pub domain: u64,
    /// The name, as rows have it: `www`, or `@` for the zone itself.
    pub host: String,
    pub all: Vec<Row>,
}

impl Rows {
    /// Reads them.
    pub async fn read(api: &Api, zone: &str, host: &str) -> Result<Self, Error> {
        let domain = domain(api, zone).await?;
        let call = Call {
            service: "Dns_Domain",
            id: Some(domain),
            method: "getResourceRecords",
            mask: Some(MASK),
            ..Call::default()
        };
        let either = [host.to_owned(), format!("{host}.{zone}"), format!("{host}.{zone}.")];
        let wanted = json!({ "operation": "in", "options": [{ "name": "data", "value": either }] });
        let filter = Map::from_iter([("host".to_owned(), wanted)]);
        let mut all = Vec::new();
        for row in api.list(&call, "resourceRecords", &filter).await? {
            if is(&row, zone, host) {
                all.extend(address(api, &row, host)?);
            }
        }
        Ok(Self { domain, host: host.to_owned(), all })
    }

    /// What they say together, as servers answer it.
    pub fn addresses(&self) -> Addresses {
        let ttl = |v4: bool| self.all.iter().filter(|row| row.ip.is_ipv4() == v4).map(|row| row.ttl).max();
        Addresses {
            all: self.all.iter().map(|row| row.ip).collect::<BTreeSet<_>>(),
            ttl_v4: ttl(true),
            ttl_v6: ttl(false),
            negative_ttl: None,
        }
    }

    /// Adds an address.
    pub async fn add(&self, api: &Api, ip: IpAddr, ttl: u32) -> Result<(), Failed> {
        let kind = if ip.is_ipv4() { "a" } else { "aaaa" };
        let record =
            json!({ "domainId": self.domain, "host": self.host, "data": ip.to_string(), "ttl": ttl, "type": kind });
        let call = Call { service: RECORD, method: "createObject", parameters: vec![record], ..Call::default() };
        api.write(&call).await.map(drop)
    }

    /// Sets the TTL of a row. Only what changes is sent: fields that the API does not expect are refused.
    pub async fn set_ttl(&self, api: &Api, row: &Row, ttl: u32) -> Result<(), Failed> {
        let record = json!({ "id": row.id, "domainId": self.domain, "ttl": ttl });
        let call = Call {
            service: RECORD,
            id: Some(row.id),
            method: "editObject",
            parameters: vec![record],
            ..Call::default()
        };
        expect_true(api, &call, api.write(&call).await?)
    }

    /// Takes a row away; one that is gone is what was wanted.
    pub async fn remove(&self, api: &Api, row: &Row) -> Result<(), Failed> {
        let call = Call { service: RECORD, id: Some(row.id), method: "deleteObject", ..Call::default() };
        match api.write(&call).await {
            Ok(done) => expect_true(api, &call, done),
            Err(Failed { why: Why::Missing, .. }) => Ok(()),
            Err(failed) => Err(failed),
        }
    }
}

const RECORD: &str = "Dns_Domain_ResourceRecord";

fn expect_true(api: &Api, call: &Call, done: Value) -> Result<(), Failed> {
    if done == Value::Bool(true) {
        return Ok(());
    }
    let what = format!(
        "{}: it answers {} where `true` means that it is done",
        call.name(),
        text::escape(done.to_string().as_bytes(), 100)
    );
    Err(Failed { why: Why::Other, error: Error::new(api.at(), Kind::Lost, what) })
}

/// The zone of exactly this name.
async fn domain(api: &Api, zone: &str) -> Result<u64, Error> {
    let call = Call { service: "Account", method: "getDomains", mask: Some("mask[id,name]"), ..Call::default() };
    let wanted = json!({ "operation": format!("_= {zone}") });
    let rows = api.list(&call, "domains", &Map::from_iter([("name".to_owned(), wanted)])).await?;
    let name =
        |row: &Value| row.get("name").and_then(Value::as_str).map(|n| n.trim_end_matches('.').to_ascii_lowercase());
    let mut found =
        rows.iter().filter(|row| name(row).as_deref() == Some(zone)).filter_map(|row| row.get("id")?.as_u64());
    match (found.next(), found.next()) {
        (Some(id), None) => Ok(id),
        (Some(_), Some(_)) => {
            Err(Error::new(api.at(), Kind::Refused, format!("the account has the zone {zone} twice"))
                .hint("remove the one that is not served"))
        }
        (None, _) => Err(Error::new(api.at(), Kind::Refused, format!("the account has no zone {zone}"))
            .hint("check the zone's name, and that the user may manage DNS (`slcli dns zone-list`)")),
    }
}

/// Whether a row belongs to a name; the list may hold every row of the zone.
fn is(row: &Value, zone: &str, host: &str) -> bool {
    let name = row.get("host").and_then(Value::as_str).unwrap_or_default().to_ascii_lowercase();
    let name = name.trim_end_matches('.');
    let short = name.strip_suffix(zone).and_then(|name| name.strip_suffix('.')).unwrap_or(name);
    let short = if short == zone || short.is_empty() { "@" } else { short };
    short == host
}

/// The address in a row; `None` for rows of other kinds. An alias leaves no room for addresses.
fn address(api: &Api, row: &Value, host: &str) -> Result<Option<Row>, Error> {
    let bad = |what: String| Error::new(api.at(), Kind::Refused, what);
    let data = row.get("data").and_then(Value::as_str).unwrap_or_default();
    match row.get("type").and_then(Value::as_str).unwrap_or_default().to_ascii_lowercase().as_str() {
        "cname" => {
            let what = format!(
                "{host} is an alias (CNAME) for {} and can have no addresses",
                text::escape(data.as_bytes(), 255)
            );
            Err(bad(what).hint("use the name that it stands for, or put address records in the place of the alias"))
        }
        "a" | "aaaa" => {
            let number = |key: &str| row.get(key).and_then(|v| v.as_u64().or_else(|| v.as_str()?.parse().ok()));
            let read = (number("id"), data.parse().ok(), number("ttl").and_then(|ttl| u32::try_from(ttl).ok()));
            match read {
                (Some(id), Some(ip), Some(ttl)) => Ok(Some(Row { id, ip, ttl })),
                _ => Err(bad(format!(
                    "a record of {host} cannot be read: {}",
                    text::escape(row.to_string().as_bytes(), 200)
                ))),
            }
        }
        _ => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_belong_to_a_name_however_they_write_it() {
        let fits = |name: &str, host: &str| is(&json!({ "host": name }), "example.com", host);
        for name in ["www", "WWW", "www.example.com", "www.example.com."] {
            assert!(fits(name, "www") && !fits(name, "ww") && !fits(name, "@"), "{name}");
        }
        for name in ["@", "", "example.com", "example.com."] {
            assert!(fits(name, "@") && !fits(name, "www"), "{name}");
        }
        assert!(!fits("www.example.org", "www") && !fits("xwww", "www") && !is(&json!({}), "example.com", "www"));
    }
}
