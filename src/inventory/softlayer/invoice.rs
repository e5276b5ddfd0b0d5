//! What the next invoice of the account comes to, so that the bill of its hosts can be put beside it.

use serde_json::{Value, json};

use crate::inventory::money;
use crate::softlayer::{Api, Call};

/// The next invoice as inventories write it; `None` where this user may not see it, or it is not told.
pub async fn next(api: &Api) -> Option<String> {
    let mask = Some("mask[id,nextInvoiceTotalAmount]");
    let call = Call { service: "Account", method: "getObject", mask, ..Call::default() };
    let account = api.read(&call).await.ok()?;
    let text = |value: &Value| match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    };
    let amount = money::thousandths(&text(account.get("nextInvoiceTotalAmount")?)?)?;
    let name = format!("softlayer-{}", account.get("id")?.as_u64()?);
    Some(format!("invoices:\n  {}: {}\n", json!(name), json!(money::dollars(amount))))
}
