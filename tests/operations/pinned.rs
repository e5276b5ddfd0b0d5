//! A run goes on, and back, with the files that it was begun with, whatever becomes of them.

use std::fs;
use std::path::Path;

use super::support::*;
use crate::lab::command::Ended;
use crate::lab::fleet::Fleet;

const INVENTORY: &str = "inventories/lab.yaml";

/// A ramp that is held behind its last shift until there is a file `go`.
fn held() -> Fleet {
    let fleet = ramp(1);
    let hook = "    hooks:\n      - {at: before_drain, run: \"test -e {{ lab }}/go\", undo: none}";
    fleet.place.edit(RAMP, "    hooks:", hook);
    migrate(&fleet).run(&["apply", RAMP, "--yes"]).expect(3);
    fleet
}

fn apply_again(fleet: &Fleet, plan: &str) -> Ended {
    migrate(fleet).run(&["apply", plan, "--yes"]).expect(3)
}

#[test]
fn edits_are_told_and_the_run_goes_on_without_them() {
    let fleet = held();
    let root = fleet.place.root();
    // What means nothing is not worth a word.
    let with_comment = format!("# of the fleet\n{}", fs::read_to_string(root.join(INVENTORY)).unwrap());
    fs::write(root.join(INVENTORY), with_comment).unwrap();
    let again = apply_again(&fleet, RAMP);
    assert!(!again.stderr.contains("edited") && !again.stderr.contains(INVENTORY), "{}", again.stderr);
    // What does is told with its lines, and no other file is blamed.
    fleet.place.edit(RAMP, "hold: 200ms", "hold: 90s");
    let again = apply_again(&fleet, RAMP);
    for words in ["plans/ramp.yaml has been edited", "hold: 200ms}", "+ 13: ", "hold: 90s}", "counts from the next run"]
    {
        assert!(again.stderr.contains(words), "{words}: {}", again.stderr);
    }
    assert!(!again.stderr.contains(INVENTORY), "{}", again.stderr);
    let planned = migrate(&fleet).run(&["plan", RAMP]).expect(0);
    assert!(planned.stdout.contains("goes on with it as it was begun"), "{}", planned.stdout);
    // Files that are broken, or gone: the run needs none of them.
    fs::write(root.join(RAMP), "services: [\n").unwrap();
    assert!(apply_again(&fleet, RAMP).stderr.contains("plans/ramp.yaml has been edited"));
    fs::remove_file(root.join(INVENTORY)).unwrap();
    fs::remove_file(root.join(RAMP)).unwrap();
    let again = apply_again(&fleet, RAMP);
    assert!(again.stderr.contains("inventories/lab.yaml cannot be read any more"), "{}", again.stderr);
    apply_again(&fleet, "web-1");
    fs::write(root.join("go"), "").unwrap();
    migrate(&fleet).run(&["apply", "web-1", "--yes"]).expect(0);
    assert_eq!(weight(&fleet, "fra-1"), 100);
    // Nothing goes on any more, so the files count again.
    let none = migrate(&fleet).run(&["apply", RAMP, "--yes"]).expect(1);
    assert!(none.stderr.contains("cannot be read"), "{}", none.stderr);
}

#[test]
fn a_rollback_needs_no_file_and_can_be_started_from_anywhere() {
    let fleet = held();
    assert_eq!(weight(&fleet, "fra-1"), 100);
    fs::remove_file(fleet.place.root().join(RAMP)).unwrap();
    fleet.place.edit(INVENTORY, "\nhosts:\n", "\nhosts:\n  # another\n  new-host: {address: 192.0.2.1}\n");
    let mut back = migrate(&fleet).command(&["rollback", "web-1", "--yes"]);
    let state = migrate(&fleet).state_dir();
    let back = back.current_dir(Path::new("/")).env("MIGRATE_STATE_DIR", state).output().unwrap();
    let said = String::from_utf8_lossy(&[back.stdout, back.stderr].concat()).into_owned();
    assert_eq!(back.status.code(), Some(0), "{said}");
    assert!(said.contains("new-host: {address: 192.0.2.1}") && said.contains("ramp.yaml cannot be read"), "{said}");
    assert_eq!((weight(&fleet, "dal-1"), weight(&fleet, "fra-1")), (100, 0));
}
