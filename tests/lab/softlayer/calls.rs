//! What the services answer. Getters of properties are all alike: any object, any property that its type has, to any depth.

use serde_json::{Value, json};

use super::filter;
use super::mask::{self, Mask};
use super::model::{self, Form};
use super::refused::Refused;
use super::world::World;

/// One call, taken apart.
#[derive(Debug, Clone, Default)]
pub struct Call {
    pub verb: String,
    /// Without `SoftLayer_`.
    pub service: String,
    pub id: Option<u64>,
    pub method: String,
    pub mask: Option<String>,
    pub filter: Option<String>,
    /// Offset and limit.
    pub limit: Option<(usize, usize)>,
    pub parameters: Vec<Value>,
}

/// A result, and for lists how many rows there are in all.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    pub value: Value,
    pub total: Option<usize>,
}

impl Call {
    /// From the parts of a path behind the version, such as `SoftLayer_Account/getHardware.json`.
    pub fn from_path(verb: &str, path: &str) -> Result<Self, Refused> {
        let path = path.strip_suffix(".json").unwrap_or(path);
        let mut parts = path.split('/').filter(|part| !part.is_empty());
        let service = parts.next().and_then(|s| s.strip_prefix("SoftLayer_")).ok_or_else(Refused::no_service)?;
        let mut rest: Vec<&str> = parts.collect();
        let id = rest.first().and_then(|part| part.parse().ok());
        if id.is_some() {
            rest.remove(0);
        }
        let method = match (rest.as_slice(), verb) {
            ([], "GET") => "getObject",
            ([], "POST") => "createObject",
            ([], "PUT") => "editObject",
            ([], "DELETE") => "deleteObject",
            // Verb and name of the method together are too much for it.
            ([_], "DELETE") => return Err(Refused::no_service()),
            ([method], _) => method,
            _ => return Err(Refused::no_service()),
        };
        Ok(Self {
            verb: verb.to_owned(),
            service: service.to_owned(),
            id,
            method: method.to_owned(),
            ..Self::default()
        })
    }
}

/// Answers a call. `heavy` is how many rows with relations one answer can hold.
pub fn answer(world: &mut World, call: &Call, heavy: usize) -> Result<Answer, Refused> {
    world.tick();
    let changed = world.change_records(call).or_else(|| world.change_bills(call)).or_else(|| world.balance(call));
    if let Some(changed) = changed {
        return changed;
    }
    let mask = call.mask.as_deref().map(mask::parse).transpose()?;
    // The two that are large are not copied as a whole for each of their pages.
    let large = match (call.service.as_str(), property(&call.method).as_str()) {
        ("Account", "hardware") => Some((&world.hardware, "Hardware")),
        ("Account", "virtualGuests") => Some((&world.guests, "Virtual_Guest")),
        _ => None,
    };
    if let Some((rows, type_name)) = large {
        return page(rows, type_name, &property(&call.method), call, mask.as_ref(), heavy);
    }
    let (found, type_name) = object(world, call)?;
    if call.method == "getObject" {
        return Ok(Answer { value: model::project(&found, &type_name, mask.as_ref())?, total: None });
    }
    if let ("Billing_Item_Cancellation_Request", "getAllCancellationRequests") =
        (call.service.as_str(), call.method.as_str())
    {
        // Without a limit it gives the latest alone.
        let all = Value::Array(world.cancellations.iter().rev().cloned().collect());
        let call = Call { limit: call.limit.or(Some((0, 25))), ..call.clone() };
        return list(Some(&all), &type_name, "", &call, mask.as_ref(), heavy);
    }
    if call.method == "getAllObjects" {
        return list(Some(&found), &type_name, "", call, mask.as_ref(), heavy);
    }
    if call.method == "getLoadBalancer" {
        return Ok(Answer { value: model::project(&found, &type_name, mask.as_ref())?, total: None });
    }
    if call.method == "getBillingCycleBandwidthUsage" {
        return Ok(Answer { value: json!([]), total: None });
    }
    let property = property(&call.method);
    match model::form(&type_name, &property) {
        Form::None => Err(Refused::no_method(&call.method)),
        Form::Relational(other) => list(found.get(&property), other, &property, call, mask.as_ref(), heavy),
        _ => Ok(Answer { value: found.get(&property).cloned().unwrap_or_default(), total: None }),
    }
}

/// `getHardware` and `Hardware` are both the property `hardware`.
fn property(method: &str) -> String {
    let name = method.strip_prefix("get").unwrap_or(method);
    let mut letters = name.chars();
    letters.next().map(|c| c.to_lowercase().chain(letters).collect()).unwrap_or_default()
}

