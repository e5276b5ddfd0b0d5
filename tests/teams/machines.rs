//! Several machines with one run: each has a state directory of its own, and all have the cluster.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use migrate::event::Event;

use crate::lab::command::Migrate;
use crate::lab::etcd::Etcd;
use crate::lab::fleet::Fleet;
use crate::lab::process::PATIENCE;
use crate::operations::support::*;

/// The program on a machine of the team.
pub fn on(machine: &str, fleet: &Fleet, etcd: &Etcd) -> Migrate {
    migrate(fleet).on_machine(machine, &etcd.address())
}

#[track_caller]
pub fn wait_for(what: &str, mut came: impl FnMut() -> bool) {
    let began = Instant::now();
    while !came() {
        assert!(began.elapsed() < PATIENCE, "{what} never came");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// The public keys of machines, as `audit verify` takes them.
fn keys(machines: &[&Migrate]) -> Vec<String> {
    let key = |machine: &&Migrate| machine.run(&["audit", "key"]).expect(0).stdout.trim().to_owned();
    machines.iter().flat_map(|machine| ["--key".to_owned(), key(machine)]).collect()
}

/// What the machines have written is what all of them have sealed.
#[track_caller]
pub fn assert_sealed(run: &str, machines: &[&Migrate]) {
    let keys = keys(machines);
    let mut args = vec!["audit", "verify", run];
    args.extend(keys.iter().map(String::as_str));
    let verified = machines[0].run(&args).expect(0);
    assert!(verified.stdout.contains("intact"), "{}", verified.stdout);
}

#[test]
fn a_run_is_seen_led_and_gone_on_with_from_any_machine() {
    let (etcd, fleet) = (Etcd::cluster(), ramp(1));
    fleet.place.edit(RAMP, "hold: 200ms", "hold: 1h");
    let load = fleet.load(USERS);
    let (desk, other) = (on("desk", &fleet, &etcd), on("other", &fleet, &etcd));
    let mut running = desk.start(&["apply", RAMP, "--yes", "--format", "json"]);
    wait_for_words(&mut running, "web/watch-10", "of hold left");
    let says = |args: &[&str], words: &[&str]| {
        let said = other.run(args).expect(0).stdout;
        words.iter().for_each(|words| assert!(said.contains(words), "{args:?} does not say {words:?}: {said}"));
    };
    says(&["runs"], &["web-1", "running"]);
    says(&["status", "web"], &["web-1"]);
    // What a step says is known to its controller alone: it was asked.
    says(&["explain", "web"], &["web/watch-10", "of hold left"]);
    says(&["lock", "show"], &["plan:web", "(run web-1)"]);
    let refused = other.run(&["apply", RAMP, "--yes"]).expect(1);
    assert!(refused.stderr.contains("is locked by"), "{}", refused.stderr);
    says(&["pause", "web", "--why", "a look"], &["begins nothing new"]);
    let twice = other.run(&["pause", "web"]).expect(1);
    assert!(twice.stderr.contains("paused already"), "{}", twice.stderr);
    says(&["resume", "web"], &["goes on"]);
    says(&["abort", "web"], &["stops at the next safe point"]);
    running.finish().expect(3);
    // Nobody works on it now: the order goes into its journal.
    says(&["set", "web", "hold=100ms"], &["is set"]);
    other.run(&["apply", RAMP, "--yes"]).expect(0);
    assert_eq!(weight(&fleet, "fra-1"), 100);
    let points = ["before_pair", "before_shift", "after_shift", "after_drain", "after_pair"];
    assert_once(&fleet, lines(&fleet, "do", "web", &points));
    let status = json(&desk.run(&["status", "web-1", "--format", "json"]).expect(0).stdout);
    assert_eq!(status["status"], "finished", "{status}");
    assert_sealed("web-1", &[&desk, &other]);
    // One key does not do.
    desk.run(&["audit", "verify", "web-1"]).expect(1);
    assert!(!fleet.place.root().join("desk/runs").exists(), "a run is kept on a machine");
    assert_kept(&fleet, &load.stop());
}

/// A run on the desk whose controller was killed while its hook there waits for the file `go`.
fn killed_in_a_hook(fleet: &Fleet, desk: &Migrate, class: &str) -> PathBuf {
    let path = fleet.place.root().join(RAMP);
    let text = fs::read_to_string(&path).unwrap();
    let (service, _) = text.split_once("    hooks:").unwrap();
    let run = "touch {{ lab }}/began; until [ -e {{ lab }}/go ]; do sleep 0.05; done; echo do >> {{ lab }}/hooks";
    let hook = format!("{{on: controller, at: before_shift, timeout: 10m, run: '{run}', undo: none{class}}}");
    fs::write(&path, format!("{service}    hooks: [{hook}]\n")).unwrap();
    let running = desk.start(&["apply", RAMP, "--yes", "--format", "json"]);
    wait_for("the hook", || fleet.place.root().join("began").exists());
    running.kill();
    fleet.place.root().join("go")
}

#[test]
fn what_a_controller_began_on_its_own_machine_is_not_begun_again_on_another() {
    for class in ["", ", idempotent: true"] {
        let (etcd, fleet) = (Etcd::single(), ramp(1));
        let (desk, other) = (on("desk", &fleet, &etcd), on("other", &fleet, &etcd));
        let go = killed_in_a_hook(&fleet, &desk, class);
        for args in [&["apply", RAMP, "--yes"], &["apply", "web-1", "--yes"], &["rollback", "web", "--yes"]] {
            let held = other.run(args).expect(3);
            for words in ["an earlier controller began this command on its own machine", "migrate resolve"] {
                assert!(held.stdout.contains(words), "{args:?}: {}", held.stdout);
            }
        }
        assert_eq!(fs::read_to_string(fleet.place.root().join("hooks")).ok(), None);
        fs::write(go, "").unwrap();
        // Where the receipt is, it is known to have run.
        desk.run(&["rollback", "web", "--yes"]).expect(0);
        assert_eq!(hook_lines(&fleet), ["do"]);
        assert_sealed("web-1", &[&desk, &other]);
    }
}

#[test]
fn a_store_without_runs_is_no_success_of_carrying_them() {
    let place = tempfile::tempdir().unwrap();
    let at = |name: &str| format!("file:{}", place.path().join(name).display());
    let typo = crate::cli::run::migrate(&["store", "copy", &at("stat"), &at("archive")]);
    assert_eq!(typo.code, 1, "{}", typo.out);
    assert!(
        typo.err.contains("there are no runs in") && typo.err.contains("help: correct its address"),
        "{}",
        typo.err
    );
    assert!(!place.path().join("archive").exists());
}

#[test]
fn runs_are_carried_into_a_cluster_and_go_on_there_alone() {
    let (etcd, fleet) = (Etcd::single(), ramp(1));
    fleet.place.edit(RAMP, "hold: 200ms", "hold: 1h");
    let alone = migrate(&fleet);
    let (desk, other) = (on("state", &fleet, &etcd), on("other", &fleet, &etcd));
    let files = format!("file:{}", alone.state_dir().display());
    let mut running = alone.start(&["apply", RAMP, "--yes", "--format", "json"]);
    wait_for_intent(&mut running, "web/watch-10", false);
    let refused = alone.run(&["store", "copy", &files, &etcd.address()]).expect(1);
    assert!(refused.stderr.contains("is locked by"), "{}", refused.stderr);
    alone.run(&["abort", "web"]).expect(0);
    running.finish().expect(3);
    alone.run(&["set", "web", "hold=100ms"]).expect(0);
    let carried = alone.run(&["store", "copy", &files, &etcd.address(), "web"]).expect(0);
    assert!(carried.stdout.contains("read again and the same"), "{}", carried.stdout);
    let again = alone.run(&["store", "copy", &files, &etcd.address()]).expect(0);
    assert!(again.stdout.contains("was carried before"), "{}", again.stdout);
    let last = records(&fleet, "web-1").pop().unwrap().event;
    assert!(matches!(&last, Event::Abandoned { why, .. } if why.contains("it goes on in etcd://")), "{last:?}");
    other.run(&["apply", RAMP, "--yes"]).expect(0);
    assert_eq!(weight(&fleet, "fra-1"), 100);
    let points = ["before_pair", "before_shift", "after_shift", "after_drain", "after_pair"];
    assert_once(&fleet, lines(&fleet, "do", "web", &points));
    assert_sealed("web-1", &[&desk, &other]);
    // Into an archive.
    let archive = format!("file:{}", fleet.place.root().join("archive").display());
    other.run(&["store", "copy", &etcd.address(), &archive]).expect(0);
    let archived = other.run(&["status", "web-1", "--format", "json", "--store", &archive]).expect(0);
    assert_eq!(json(&archived.stdout)["status"], "finished");
}
