//! A machine as SoftLayer tells of it: any part of it may be missing.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::inventory::found::Found;
use crate::inventory::money;

/// What kind of machines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Bare metal.
    Hardware,
    /// Virtual guests.
    Guests,
}

impl Kind {
    /// The method that lists them.
    pub fn getter(self) -> &'static str {
        match self {
            Self::Hardware => "getHardware",
            Self::Guests => "getVirtualGuests",
        }
    }

    /// What their filters begin at.
    pub fn root(self) -> &'static str {
        match self {
            Self::Hardware => "hardware",
            Self::Guests => "virtualGuests",
        }
    }

    /// Every field by name: what a mask does not name may come or not.
    pub fn mask(self) -> &'static str {
        match self {
            Self::Hardware => {
                "[mask[id,globalIdentifier,hostname,domain,fullyQualifiedDomainName,provisionDate,serialNumber,hourlyBillingFlag,
                  primaryIpAddress,primaryBackendIpAddress,networkManagementIpAddress,datacenter[id,name],hardwareStatus[id,status],
                  processorPhysicalCoreAmount,memoryCapacity,networkVlans[id,vlanNumber,networkSpace],tagReferences[id,tag[id,name]],
                  operatingSystem[id,softwareLicense[id,softwareDescription[id,name,version]]],
                  hardDrives[id,hardwareComponentModel[id,capacity,hardwareGenericComponentModel[id,capacity,units]]],
                  billingItem[id,recurringFee,hourlyRecurringFee,nextInvoiceTotalRecurringAmount,cancellationDate,nextBillDate,
                   children[id,recurringFee,hourlyRecurringFee,cancellationDate],orderItem[order[userRecord[username]]]]],
                  mask(SoftLayer_Hardware_Server)[activeTransaction[id,transactionStatus[name,friendlyName]],openCancellationTicket[id]]]"
            }
            Self::Guests => {
                "mask[id,globalIdentifier,hostname,domain,fullyQualifiedDomainName,provisionDate,hourlyBillingFlag,maxCpu,maxMemory,
                  primaryIpAddress,primaryBackendIpAddress,datacenter[id,name],status[keyName],networkVlans[id,vlanNumber,networkSpace],
                  tagReferences[id,tag[id,name]],operatingSystem[id,softwareLicense[id,softwareDescription[id,name,version]]],
                  blockDevices[device,mountType,diskImage[capacity,units]],
                  billingItem[id,recurringFee,hourlyRecurringFee,nextInvoiceTotalRecurringAmount,cancellationDate,nextBillDate,
                   children[id,recurringFee,hourlyRecurringFee,cancellationDate],orderItem[order[userRecord[username]]]],
                  activeTransaction[id,transactionStatus[name,friendlyName]],openCancellationTicket[id]]"
            }
        }
    }

    fn word(self) -> &'static str {
        match self {
            Self::Hardware => "hardware",
            Self::Guests => "virtual_guest",
        }
    }
}

/// Text or a number, as text.
fn words(value: Option<&Value>) -> Option<String> {
    match value? {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

fn number(value: Option<&Value>) -> Option<f64> {
    words(value)?.parse().ok()
}

/// Flags come as booleans and as numbers.
fn flag(value: Option<&Value>) -> bool {
    value.is_some_and(|v| v.as_bool().unwrap_or_else(|| number(Some(v)).is_some_and(|n| n != 0.0)))
}

fn list<'a>(row: &'a Value, key: &str) -> impl Iterator<Item = &'a Value> {
    row.get(key).and_then(Value::as_array).into_iter().flatten()
}

/// The labels of a machine.
pub fn tags(row: &Value) -> impl Iterator<Item = &str> {
    list(row, "tagReferences").filter_map(|reference| reference.pointer("/tag/name")?.as_str())
}

