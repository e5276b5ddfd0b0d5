//! What the account has: machines with their bills, and zones.

use serde_json::{Value, json};

use super::balancer::Balancers;

/// A bare-metal server or a virtual guest to be put into the account.
#[derive(Debug, Clone)]
pub struct Machine {
    pub hostname: String,
    pub domain: String,
    pub datacenter: String,
    pub private: Option<String>,
    pub public: Option<String>,
    pub cores: u64,
    /// GiB.
    pub memory: u64,
    /// GB each.
    pub disks: Vec<u64>,
    pub tags: Vec<String>,
    pub os: String,
    /// Dollars a month of the machine itself, and of what belongs to it.
    pub fees: (f64, Vec<f64>),
    pub hourly: bool,
    pub transaction: Option<String>,
    pub owner: String,
}

impl Default for Machine {
    fn default() -> Self {
        Self {
            hostname: "web01".into(),
            domain: "example.com".into(),
            datacenter: "dal10".into(),
            private: Some("10.1.0.11".into()),
            public: None,
            cores: 12,
            memory: 64,
            disks: vec![960, 960],
            tags: Vec::new(),
            os: "Ubuntu".into(),
            fees: (300.0, vec![112.5]),
            hourly: false,
            transaction: None,
            owner: "ops".into(),
        }
    }
}

/// The account. Objects hold all that belongs to them; masks choose.
#[derive(Debug)]
pub struct World {
    pub hardware: Vec<Value>,
    pub guests: Vec<Value>,
    pub domains: Vec<Value>,
    /// Requests to end what is billed.
    pub cancellations: Vec<Value>,
    pub balancers: Balancers,
    /// Whether machines whose end has been asked for still show what they are billed as: both have been seen.
    pub hides_bills: bool,
    /// Whether the time is over in which a request can be taken back.
    pub is_past_cutoff: bool,
    next: u64,
}

impl Default for World {
    fn default() -> Self {
        Self {
            hardware: Vec::new(),
            guests: Vec::new(),
            domains: Vec::new(),
            cancellations: Vec::new(),
            balancers: Balancers::default(),
            hides_bills: false,
            is_past_cutoff: false,
            next: 1000,
        }
    }
}

/// Money as the API writes it: text, without a zero before the point.
fn decimal(amount: f64) -> String {
    let text = format!("{amount}");
    text.strip_prefix("0.").map_or(text.clone(), |rest| format!(".{rest}"))
}

