//! Hosts from SoftLayer: the double held to slcli, and what inventories make of an account on good and on bad days.

use std::process::Command;

use crate::cli::run::Ran;
use crate::lab::softlayer::cli::{run as slcli, said};
use crate::lab::softlayer::world::{Machine, World};
use crate::lab::softlayer::{Fault, KEY, SoftLayer, USER};

/// Two servers in Dallas and one in Frankfurt, and a virtual guest.
fn account() -> World {
    let mut world = World::default();
    let machine = |hostname: &str, datacenter: &str, private: &str| Machine {
        hostname: hostname.into(),
        datacenter: datacenter.into(),
        private: Some(private.into()),
        tags: vec!["messenger".into(), "ops team".into()],
        ..Machine::default()
    };
    world.add_hardware(&Machine { public: Some("198.51.100.1".into()), ..machine("chat01", "dal10", "10.1.0.11") });
    world.add_hardware(&Machine { transaction: Some("OS Reload".into()), ..machine("chat02", "dal10", "10.1.0.12") });
    world.add_hardware(&Machine { tags: vec!["other".into()], ..machine("chat03", "fra02", "10.2.0.13") });
    world.add_guest(&Machine { cores: 2, memory: 4, disks: vec![100, 2], ..machine("relay01", "dal10", "10.1.0.21") });
    world
}