/// What is known of a machine.
pub fn found(kind: Kind, row: &Value) -> Found {
    let at = |pointer: &str| words(row.pointer(pointer));
    let id = at("/id").unwrap_or_default();
    let name = at("/fullyQualifiedDomainName").or_else(|| at("/hostname"));
    let mut found = Found {
        origin: format!(
            "{} {id}{}",
            kind.word().replace('_', " "),
            name.map(|n| format!(" ({n})")).unwrap_or_default()
        ),
        tags: tags(row).map(str::to_owned).collect(),
        cost: cost(row),
        warnings: warnings(row),
        ..Found::default()
    };
    for (fact, pointer) in [
        ("softlayer_id", "/id"),
        ("softlayer_guid", "/globalIdentifier"),
        ("hostname", "/hostname"),
        ("domain", "/domain"),
        ("fqdn", "/fullyQualifiedDomainName"),
        ("datacenter", "/datacenter/name"),
        ("private_address", "/primaryBackendIpAddress"),
        ("public_address", "/primaryIpAddress"),
        ("management_address", "/networkManagementIpAddress"),
        ("serial", "/serialNumber"),
        ("provisioned", "/provisionDate"),
        ("billing_item", "/billingItem/id"),
        ("next_bill", "/billingItem/nextBillDate"),
        ("owner", "/billingItem/orderItem/order/userRecord/username"),
    ] {
        found.fact(fact, at(pointer));
    }
    found.fact("softlayer_kind", Some(kind.word().to_owned()));
    found.fact("billing", Some(if flag(row.get("hourlyBillingFlag")) { "hourly" } else { "monthly" }.to_owned()));
    let (name, version) = ("/operatingSystem/softwareLicense/softwareDescription/name", "version");
    let version = at(&name.replace("name", version)).unwrap_or_default();
    found.fact("os", at(name).map(|name| format!("{name} {version}")));
    let vlan = |space: &str| {
        let is = |vlan: &&Value| vlan.get("networkSpace").and_then(Value::as_str) == Some(space);
        words(list(row, "networkVlans").find(is)?.get("vlanNumber"))
    };
    found.fact("private_vlan", vlan("PRIVATE"));
    found.fact("public_vlan", vlan("PUBLIC"));
    size(kind, row, &mut found);
    found
}

/// Cores, memory and disks, in the same units for both kinds.
fn size(kind: Kind, row: &Value, found: &mut Found) {
    let (cores, memory) = match kind {
        Kind::Hardware => (row.get("processorPhysicalCoreAmount"), number(row.get("memoryCapacity"))),
        Kind::Guests => (row.get("maxCpu"), number(row.get("maxMemory")).map(|mib| mib / 1024.0)),
    };
    found.fact("cores", words(cores));
    found.fact("memory_gib", memory.map(|gib| gib.to_string()));
    let disks: Vec<f64> = match kind {
        Kind::Hardware => list(row, "hardDrives").filter_map(drive_size).collect(),
        // The second device of a guest is its swap.
        Kind::Guests => list(row, "blockDevices")
            .filter(|device| device.get("mountType").and_then(Value::as_str) == Some("Disk"))
            .filter(|device| words(device.get("device")).is_none_or(|n| n != "1"))
            .filter_map(|device| {
                in_gb(number(device.pointer("/diskImage/capacity"))?, device.pointer("/diskImage/units"))
            })
            .collect(),
    };
    if !disks.is_empty() {
        found.fact("disk_gb", Some(disks.iter().sum::<f64>().to_string()));
        found.fact("disks", Some(disks.iter().map(f64::to_string).collect::<Vec<_>>().join("+")));
    }
}

fn drive_size(drive: &Value) -> Option<f64> {
    let generic = drive.pointer("/hardwareComponentModel/hardwareGenericComponentModel");
    let capacity = generic.and_then(|g| number(g.get("capacity")));
    let capacity = capacity.or_else(|| number(drive.pointer("/hardwareComponentModel/capacity")))?;
    in_gb(capacity, generic.and_then(|g| g.get("units")))
}

fn in_gb(capacity: f64, units: Option<&Value>) -> Option<f64> {
    match units.and_then(Value::as_str).unwrap_or("GB").to_ascii_uppercase().as_str() {
        "GB" => Some(capacity),
        "TB" => Some(capacity * 1000.0),
        "MB" => Some(capacity / 1000.0),
        _ => None,
    }
}

/// Hours of a month, as SoftLayer counts them.
const HOURS: u64 = 730;

/// The fee of the machine itself is for its chassis: what hangs on it has fees of its own.
fn cost(row: &Value) -> Option<String> {
    let item = row.get("billingItem").filter(|item| item.is_object())?;
    let active = |item: &Value| item.get("cancellationDate").is_none_or(Value::is_null);
    let hourly = flag(row.get("hourlyBillingFlag"));
    let fee = |item: &Value| {
        let key = if hourly { "hourlyRecurringFee" } else { "recurringFee" };
        let (amount, times) = (money::thousandths(&words(item.get(key))?)?, if hourly { HOURS } else { 1 });
        amount.checked_mul(times)
    };
    let own = fee(item)?;
    let thousandths = match item.get("children") {
        Some(Value::Array(children)) => children
            .iter()
            .filter(|c| active(c))
            .try_fold(own, |sum, child| sum.checked_add(fee(child).unwrap_or(0)))?,
        _ if hourly => own,
        _ => money::thousandths(&words(item.get("nextInvoiceTotalRecurringAmount"))?)?,
    };
    Some(money::dollars(thousandths))
}

