//! Two people, each with a controller on a machine of their own, and one store.

use std::fs;

use migrate::store;
use serde_json::Value;

use super::cluster::open_at;
use super::machines::{assert_sealed, on, wait_for};
use crate::lab::etcd::Etcd;
use crate::operations::support::*;

/// Moves files alone; its freeze waits for the file `go`.
const FILES: &str = r#"migration: files
inventory: ../inventories/lab.yaml
services:
  files:
    move: {from: [dal-2], to: [fra-2]}
    state: {directory: "{{ lab }}/{{ name }}/papers"}
    hooks:
      - {at: freeze, timeout: 10m, run: 'touch {{ lab }}/waits; until [ -e {{ lab }}/go ]; do sleep 0.05; done', undo: 'true'}
"#;

#[test]
fn two_people_move_different_hosts_at_the_same_time_and_are_told_of_each_other() {
    let (etcd, fleet) = (Etcd::cluster(), ramp(2));
    let root = fleet.place.root();
    fleet.place.edit(RAMP, "move: {from: old, to: new}", "move: {from: [dal-1], to: [fra-1]}");
    fleet.place.edit(RAMP, "hold: 200ms", "hold: 1h");
    let ramp = fs::read_to_string(root.join(RAMP)).unwrap();
    fs::write(root.join("plans/clash.yaml"), ramp.replace("migration: web", "migration: clash")).unwrap();
    fs::write(root.join("plans/files.yaml"), FILES).unwrap();
    for (host, file) in [("dal-2", "papers/a"), ("fra-2", "papers/.keep")] {
        let path = root.join(host).join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, host).unwrap();
    }
    let (ada, ben) = (on("desk", &fleet, &etcd).of_person("ada"), on("other", &fleet, &etcd).of_person("ben"));
    let load = fleet.load(USERS);
    let mut web = ada.start(&["apply", RAMP, "--yes", "--format", "json"]);
    wait_for_intent(&mut web, "web/watch-10", false);
    let refused = ben.run(&["apply", "plans/clash.yaml", "--yes"]).expect(1);
    for words in ["is locked by ada@", "(run web-1)"] {
        assert!(refused.stderr.contains(words), "{}", refused.stderr);
    }
    let files = ben.start(&["apply", "plans/files.yaml", "--yes", "--format", "json"]);
    wait_for("the freeze", || root.join("waits").exists());
    for machine in [&ada, &ben] {
        let said = |args: &[&str]| -> Value { json(&machine.run(args).expect(0).stdout) };
        let owners = said(&["lock", "show", "--format", "json"]);
        let owners = owners.as_array().unwrap().iter().map(|lock| (&lock["run"], &lock["owner"]["user"]));
        assert_eq!(
            owners.map(|(run, user)| format!("{run} {user}")).collect::<Vec<_>>(),
            [r#""web-1" "ada""#, r#""files-1" "ben""#]
        );
        for run in ["web-1", "files-1"] {
            assert_eq!(said(&["status", run, "--format", "json"])["status"], "running");
        }
    }
    // Each may lead the run of the other, and it is known who did.
    ben.run(&["pause", "web", "--why", "the link is busy"]).expect(0);
    let store = open_at(&etcd.address(), &root.join("test"));
    assert_eq!(store::state(store.as_ref(), "web-1").unwrap().paused.unwrap().by.user, "ben");
    ada.run(&["resume", "web"]).expect(0);
    ada.run(&["abort", "web"]).expect(0);
    web.finish().expect(3);
    // The other has not noticed.
    fs::write(root.join("go"), "").unwrap();
    files.finish().expect(0);
    assert_eq!(fs::read_to_string(root.join("fra-2/papers/a")).unwrap(), "dal-2");
    ada.run(&["set", "web", "hold=100ms"]).expect(0);
    ada.run(&["apply", RAMP, "--yes"]).expect(0);
    assert_eq!(weight(&fleet, "fra-1"), 100);
    // What is free now can be had.
    let clash = ben.run(&["plan", "plans/clash.yaml"]);
    assert!(!clash.stderr.contains("is locked by") && !clash.stdout.contains("is not finished"), "{clash:?}");
    assert_sealed("web-1", &[&ada, &ben]);
    assert_sealed("files-1", &[&ben]);
    assert_unnoticed(&fleet, &load.stop());
}