impl World {
    /// An id that nothing else has.
    pub fn id(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    fn billing(&mut self, machine: &Machine, category: &str) -> Value {
        let (own, children) = &machine.fees;
        let id = self.id();
        let child = |world: &mut Self, fee: &f64| {
            json!({
                "id": world.id(), "categoryCode": "disk0", "description": "960GB SSD", "recurringFee": decimal(*fee),
                "nextInvoiceTotalRecurringAmount": fee, "parentId": id, "cancellationDate": null,
            })
        };
        let children: Vec<Value> = children.iter().map(|fee| child(self, fee)).collect();
        let total = own + machine.fees.1.iter().sum::<f64>();
        json!({
            "id": id, "categoryCode": category, "description": "Dual E5-2690 v3", "hostName": machine.hostname,
            "domainName": machine.domain, "recurringFee": decimal(*own), "recurringMonths": 1, "cancellationDate": null,
            "hourlyRecurringFee": if machine.hourly { ".247" } else { "0" }, "hourlyFlag": machine.hourly, "allowCancellationFlag": 1,
            "createDate": "2019-05-03T10:12:00-06:00", "lastBillDate": "2026-11-03T23:00:00-06:00",
            "nextBillDate": "2026-12-03T23:00:00-06:00", "nextInvoiceTotalRecurringAmount": total,
            "children": children, "nextInvoiceChildren": children, "location": { "name": machine.datacenter },
            "orderItem": { "order": { "userRecord": { "username": machine.owner } } },
            "category": { "name": "Server" },
        })
    }

    fn common(&mut self, machine: &Machine, category: &str) -> Value {
        let id = self.id();
        let (hostname, domain) = (&machine.hostname, &machine.domain);
        let tags: Vec<Value> = machine
            .tags
            .iter()
            .map(|tag| json!({ "id": self.id(), "tag": { "id": self.id(), "name": tag } }))
            .collect();
        let mut object = json!({
            "id": id, "accountId": 278444, "globalIdentifier": format!("1a2b3c-{id}"), "hostname": hostname, "domain": domain,
            "fullyQualifiedDomainName": format!("{hostname}.{domain}"), "provisionDate": "2019-05-03T10:12:00-06:00", "notes": "",
            "hourlyBillingFlag": machine.hourly, "privateNetworkOnlyFlag": machine.public.is_none(),
            "datacenter": { "id": 265592, "name": machine.datacenter, "longName": format!("Center {}", machine.datacenter) },
            "networkVlans": [
                { "id": 9653, "vlanNumber": 1800, "networkSpace": "PRIVATE", "fullyQualifiedName": format!("{}.bcr03.1800", machine.datacenter) },
                { "id": 9654, "vlanNumber": 3672, "networkSpace": "PUBLIC", "fullyQualifiedName": format!("{}.fcr03.3672", machine.datacenter) },
            ],
            "operatingSystem": {
                "id": self.id(), "passwords": [{ "username": "root", "password": "secret" }],
                "softwareLicense": { "softwareDescription": {
                    "manufacturer": "Canonical", "name": machine.os, "version": "22.04-64 LTS", "referenceCode": "UBUNTU_22_64",
                } },
            },
            "softwareComponents": [], "activeTransactionCount": u8::from(machine.transaction.is_some()),
            "tagReferences": tags, "userData": [], "allowedNetworkStorage": [], "networkComponents": [],
            "frontendNetworkComponents": [], "backendNetworkComponents": [], "activeComponents": [], "openCancellationTicket": null,
            "billingItem": self.billing(machine, category),
        });
        // What is not there has no key.
        if let Some(name) = &machine.transaction {
            let status = json!({ "name": name.to_uppercase(), "friendlyName": name });
            object["activeTransaction"] = json!({ "id": self.id(), "transactionStatus": status });
        }
        for (key, address) in [("primaryBackendIpAddress", &machine.private), ("primaryIpAddress", &machine.public)] {
            if let Some(address) = address {
                object[key] = json!(address);
            }
        }
        object
    }

    /// Puts a bare-metal server into the account.
    pub fn add_hardware(&mut self, machine: &Machine) -> u64 {
        let mut object = self.common(machine, "server");
        let id = object["id"].as_u64().expect("an id");
        let drives: Vec<Value> = machine.disks.iter().map(|size| drive(self.id(), *size)).collect();
        let more = json!({
            "bareMetalInstanceFlag": 0, "hardwareStatusId": 5, "hardwareStatus": { "id": 5, "status": "ACTIVE" },
            "serialNumber": format!("SL{id}"), "manufacturerSerialNumber": format!("MF{id}"), "networkManagementIpAddress": "10.1.255.3",
            "processorPhysicalCoreAmount": machine.cores, "processorCoreAmount": 2 * machine.cores, "memoryCapacity": machine.memory,
            "hardDrives": drives, "remoteManagementAccounts": [{ "username": "root", "password": "secret" }],
            "topLevelLocation": { "id": 265592, "longName": "Dallas" },
        });
        extend(&mut object, more);
        self.hardware.push(object);
        id
    }

    /// Puts a virtual guest into the account.
    pub fn add_guest(&mut self, machine: &Machine) -> u64 {
        let mut object = self.common(machine, "guest_core");
        let id = object["id"].as_u64().expect("an id");
        let devices = machine.disks.iter().enumerate().map(|(n, size)| {
            json!({ "device": n.to_string(), "mountType": "Disk", "diskImage": { "capacity": size, "units": "GB" } })
        });
        let more = json!({
            "uuid": format!("1a2b3c-{id}"), "maxCpu": machine.cores, "startCpus": machine.cores, "maxMemory": machine.memory * 1024,
            "status": { "keyName": "ACTIVE", "name": "Active" }, "powerState": { "keyName": "RUNNING", "name": "Running" },
            "statusId": 1001, "createDate": "2019-05-03T10:12:00-06:00", "modifyDate": "2019-05-03T10:12:00-06:00",
            "dedicatedAccountHostOnlyFlag": false, "transientGuestFlag": false, "deviceStatus": { "name": "Running" },
            "blockDevices": devices.collect::<Vec<_>>(),
        });
        extend(&mut object, more);
        self.guests.push(object);
        id
    }

    /// Every top-level billing item.
    pub fn billing_items(&self) -> Vec<Value> {
        let items = self.hardware.iter().chain(&self.guests).map(|machine| machine["billingItem"].clone());
        items.filter(|item| !item.is_null()).collect()
    }
}

fn drive(id: u64, size: u64) -> Value {
    let component =
        json!({ "capacity": size.to_string(), "units": "GB", "hardwareComponentType": { "keyName": "HARD_DRIVE" } });
    json!({
        "id": id, "serialNumber": format!("z{id}"),
        "hardwareComponentModel": {
            "capacity": size.to_string(), "manufacturer": "Micron", "name": "5100", "hardwareGenericComponentModel": component,
        },
    })
}

fn extend(object: &mut Value, more: Value) {
    let (Value::Object(object), Value::Object(more)) = (object, more) else { unreachable!("both are objects") };
    object.extend(more);
}
