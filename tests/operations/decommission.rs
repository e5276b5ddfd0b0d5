//! Sources are given back to whom they are rented from: once, only those of the plan, and only when somebody says so.

use std::fs;

use super::support::*;
use crate::lab::fleet::{BACKEND, Fleet};
use crate::lab::softlayer::world::{Machine, World};
use crate::lab::softlayer::{KEY, SoftLayer, USER};

/// How often each machine has been cancelled, by its host.
fn cancelled(api: &SoftLayer) -> Vec<(String, usize)> {
    let world = api.world();
    let of = |machine: &serde_json::Value| {
        world.cancellations.iter().filter(|request| request["machine"] == machine["id"]).count()
    };
    world.hardware.iter().map(|m| (m["hostname"].as_str().unwrap().to_owned(), of(m))).collect()
}

fn calls(api: &SoftLayer) -> usize {
    api.called().iter().filter(|call| *call == "Billing_Item::cancelItem").count()
}

/// A fleet whose sources are machines of an account, in which there is one more.
fn rented(pairs: usize) -> (Fleet, SoftLayer) {
    let fleet = ramp(pairs);
    let mut world = World::default();
    let root = fleet.place.root().to_owned();
    let inventory = root.join("inventories/lab.yaml");
    let mut text = fs::read_to_string(&inventory).unwrap();
    let line = text.lines().find(|line| line.trim_start().starts_with("dal-[")).unwrap().to_owned();
    let mut lines = Vec::new();
    for source in &fleet.sources {
        let ip = source.sshd.addr().ip().to_string();
        let machine = Machine { hostname: source.name.clone(), private: Some(ip.clone()), ..Machine::default() };
        let id = world.add_hardware(&machine);
        let bill = world.hardware.last().unwrap()["billingItem"]["id"].clone();
        lines.push(format!(
            "  {}: {{site: dal, address: \"{ip}\", vars: {{softlayer_id: \"{id}\", softlayer_kind: hardware, fqdn: {}.example.com, billing: monthly, billing_item: \"{bill}\"}}}}",
            source.name, source.name
        ));
    }
    world.add_hardware(&Machine {
        hostname: "stranger".into(),
        private: Some("10.9.9.9".into()),
        ..Machine::default()
    });
    let groups = fleet.sources.iter().map(|s| s.name.clone()).collect::<Vec<_>>().join(", ");
    text = text.replace(&line, &lines.join("\n")).replace("old: {site: dal}", &format!("old: [{groups}]"));
    fs::write(&inventory, text).unwrap();
    let api = SoftLayer::start(world);
    fs::write(root.join("user"), USER).unwrap();
    fs::write(root.join("key-of-api"), KEY).unwrap();
    let secret = |file: &str| format!("{{file: {}}}", root.join(file).display());
    let settings = format!(
        "    decommission:\n      softlayer: {{username: {}, api_key: {}, endpoint: \"{}\", note: moved}}\n      quiet_for: 300ms\n      interval: 50ms\n",
        secret("user"),
        secret("key-of-api"),
        api.endpoint()
    );
    fleet.place.edit(RAMP, "    hooks:", &format!("{settings}    hooks:"));
    (fleet, api)
}

/// Says the word, by another way than the run.
#[track_caller]
fn retire(fleet: &Fleet, args: &[&str]) -> String {
    let (said, code) = run_as(fleet, "ada", &[&["retire", "web"], args].concat());
    assert_eq!(code, 0, "{said}");
    said
}

/// Somebody changes a member.
fn set(fleet: &Fleet, host: &str, what: &str) {
    fleet.haproxy().command(&format!("set server {BACKEND}/{host} {what}"));
}

