//! Cancellations of an account: requests, each with items that name what is no longer billed.

use serde_json::{Map, Value};

use super::super::Leaving;
use crate::outside::Error;
use crate::softlayer::{Api, Call};
use crate::text::escape;

/// Who keeps them.
pub const SERVICE: &str = "Billing_Item_Cancellation_Request";

const MASK: &str = "mask[id,ticketId,createDate,status[id,name,keyName],
    items[id,billingItemId,scheduledCancellationDate,serviceReclaimStatusCode]]";

/// The beginnings of the states in which a request is none any more.
const TAKEN_BACK: [&str; 3] = ["void", "denied", "rejected"];

/// A cancellation of one billing item.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    pub id: u64,
    ticket: Option<u64>,
    status: String,
    ends: Option<String>,
    reclaim: Option<String>,
}

impl Request {
    /// The newest one of a billing item that has not been taken back.
    pub fn newest(rows: &[Value], item: u64) -> Option<Self> {
        let of_item = rows.iter().rev().filter_map(|row| Self::read(row, item));
        of_item.filter(Self::stands).max_by_key(|request| request.id)
    }

    /// All of an account, for [`Self::newest`].
    pub async fn all(api: &Api) -> Result<Vec<Value>, Error> {
        let call = Call { service: SERVICE, method: "getAllCancellationRequests", mask: Some(MASK), ..Call::default() };
        api.list(&call, "", &Map::new()).await
    }

    fn read(row: &Value, item: u64) -> Option<Self> {
        let number = |value: &Value, key: &str| {
            let value = value.get(key)?;
            value.as_u64().or_else(|| value.as_str()?.parse().ok())
        };
        let word = |value: &Value, pointer: &str| {
            let text = value.pointer(pointer)?.as_str()?;
            Some(escape(text.as_bytes(), 100)).filter(|text| !text.is_empty())
        };
        let items = row.get("items").and_then(Value::as_array)?;
        let found = items.iter().find(|found| number(found, "billingItemId") == Some(item))?;
        let status = word(row, "/status/name").or_else(|| word(row, "/status/keyName"));
        Some(Self {
            id: number(row, "id")?,
            ticket: number(row, "ticketId"),
            status: status.unwrap_or_else(|| "in no state that is told".to_owned()),
            ends: word(found, "/scheduledCancellationDate"),
            reclaim: word(found, "/serviceReclaimStatusCode"),
        })
    }

    /// What is not known to be taken back stands.
    fn stands(&self) -> bool {
        let status = self.status.to_ascii_lowercase();
        !TAKEN_BACK.iter().any(|word| status.starts_with(word))
    }

    /// Whether SoftLayer has taken the machine.
    pub fn is_reclaimed(&self) -> bool {
        self.reclaim.as_deref().is_some_and(|code| code.eq_ignore_ascii_case("COMPLETED"))
    }

    /// For people.
    pub fn leaving(&self) -> Leaving {
        let by = match self.ticket {
            Some(ticket) => format!("ticket {ticket}"),
            None => format!("cancellation {}", self.id),
        };
        Leaving { by, status: self.status.clone(), ends: self.ends.clone() }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn row(status: &str, reclaim: &str) -> Value {
        json!({ "id": 7, "ticketId": 99, "status": { "name": status },
            "items": [{ "billingItemId": 1 }, { "billingItemId": "2", "scheduledCancellationDate": "2026-12-03T23:00:00-06:00", "serviceReclaimStatusCode": reclaim }] })
    }

    #[test]
    fn a_request_stands_unless_it_says_that_it_does_not() {
        let of = |status| Request::read(&row(status, "NOT_COMPLETED"), 2).unwrap();
        assert!(of("Approved").stands() && of("Pending").stands() && of("").stands() && of("Something new").stands());
        assert!(!of("Void").stands() && !of("Voided").stands() && !of("Denied").stands());
        assert_eq!(of("Approved").leaving().to_string(), "ticket 99, Approved, ends 2026-12-03T23:00:00-06:00");
        assert_eq!(Request::read(&row("Approved", ""), 3), None);
        assert!(!of("Approved").is_reclaimed());
        assert!(Request::read(&row("Approved", "COMPLETED"), 2).unwrap().is_reclaimed());
    }
}
