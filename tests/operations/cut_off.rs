//! What is said first of a run whose controller died while nobody served a pair.

use super::support::*;
use crate::lab::fleet::Fleet;

fn told(fleet: &Fleet, args: &[&str]) -> String {
    migrate(fleet).run(args).expect(0).stdout
}

/// Every command that tells of a run says first, or not at all, that users may be cut off.
#[track_caller]
fn assert_told(fleet: &Fleet, how: &str, next: &str) {
    let pair = format!("uploads: dal-1 {how}, and fra-1 does not serve");
    for args in [&["status", "uploads"][..], &["explain", "uploads"], &["explain"]] {
        let said = told(fleet, args);
        let mut lines = said.lines();
        let first = lines.next().unwrap();
        assert!(
            first.starts_with("Users may be cut off since 20") && first.ends_with("nobody is at work on it:"),
            "{said}"
        );
        assert_eq!(lines.next(), Some(format!("  {pair}").as_str()), "{said}");
        assert!(lines.next().unwrap().starts_with(&format!("  do first: {next}")), "{said}");
    }
    let runs = told(fleet, &["runs"]);
    assert!(runs.contains("users may be cut off since 20") && runs.contains(&pair), "{runs}");
    for args in [&["status", "uploads", "--format", "json"][..], &["explain", "uploads", "--format", "json"]] {
        let cut_off = &json(&told(fleet, args))["cut_off"];
        assert_eq!(
            (&cut_off["pairs"][0]["source"], &cut_off["attended"]),
            (&"dal-1".into(), &false.into()),
            "{cut_off}"
        );
        assert!(cut_off["since"].is_string() && cut_off["next"].as_str().unwrap().starts_with(next), "{cut_off}");
    }
    assert!(json(&told(fleet, &["runs", "--format", "json"]))[0]["cut_off"]["since"].is_string());
}

#[track_caller]
fn assert_nothing_told(fleet: &Fleet) {
    for args in [&["status", "uploads"][..], &["explain", "uploads"], &["runs"]] {
        let said = told(fleet, args);
        assert!(!said.to_lowercase().contains("cut off"), "{said}");
    }
    assert!(json(&told(fleet, &["status", "uploads", "--format", "json"]))["cut_off"].is_null());
}

#[test]
fn a_controller_that_dies_while_nobody_serves_a_pair_leaves_a_run_that_says_so_first() {
    let fleet = cutover(2);
    let killed_in = |args: &[&str], step: &str, undo: bool| {
        let mut running = migrate(&fleet).start(args);
        wait_for_intent(&mut running, step, undo);
        running.kill();
    };
    let there = ["apply", CUTOVER, "--yes", "--format", "json"];
    let goes_on = format!("migrate apply {}", fleet.place.root().join(CUTOVER).display());
    killed_in(&there, "uploads/dal-1/seed", false);
    assert_nothing_told(&fleet);
    killed_in(&there, "uploads/dal-1/empty", false);
    assert_told(&fleet, "gets no traffic", &goes_on);
    killed_in(&there, "uploads/dal-1/last-pass", false);
    assert_told(&fleet, "takes no writes", &goes_on);
    killed_in(&["rollback", "uploads", "--yes", "--format", "json"], "uploads/dal-1/drain", true);
    assert_told(&fleet, "gets no traffic", "migrate rollback uploads-1");
    migrate(&fleet).run(&["rollback", "uploads", "--yes"]).expect(0);
    assert_nothing_told(&fleet);
}