/// The object that a call is about, and its type.
fn object(world: &World, call: &Call) -> Result<(Value, String), Refused> {
    let by_id = |rows: &[Value], type_name: &str| {
        let id = call.id.ok_or_else(|| Refused::not_found(0))?;
        let found = rows.iter().find(|row| row["id"] == id).cloned();
        Ok((found.ok_or_else(|| Refused::not_found(id))?, type_name.to_owned()))
    };
    match call.service.as_str() {
        "Account" => Ok((account(world, &property(&call.method)), "Account".to_owned())),
        "Hardware" | "Hardware_Server" => by_id(&world.hardware, "Hardware_Server"),
        "Virtual_Guest" => by_id(&world.guests, "Virtual_Guest"),
        "Billing_Item" => by_id(&world.billing_items(), "Billing_Item"),
        // Some of its methods are about no request in particular.
        "Billing_Item_Cancellation_Request" if call.id.is_none() => Ok((Value::Null, call.service.clone())),
        "Billing_Item_Cancellation_Request" => by_id(&world.cancellations, "Billing_Item_Cancellation_Request"),
        "Network_LBaaS_LoadBalancer" if call.method == "getAllObjects" => {
            Ok((Value::Array(world.balancers.all.clone()), call.service.clone()))
        }
        "Network_LBaaS_LoadBalancer" if call.method == "getLoadBalancer" => {
            let uuid = call.parameters.first().cloned().unwrap_or_default();
            let found = world.balancers.all.iter().find(|balancer| balancer["uuid"] == uuid).cloned();
            Ok((found.ok_or_else(|| Refused::not_found(0))?, call.service.clone()))
        }
        "Network_LBaaS_LoadBalancer" => by_id(&world.balancers.all, "Network_LBaaS_LoadBalancer"),
        "Dns_Domain" => by_id(&world.domains, "Dns_Domain"),
        "Dns_Domain_ResourceRecord" => by_id(&world.records(), "Dns_Domain_ResourceRecord"),
        _ => Err(Refused::no_service()),
    }
}

/// The account with one of its lists.
fn account(world: &World, property: &str) -> Value {
    let hourly = |wanted: bool| -> Vec<Value> {
        world.guests.iter().filter(|guest| guest["hourlyBillingFlag"] == wanted).cloned().collect()
    };
    // Besides machines there is what is billed by itself.
    let fee = |item: &Value| item["nextInvoiceTotalRecurringAmount"].as_f64().unwrap_or_default();
    let invoice: f64 = world.billing_items().iter().map(fee).sum::<f64>() + 100.0;
    let mut account = json!({
        "id": 278444, "companyName": "Example", "nextInvoiceTotalAmount": (invoice * 100.0).round() / 100.0,
    });
    let list = match property {
        "hardware" => world.hardware.clone(),
        "virtualGuests" => world.guests.clone(),
        "hourlyVirtualGuests" => hourly(true),
        "monthlyVirtualGuests" => hourly(false),
        "allTopLevelBillingItems" => world.billing_items(),
        "domains" => world.domains.clone(),
        _ => return account,
    };
    account[property] = Value::Array(list);
    account
}

fn list(
    value: Option<&Value>,
    type_name: &str,
    property: &str,
    call: &Call,
    mask: Option<&Mask>,
    heavy: usize,
) -> Result<Answer, Refused> {
    let Some(Value::Array(rows)) = value else {
        return Ok(Answer { value: model::project(value.unwrap_or(&Value::Null), type_name, mask)?, total: None });
    };
    page(rows, type_name, property, call, mask, heavy)
}

fn page(
    rows: &[Value],
    type_name: &str,
    property: &str,
    call: &Call,
    mask: Option<&Mask>,
    heavy: usize,
) -> Result<Answer, Refused> {
    // These come with what they hang on, without a mask.
    if property == "hardDrives" {
        return Ok(Answer { value: Value::Array(rows.to_vec()), total: Some(rows.len()) });
    }
    // Guests by their bills have the filters of all guests.
    let root = if property.ends_with("VirtualGuests") { "virtualGuests" } else { property };
    let root = Some(root).filter(|root| !root.is_empty());
    let rows = filter::apply(rows.iter().collect(), root, call.filter.as_deref());
    let total = rows.len();
    let (offset, limit) = call.limit.unwrap_or((0, usize::MAX));
    let rows: Vec<Value> = rows.into_iter().skip(offset).take(limit).cloned().collect();
    if mask.is_some() && rows.len() > heavy {
        return Err(Refused::internal());
    }
    Ok(Answer { value: model::project(&Value::Array(rows), type_name, mask)?, total: Some(total) })
}