#[test]
fn sources_go_back_once_whatever_dies_meanwhile_and_nobody_else_does() {
    let (fleet, api) = rented(2);
    let mut running = apply(&fleet, RAMP);
    // Nothing is said on credit.
    wait_for_intent(&mut running, "web/dal-1/after_pair", false);
    let (early, code) = run_as(&fleet, "ada", &["retire", "web", "dal-1", "--yes"]);
    assert!(code == 1 && early.contains("it has not been seen yet that nobody needs the host"), "{early}");
    for source in ["dal-1", "dal-2"] {
        wait_for_words(&mut running, &format!("web/{source}/give-back"), "migrate retire web-1");
    }
    assert_eq!(calls(&api), 0, "nobody has said so");
    running.kill();
    let said = retire(&fleet, &["--yes"]);
    assert!(said.contains("dal-1 is hardware") && said.contains("nobody was on dal-2"), "{said}");
    assert!(said.contains("nobody works on the run now"), "{said}");
    // Killed when each step of it has begun, and again when it has begun once more.
    for step in ["web/dal-1/cancel", "web/dal-2/cancel", "web/dal-1/reclaimed", "web/dal-2/reclaimed"] {
        let mut running = apply(&fleet, RAMP);
        wait_for_intent(&mut running, step, false);
        running.kill();
    }
    let mut running = apply(&fleet, RAMP);
    for source in ["dal-1", "dal-2"] {
        wait_for_words(&mut running, &format!("web/{source}/reclaimed"), "to be reclaimed: ticket");
    }
    let once = |n: usize| [("dal-1", 1), ("dal-2", n), ("stranger", 0)].map(|(host, n)| (host.to_owned(), n));
    assert_eq!((cancelled(&api), calls(&api)), (once(1).to_vec(), 2));
    let note = api.world().cancellations[0]["notes"].as_str().unwrap().to_owned();
    assert!(note.starts_with("migrate run web-1, dal-") && note.ends_with("; moved"), "{note}");
    // Until the cutoff it can be taken back, and then it is asked for anew.
    running.kill();
    assert!(retire(&fleet, &["dal-2", "--void", "--yes"]).contains("web/dal-2/cancel"));
    assert_eq!(api.world().hardware[1]["openCancellationTicket"], serde_json::Value::Null);
    let mut running = apply(&fleet, RAMP);
    wait_for_words(&mut running, "web/dal-2/give-back", "migrate retire web-1 dal-2");
    assert_eq!(calls(&api), 2, "a word counts once");
    retire(&fleet, &["dal-2", "--yes"]);
    wait_for_words(&mut running, "web/dal-2/reclaimed", "to be reclaimed: ticket");
    assert_eq!(cancelled(&api), once(2).to_vec());
    api.world().reclaim();
    let told = running.finish().expect(0).stdout;
    assert!(told.contains("dal-1 is gone: ticket"), "{told}");
    assert_eq!(cancelled(&api), [("stranger".to_owned(), 0)]);
    // There is no way back now.
    let (said, code) = run_as(&fleet, "ada", &["retire", "web", "dal-1", "--void", "--yes"]);
    assert!(code == 1 && said.contains("no way back past web/dal-1/reclaimed"), "{said}");
}

#[test]
fn a_source_that_comes_back_into_service_is_not_given_back() {
    let (fleet, api) = rented(1);
    let mut running = apply(&fleet, RAMP);
    wait_for_words(&mut running, "web/dal-1/give-back", "migrate retire web-1");
    running.kill();
    retire(&fleet, &["dal-1", "--yes"]);
    set(&fleet, "dal-1", "state ready");
    set(&fleet, "dal-1", "weight 100");
    let ended = apply(&fleet, RAMP).finish();
    assert_ne!(ended.code(), 0);
    assert!(ended.stdout.contains("dal-1"), "{}", ended.stdout);
    assert_eq!(calls(&api), 0);
    set(&fleet, "dal-1", "state maint");
    let mut running = apply(&fleet, RAMP);
    wait_for_words(&mut running, "web/dal-1/reclaimed", "to be reclaimed");
    assert_eq!(calls(&api), 1);
    running.kill();
}