#[test]
fn slcli_finds_in_the_double_what_it_finds_at_softlayer() {
    let api = SoftLayer::start(account());
    let names = |listed: &serde_json::Value| -> Vec<String> {
        listed.as_array().unwrap().iter().map(|row| row["hostname"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(names(&said(&api, &["hardware", "list"])), ["chat01", "chat02", "chat03"]);
    assert_eq!(names(&said(&api, &["hardware", "list", "--tag", "messenger"])), ["chat01", "chat02"]);
    assert_eq!(names(&said(&api, &["hardware", "list", "-d", "fra02"])), ["chat03"]);
    assert_eq!(names(&said(&api, &["hardware", "list", "-H", "chat0*"])).len(), 3);
    let detail = said(&api, &["hardware", "detail", "chat01", "--price"]);
    assert_eq!(detail["datacenter"], "dal10");
    assert_eq!((&detail["cores"], &detail["memory"]), (&12.into(), &65_536.into()));
    assert_eq!(detail["owner"], "ops");
    assert_eq!(detail["drives"].as_array().unwrap().len(), 2);
    assert_eq!(detail["prices"][0]["Recurring Price"], 412.5);
    assert_eq!(names(&said(&api, &["vs", "list"])), ["relay01"]);
    assert_eq!(said(&api, &["vs", "detail", "relay01"])["cores"], 2);
    assert_eq!(said(&api, &["account", "billing-items"]).as_array().unwrap().len(), 4);
    let invoice = said(&api, &["call-api", "Account", "getObject", "--mask", "id,nextInvoiceTotalAmount"]);
    assert_eq!((&invoice["id"], &invoice["nextInvoiceTotalAmount"]), (&278_444.into(), &1750.0.into()));
    // Page after page.
    let (limit, mask) = (["--limit", "2", "--offset", "1"], ["--mask", "id,hostname"]);
    let call = [&["call-api", "Account", "getHardware"][..], &limit, &mask].concat();
    assert_eq!(names(&said(&api, &call)), ["chat02", "chat03"]);
    // What is not there, and what no type has.
    let gone = slcli(&api, &["hardware", "detail", "424242"]);
    assert!(!gone.status.success());
    let bad = slcli(&api, &["call-api", "Account", "getHardware", "--mask", "id,powerState"]);
    let complaint = String::from_utf8_lossy(&[bad.stdout, bad.stderr].concat()).into_owned();
    assert!(complaint.contains("not valid for 'SoftLayer_Hardware'"), "{complaint}");
}

#[test]
fn slcli_changes_records_of_the_double_as_it_does_at_softlayer() {
    let mut world = World::default();
    let zone = world.add_zone("lab.test");
    world.add_record(zone, "mail", "a", "192.0.2.9", 900);
    let api = SoftLayer::start(world);
    let zones = said(&api, &["dns", "zone-list"]);
    assert_eq!((&zones[0]["zone"], &zones[0]["records"]), (&"lab.test".into(), &4.into()));
    let does = |words: &[&str]| slcli(&api, &[&["dns"], words].concat()).status.success();
    assert!(does(&["record-add", "www", "A", "192.0.2.7", "--zone", "lab.test", "--ttl", "60"]));
    let www = || said(&api, &["dns", "record-list", "lab.test", "--record", "www"]);
    let row = &www()[0];
    assert_eq!((&row["type"], &row["ttl"], &row["data"]), (&"A".into(), &60.into(), &"192.0.2.7".into()));
    let id = row["id"].to_string();
    assert!(does(&["record-edit", "lab.test", "--by-id", &id, "--data", "192.0.2.8", "--ttl", "30"]));
    assert_eq!((&www()[0]["ttl"], &www()[0]["data"]), (&30.into(), &"192.0.2.8".into()));
    let serial = |zones: &serde_json::Value| {
        let serial = zones[0]["serial"].to_string();
        serial.trim_matches('"').parse::<u64>().unwrap()
    };
    assert_eq!(serial(&said(&api, &["dns", "zone-list"])), serial(&zones) + 2);
    assert!(does(&["record-remove", &id]) && !does(&["record-remove", &id]));
    assert_eq!(said(&api, &["dns", "record-list", "lab.test"]).as_array().unwrap().len(), 4);
}

/// An inventory whose hosts come from the account, in a directory of its own.
struct Inventory {
    api: SoftLayer,
    dir: tempfile::TempDir,
}

impl Inventory {
    fn of(world: World, source: &str) -> Self {
        let inventory = Self { api: SoftLayer::start(world), dir: tempfile::tempdir().unwrap() };
        inventory.write(source);
        inventory
    }

    /// `ENDPOINT` in the text stands for that of the double.
    fn write(&self, source: &str) {
        let text = format!("sources:\n  dallas:\n{source}\ndefaults: {{ ssh: {{ user: deploy }} }}\n");
        let endpoint = format!("endpoint: {}", self.api.endpoint());
        std::fs::write(self.dir.path().join("fleet.yaml"), text.replace("ENDPOINT", &endpoint)).unwrap();
    }

    fn migrate(&self, args: &[&str]) -> Ran {
        self.migrate_as(KEY, args)
    }

    fn command(&self, key: &str, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_migrate"));
        command.current_dir(self.dir.path()).env_clear().env("HOME", self.dir.path()).env("COLUMNS", "100");
        command.env("MIGRATE_STATE_DIR", self.dir.path().join("state")).env("SL_USERNAME", USER).env("SL_API_KEY", key);
        command.args(args);
        command
    }

    fn migrate_as(&self, key: &str, args: &[&str]) -> Ran {
        let output = self.command(key, args).output().unwrap();
        Ran {
            code: output.status.code().unwrap_or(-1),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }

    #[track_caller]
    fn shown(&self, args: &[&str]) -> String {
        let ran = self.migrate(&[&["inventory", "show", "fleet.yaml"], args].concat());
        assert_eq!(ran.code, 0, "{}", ran.err);
        ran.out
    }

    /// Why nothing is shown.
    #[track_caller]
    fn refused(&self) -> String {
        let ran = self.migrate(&["inventory", "show", "fleet.yaml"]);
        assert_eq!((ran.code, ran.out.as_str()), (1, ""), "{}", ran.err);
        ran.err
    }
}

#[test]
fn machines_of_an_account_are_hosts_with_all_that_is_known_of_them() {
    let fleet = Inventory::of(account(), "    softlayer: { datacenter: dal10, ENDPOINT }\n    tags: [leaving]");
    let table = fleet.shown(&[]);
    insta::assert_snapshot!("softlayer_hosts", table);
    let json: serde_json::Value = serde_json::from_str(&fleet.shown(&["chat01", "--format", "json"])).unwrap();
    let host = &json[0];
    assert_eq!(host["ssh"]["user"], "deploy");
    assert_eq!(host["cost_per_month"], serde_json::json!({ "cents": 41250, "currency": "USD" }));
    assert_eq!(host["vars"]["public_address"], "198.51.100.1");
    assert_eq!(host["vars"]["fqdn"], "chat01.example.com");
    assert_eq!(host["vars"]["disks"], "960+960");
    // What is shown as YAML is an inventory that shows the same.
    std::fs::write(fleet.dir.path().join("kept.yaml"), fleet.shown(&["--format", "yaml"])).unwrap();
    let kept = fleet.migrate(&["inventory", "show", "kept.yaml"]);
    assert_eq!(kept.out, table, "{}", kept.err);
    let csv = fleet.shown(&["tag=messenger", "name=*01", "--format", "csv"]);
    assert_eq!(
        csv.lines().map(|line| line.split(',').next().unwrap()).collect::<Vec<_>>(),
        ["host", "chat01", "relay01"]
    );
    // No host that was not asked for, whatever comes.
    fleet.api.manners().ignores_filters = true;
    assert_eq!(fleet.shown(&[]), table);
    assert!(!table.contains(KEY));
}

#[test]
fn rules_say_what_hosts_are_called_and_which_address_counts() {
    let fleet = Inventory::of(
        account(),
        "    softlayer: { machines: hardware, tags: messenger, ENDPOINT }\n    name: \"sl-{{ softlayer_id }}\"\n    address: [public, private]\n    capacity: \"{{ cores }}\"\n    site: \"old-{{ datacenter }}\"",
    );
    let json: serde_json::Value = serde_json::from_str(&fleet.shown(&["--format", "json"])).unwrap();
    let hosts: Vec<(&str, &str, &str, u64)> = json
        .as_array()
        .unwrap()
        .iter()
        .map(|h| {
            (
                h["name"].as_str().unwrap(),
                h["address"].as_str().unwrap(),
                h["site"].as_str().unwrap(),
                h["capacity"].as_u64().unwrap(),
            )
        })
        .collect();
    assert_eq!(hosts.len(), 2);
    assert_eq!((hosts[0].1, hosts[1].1), ("198.51.100.1", "10.1.0.12"));
    assert!(hosts.iter().all(|h| h.0.starts_with("sl-") && h.2 == "old-dal10" && h.3 == 12), "{hosts:?}");
}

#[test]
fn what_cannot_become_hosts_says_which_machines_and_what_to_do() {
    let fleet = Inventory::of(account(), "    softlayer: { ENDPOINT }\n    address: public");
    let refused = fleet.refused();
    assert!(refused.contains("3 hosts with no public address: hardware"), "{refused}");
    assert!(refused.contains("fleet.yaml:2:3"), "{refused}");
    fleet.api.world().add_hardware(&Machine {
        hostname: "chat01".into(),
        domain: "example.org".into(),
        ..Machine::default()
    });
    fleet.write("    softlayer: { ENDPOINT }");
    let refused = fleet.refused();
    assert!(refused.contains("`chat01` is hardware") && refused.contains("chat01.example.org"), "{refused}");
    assert!(refused.contains("{{ fqdn }}"), "{refused}");
    fleet.write("    softlayer: { ENDPOINT }\n    name: \"{{ fqdn }}\"");
    assert!(fleet.shown(&[]).contains("5 hosts"));
}

#[test]
fn bad_days_are_told_as_they_are() {
    let fleet = Inventory::of(account(), "    softlayer: { machines: hardware, ENDPOINT }");
    let wanted = fleet.shown(&[]);
    // What passes is waited for; each of these comes once.
    for fault in
        [Fault::Cut, Fault::ErrorWith200, Fault::Empty, Fault::Gateway(502), Fault::TooMany(500), Fault::TooMany(429)]
    {
        fleet.api.manners().faults.push_back(fault);
        assert_eq!(fleet.shown(&[]), wanted, "{fault:?}");
    }
    // A list without its length is read to its end.
    fleet.api.manners().totals = false;
    assert_eq!(fleet.shown(&[]), wanted);
    let denied = fleet.migrate_as("not-the-key", &["inventory", "show", "fleet.yaml"]);
    assert_eq!(denied.code, 1);
    assert!(denied.err.contains("not accepted (401)") && denied.err.contains("$SL_API_KEY"), "{}", denied.err);
    assert!(!denied.err.contains("not-the-key"), "{}", denied.err);
    let unknown = fleet.migrate_as("", &["inventory", "show", "fleet.yaml"]);
    assert!(unknown.err.contains("no api key is known") && unknown.err.contains("slcli setup"), "{}", unknown.err);
    // Settings of slcli do as well.
    std::fs::rename(fleet.api.settings(fleet.dir.path()), fleet.dir.path().join(".softlayer")).unwrap();
    assert_eq!(fleet.migrate_as("", &["inventory", "show", "fleet.yaml"]).out, wanted);
    fleet.api.manners().faults.extend([Fault::Gateway(503); 5]);
    let down = fleet.refused();
    assert!(down.contains("Account::getHardware: status 503"), "{down}");
}

#[test]
fn saved_copies_stand_in_where_nothing_is_contacted_and_changes_are_told() {
    let fleet = Inventory::of(account(), "    softlayer: { machines: hardware, datacenter: dal10, ENDPOINT }");
    let none = fleet.migrate(&["inventory", "show", "fleet.yaml", "--offline"]);
    assert!(
        none.err.contains("nothing is contacted here") && none.err.contains("migrate inventory fetch fleet.yaml"),
        "{}",
        none.err
    );
    let fetched = fleet.migrate(&["inventory", "fetch", "fleet.yaml"]);
    assert_eq!(fetched.out, "dallas: 2 hosts in fleet.dallas.fetched.yaml\n", "{}", fetched.err);
    let live = fleet.shown(&[]);
    let asked = fleet.api.called().len();
    assert_eq!(fleet.shown(&["--offline"]), live);
    assert_eq!(fleet.api.called().len(), asked);
    {
        let mut world = fleet.api.world();
        world.hardware[0]["primaryBackendIpAddress"] = "10.1.0.99".into();
        world.hardware.remove(1);
        world.add_hardware(&Machine { hostname: "chat09".into(), ..Machine::default() });
    }
    // What a plan of one service between two hosts makes of it.
    let plan = "migration: m\ninventory: fleet.yaml\nservices:\n  chat:\n    move: { from: [chat01], to: [chat09] }\n    state: [{ directory: /srv }]\n";
    std::fs::write(fleet.dir.path().join("plan.yaml"), plan).unwrap();
    let offline = fleet.migrate(&["validate", "plan.yaml"]);
    assert!(offline.err.contains("`chat09` is neither a group nor a host"), "{}", offline.err);
    let planned = fleet.migrate(&["plan", "plan.yaml", "--format", "json"]);
    let proposal: serde_json::Value =
        serde_json::from_str(&planned.out).unwrap_or_else(|e| panic!("{e}: {}", planned.err));
    let findings = proposal["findings"].as_array().unwrap();
    let told: Vec<String> = findings
        .iter()
        .filter(|f| f["about"] == "softlayer:dallas")
        .map(|f| f["what"].as_str().unwrap().split(", ").skip(1).collect::<Vec<_>>().join(", "))
        .collect();
    assert_eq!(
        told,
        [
            "1 host is changed: chat01 (address 10.1.0.11 → 10.1.0.99, private_address 10.1.0.11 → 10.1.0.99)",
            "1 host is gone: chat02",
            "1 host is new: chat09"
        ]
    );
    let again = fleet.migrate(&["inventory", "fetch", "fleet.yaml"]);
    assert!(again.out.contains("  1 host is gone: chat02\n"), "{}", again.out);
}

#[test]
fn large_accounts_are_read_whole_at_the_pace_that_is_allowed() {
    let mut world = World::default();
    for n in 0..2_500_u64 {
        let private = Some(format!("10.{}.{}.{}", n / 62_500, n / 250 % 250, n % 250));
        world.add_hardware(&Machine {
            hostname: format!("chat{n:05}"),
            private,
            disks: vec![960],
            ..Machine::default()
        });
    }
    let fleet = Inventory::of(world, "    softlayer: { machines: hardware, ENDPOINT }");
    // Answers of more than this many rows fail, and are asked for in smaller parts.
    fleet.api.manners().heavy = 60;
    let table = fleet.shown(&[]);
    assert!(table.ends_with("2500 hosts\n") || table.ends_with("2,500 hosts\n"), "{}", &table[table.len() - 40..]);
    let busiest = fleet.api.busiest_second();
    assert!(busiest <= 50, "{busiest} requests in a second");
    assert!(fleet.migrate(&["inventory", "fetch", "fleet.yaml"]).out.contains("and 1 more"));
    assert!(fleet.dir.path().join("fleet.dallas.fetched.2.yaml").exists());
    assert_eq!(fleet.shown(&["--offline"]), table);
}

#[test]
fn the_bill_of_hosts_stands_beside_the_invoice_of_their_account() {
    let fleet = Inventory::of(account(), "    softlayer: { datacenter: dal10, ENDPOINT }");
    let write = |name: &str, text: &str| std::fs::write(fleet.dir.path().join(name), text).unwrap();
    write("own.yaml", "hosts:\n  fra1: { address: 10.9.0.1 }\n");
    write(
        "plan.yaml",
        "migration: out\ninventory: [fleet.yaml, own.yaml]\nservices:\n  chat:\n    move: { from: chat01, to: fra1 }\n    state: { directory: /srv/chat }\n",
    );
    let told = fleet.migrate(&["cost", "plan.yaml"]);
    assert_eq!(told.code, 0, "{}", told.err);
    // Three machines of 412.50, one in Frankfurt, and what is billed by itself.
    assert!(
        told.out.contains("on the next invoice") && told.out.contains("512.50 USD more than these"),
        "{}",
        told.out
    );
    assert_eq!(fleet.migrate(&["inventory", "fetch", "fleet.yaml"]).code, 0);
    assert_eq!(fleet.migrate(&["cost", "plan.yaml", "--offline"]).out, told.out);
    // Who may not see it has a bill all the same.
    let kept = fleet.dir.path().join("fleet.dallas.fetched.yaml");
    let text = std::fs::read_to_string(&kept).unwrap();
    std::fs::write(&kept, text.split("invoices:").next().unwrap()).unwrap();
    let without = fleet.migrate(&["cost", "plan.yaml", "--offline"]).out;
    assert!(without.contains("Bill:") && !without.contains("invoice"), "{without}");
}