fn warnings(row: &Value) -> Vec<String> {
    let at = |pointer: &str| words(row.pointer(pointer)).filter(|w| !w.is_empty());
    let mut warnings = Vec::new();
    if row.get("activeTransaction").is_some_and(Value::is_object) {
        let status = "/activeTransaction/transactionStatus";
        let name = at(&format!("{status}/friendlyName")).or_else(|| at(&format!("{status}/name")));
        warnings.push(format!("SoftLayer is working on it: {}", name.unwrap_or_else(|| "a transaction runs".into())));
    }
    if let Some(ticket) = at("/openCancellationTicket/id") {
        warnings.push(format!("its cancellation has been asked for: ticket {ticket}"));
    }
    if let Some(date) = at("/billingItem/cancellationDate") {
        warnings.push(format!("it is cancelled from {date} on"));
    }
    let status = at("/hardwareStatus/status").or_else(|| at("/status/keyName")).filter(|status| status != "ACTIVE");
    warnings.extend(status.map(|status| format!("its status at SoftLayer is {status}")));
    if !row.get("billingItem").is_some_and(Value::is_object) {
        warnings.push("it has no billing item: what it costs is not known, and it may be cancelled already".into());
    }
    warnings.iter().map(|warning| crate::text::escape(warning.as_bytes(), 200)).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_machine_of_which_next_to_nothing_is_known_is_one() {
        let row = json!({ "id": 1003, "memoryCapacity": null, "billingItem": null });
        let found = found(Kind::Hardware, &row);
        assert_eq!(found.origin, "hardware 1003");
        assert_eq!(found.cost, None);
        assert_eq!(
            found.facts.keys().map(String::as_str).collect::<Vec<_>>(),
            ["billing", "softlayer_id", "softlayer_kind"]
        );
    }

    #[test]
    fn a_machine_costs_what_it_and_all_that_hangs_on_it_cost() {
        let children =
            json!([{ "recurringFee": "112.5" }, { "recurringFee": 10, "cancellationDate": "2026-01-01" }, {}]);
        let item = json!({ "recurringFee": "300", "hourlyRecurringFee": ".247", "children": children, "nextInvoiceTotalRecurringAmount": 9 });
        let cost_of = |hourly: Value, item: &Value| cost(&json!({ "hourlyBillingFlag": hourly, "billingItem": item }));
        assert_eq!(cost_of(json!(false), &item).as_deref(), Some("412.50 USD"));
        assert_eq!(cost_of(json!(1), &item).as_deref(), Some("180.31 USD"));
        let whole = json!({ "recurringFee": 1.54, "nextInvoiceTotalRecurringAmount": 16.08 });
        assert_eq!(cost_of(json!(0), &whole).as_deref(), Some("16.08 USD"));
    }

    #[test]
    fn sizes_are_in_the_same_units_for_all_kinds() {
        let disk = |capacity: Value, units: &str| json!({ "hardwareComponentModel": { "hardwareGenericComponentModel": { "capacity": capacity, "units": units } } });
        let row =
            json!({ "id": 1, "memoryCapacity": 64, "hardDrives": [disk(json!("960"), "GB"), disk(json!(1.2), "TB")] });
        let server = found(Kind::Hardware, &row).facts;
        assert_eq!([&server["memory_gib"], &server["disk_gb"], &server["disks"]], ["64", "2160", "960+1200"]);
        let device = |n: &str, size: u64| json!({ "device": n, "mountType": "Disk", "diskImage": { "capacity": size, "units": "GB" } });
        let row = json!({ "id": 1, "maxCpu": 2, "maxMemory": 1024, "blockDevices": [device("0", 100), device("1", 2), device("2", 25)] });
        let guest = found(Kind::Guests, &row).facts;
        assert_eq!([&guest["memory_gib"], &guest["disk_gb"], &guest["cores"]], ["1", "125", "2"]);
    }

    #[test]
    fn what_speaks_against_moving_a_machine_is_told() {
        let row = json!({
            "id": 1, "activeTransaction": { "transactionStatus": { "name": "RELOAD", "friendlyName": "OS Reload" } },
            "openCancellationTicket": { "id": 77 }, "hardwareStatus": { "status": "DEPLOY" },
            "billingItem": { "id": 2, "cancellationDate": "2026-12-03T23:00:00-06:00" },
        });
        let told = warnings(&row);
        assert_eq!(told.len(), 4, "{told:?}");
        assert!(
            told[0].ends_with("OS Reload") && told[1].ends_with("ticket 77") && told[3].ends_with("DEPLOY"),
            "{told:?}"
        );
    }
}