#[test]
fn what_the_inventory_does_not_know_is_refused_when_it_is_planned() {
    let (fleet, api) = rented(1);
    let refused = |from: &str, to: &str| {
        fleet.place.edit("inventories/lab.yaml", from, to);
        let ended = migrate(&fleet).run(&["plan", RAMP]);
        fleet.place.edit("inventories/lab.yaml", to, from);
        assert_eq!(ended.code(), 1, "{}{}", ended.stdout, ended.stderr);
        format!("{}{}", ended.stdout, ended.stderr)
    };
    let told = refused("softlayer_kind: hardware", "softlayer_kind: cloud");
    assert!(told.contains("neither hardware nor virtual_guest"), "{told}");
    let planned = migrate(&fleet).run(&["plan", RAMP]).expect(0).stdout;
    assert!(planned.contains("SoftLayer takes back dal-1 and wipes its disks"), "{planned}");
    assert!(planned.contains("billed by the month"), "{planned}");
    // What SoftLayer itself would refuse at the end is told before anything moves.
    let live = |change: &dyn Fn(&mut serde_json::Value), code: i32| {
        let before = api.world().hardware[0].clone();
        change(&mut api.world().hardware[0]);
        let ended = migrate(&fleet).run(&["plan", RAMP]);
        api.world().hardware[0] = before;
        assert_eq!(ended.code(), code, "{}{}", ended.stdout, ended.stderr);
        ended.stdout
    };
    let renamed = live(&|m| m["fullyQualifiedDomainName"] = "dal-9.example.com".into(), 1);
    assert!(renamed.contains("dal-1: cannot be given back as the plan says") && renamed.contains("dal-9"), "{renamed}");
    let moved = live(&|m| m["primaryBackendIpAddress"] = "10.9.9.8".into(), 1);
    assert!(moved.contains("has the addresses 10.9.9.8"), "{moved}");
    let billed = live(&|m| m["billingItem"]["id"] = 99_999.into(), 1);
    assert!(billed.contains("is billed as 99999"), "{billed}");
    let busy = live(
        &|m| {
            m["activeTransaction"] =
                serde_json::json!({"id": 1, "transactionStatus": {"name": "RELOAD", "friendlyName": "OS Reload"}})
        },
        0,
    );
    assert!(busy.contains("SoftLayer is working on it (OS Reload)"), "{busy}");
    let given = live(&|m| m["openCancellationTicket"] = serde_json::json!({"id": 77}), 0);
    assert!(given.contains("has been given back already (ticket 77"), "{given}");
    fs::write(fleet.place.root().join("key-of-api"), "wrong").unwrap();
    let denied = migrate(&fleet).run(&["plan", RAMP]);
    assert!(denied.code() == 1 && denied.stdout.contains("are not accepted (401)"), "{}", denied.stdout);
    assert_eq!(calls(&api), 0);
}

#[test]
fn a_source_is_wiped_before_it_goes_and_only_its_proof_counts() {
    let (fleet, api) = rented(1);
    let disk = fleet.place.root().join("dal-1/disk");
    fs::write(&disk, "what users wrote").unwrap();
    // A command that ends well and wipes nothing, until somebody mends it.
    let wipe = "      wipe: {run: \"test ! -e {{ lab }}/mended || rm {{ lab }}/{{ name }}/disk\", proof: \"test ! -e {{ lab }}/{{ name }}/disk && echo no disk is left\"}\n";
    fleet.place.edit(RAMP, "      quiet_for: 300ms\n", &format!("      quiet_for: 300ms\n{wipe}"));
    let planned = migrate(&fleet).run(&["plan", RAMP]).expect(0).stdout;
    assert!(planned.contains("web/dal-1/wipe: is a point of no return: the disks of dal-1 are wiped"), "{planned}");
    let mut running = apply(&fleet, RAMP);
    wait_for_words(&mut running, "web/dal-1/give-back", "migrate retire web-1");
    assert!(disk.exists(), "nobody has said so");
    retire(&fleet, &["--yes"]);
    running.finish().expect(3);
    let explained = migrate(&fleet).run(&["explain", "web"]).expect(0).stdout;
    assert!(explained.contains("held at web/dal-1/wipe") && explained.contains("its work is not done"), "{explained}");
    assert_eq!((calls(&api), disk.exists()), (0, true));
    // Somebody is there again: then not even the mended command runs.
    fs::write(fleet.place.root().join("mended"), "").unwrap();
    set(&fleet, "dal-1", "state ready");
    set(&fleet, "dal-1", "weight 100");
    assert_ne!(apply(&fleet, RAMP).finish().code(), 0);
    assert_eq!((calls(&api), disk.exists()), (0, true));
    set(&fleet, "dal-1", "state maint");
    let mut running = apply(&fleet, RAMP);
    wait_for_intent(&mut running, "web/dal-1/wipe", false);
    running.kill();
    let mut running = apply(&fleet, RAMP);
    wait_for_words(&mut running, "web/dal-1/reclaimed", "to be reclaimed: ticket");
    assert_eq!((calls(&api), disk.exists()), (1, false));
    let (told, _) = run_as(&fleet, "ada", &["retire", "web", "--yes"]);
    assert!(told.contains("no disk is left"), "{told}");
    running.kill();
    // There is nothing to go back to.
    let (said, code) = run_as(&fleet, "ada", &["retire", "web", "dal-1", "--void", "--yes"]);
    assert!(code == 1 && said.contains("no way back past web/dal-1/wipe"), "{said}");
}

#[test]
fn what_a_run_without_decommission_has_moved_is_given_back_by_the_next_one() {
    let (fleet, api) = rented(2);
    let plan = fleet.place.root().join(RAMP);
    let with = fs::read_to_string(&plan).unwrap();
    let (head, rest) = with.split_once("    decommission:\n").unwrap();
    let (_, tail) = rest.split_once("    hooks:").unwrap();
    fs::write(&plan, format!("{head}    hooks:{tail}")).unwrap();
    migrate(&fleet).run(&["apply", RAMP, "--yes"]).expect(0);
    let (said, code) = run_as(&fleet, "ada", &["retire", "web", "--yes"]);
    assert!(code == 1 && said.contains("what this run has moved is given back, too"), "{said}");
    fs::write(&plan, &with).unwrap();
    // The first name stands for another machine now: what was seen was seen of the old one.
    let other = "vars: {softlayer_id: \"4711\",";
    let id = api.world().hardware[0]["id"].to_string();
    fleet.place.edit("inventories/lab.yaml", &format!("vars: {{softlayer_id: \"{id}\","), other);
    let planned = migrate(&fleet).run(&["plan", RAMP]).stdout;
    assert!(
        planned.contains("dal-1: has moved already, and dal-1 was another machine in the inventory of web-1"),
        "{planned}"
    );
    fleet.place.edit("inventories/lab.yaml", other, &format!("vars: {{softlayer_id: \"{id}\","));
    let planned = migrate(&fleet).run(&["plan", RAMP]).expect(0).stdout;
    assert!(planned.contains("dal-1: has moved in run web-1, which has seen to its copy"), "{planned}");
    assert!(planned.contains("dal-2 → fra-2  the same steps") && !planned.contains("shift"), "{planned}");
    let mut running = apply(&fleet, RAMP);
    for source in ["dal-1", "dal-2"] {
        wait_for_words(&mut running, &format!("web/{source}/give-back"), "migrate retire web-2");
    }
    running.kill();
    retire(&fleet, &["dal-2", "--yes"]);
    let mut running = apply(&fleet, RAMP);
    wait_for_words(&mut running, "web/dal-2/reclaimed", "to be reclaimed: ticket");
    let gone = [("dal-1", 0), ("dal-2", 1), ("stranger", 0)].map(|(host, n)| (host.to_owned(), n));
    assert_eq!((cancelled(&api), calls(&api)), (gone.to_vec(), 1));
    // Somebody is on the other one after all: the word for it does not count for that.
    set(&fleet, "dal-1", "state ready");
    set(&fleet, "dal-1", "weight 100");
    retire(&fleet, &["dal-1", "--yes"]);
    running.finish().expect(3);
    let explained = migrate(&fleet).run(&["explain", "web"]).expect(0).stdout;
    assert!(explained.contains("dal-1 is not given back"), "{explained}");
    set(&fleet, "dal-1", "state maint");
    let mut running = apply(&fleet, RAMP);
    wait_for_words(&mut running, "web/dal-1/reclaimed", "to be reclaimed: ticket");
    api.world().reclaim();
    running.finish().expect(0);
    assert_eq!(cancelled(&api), [("stranger".to_owned(), 0)]);
    // And that is all there was.
    let planned = migrate(&fleet).run(&["plan", RAMP]);
    assert!(planned.stdout.contains("is gone"), "{}", planned.stdout);
}
