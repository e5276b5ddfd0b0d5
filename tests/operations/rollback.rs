//! Going back under load: weights return through the same steps, sources serve again, and where there is no way back it is said.

use std::collections::BTreeSet;
use std::fs;

use migrate::event::{Event, StepResult};

use super::support::*;
use crate::lab::command::{Running, files_below};
use crate::lab::fleet::Fleet;
use crate::lab::service::Mode;

#[test]
fn a_finished_ramp_goes_back_through_the_same_steps_and_nobody_notices() {
    let fleet = ramp(2);
    let before = pool(&fleet);
    let load = fleet.load(USERS);
    load.wait_for(100);
    migrate(&fleet).run(&["apply", RAMP, "--yes"]).expect(0);
    assert_eq!((weight(&fleet, "fra-1"), weight(&fleet, "fra-2")), (100, 100));
    let ended = migrate(&fleet).run(&["rollback", "web-1", "--yes", "--why", "only trying"]).expect(0);
    assert!(ended.stdout.contains("Rolled back: run web-1"), "{}", ended.stdout);
    assert_eq!(pool(&fleet), before);
    let records = records(&fleet, "web-1");
    let back = begun(&records, true);
    let shifts: Vec<&str> = back.iter().filter_map(|id| id.strip_prefix("web/shift-")).collect();
    assert_eq!(shifts, ["100", "50", "10"]);
    // Each step back sets what was there before its step forward, targets and sources.
    let said: Vec<&str> = records.iter().filter_map(|r| undone(&r.event, "web/shift-")).collect();
    let weights = |text: &str| text.replace("uploads ", "");
    assert_eq!(
        said.iter().map(|text| weights(text)).collect::<Vec<_>>(),
        [
            "fra-2: 50, fra-1: 50",
            "dal-2: 90, dal-1: 90, fra-2: 10, fra-1: 10",
            "dal-2: 100, dal-1: 100, fra-2: 0, fra-1: 0",
        ]
    );
    load.wait_for(load.requests() + 100);
    let report = load.stop();
    println!("{} steps back; {} requests, {} failed", back.len(), report.requests, report.failed);
    assert_kept(&fleet, &report);
    assert_nothing_left_behind(&fleet);
}

/// What the undo of a step said at its end.
fn undone<'a>(event: &'a Event, steps: &str) -> Option<&'a str> {
    match event {
        Event::Outcome { step, undo: true, result: StepResult::Done { evidence, .. }, .. }
            if step.starts_with(steps) =>
        {
            Some(evidence)
        }
        _ => None,
    }
}

#[track_caller]
fn assert_nothing_left_behind(fleet: &Fleet) {
    for host in fleet.sources.iter().chain(&fleet.targets) {
        let left = files_below(&host.sshd.home().join(".migrate"));
        assert!(left.is_empty(), "{}: {left:?}", host.name);
    }
}

#[test]
fn back_to_a_step_and_forward_again_does_again_what_was_undone() {
    let fleet = ramp(1);
    let load = fleet.load(USERS);
    // Held behind the last shift, so that receipts are still on the hosts.
    fleet.place.edit(
        RAMP,
        "    hooks:",
        "    hooks:\n      - {at: before_drain, run: \"test -e {{ lab }}/go\", undo: none}",
    );
    migrate(&fleet).run(&["apply", RAMP, "--yes"]).expect(3);
    for _ in 0..2 {
        let ended = migrate(&fleet).run(&["rollback", "web-1", "--to", "web/shift-10", "--yes"]).expect(0);
        assert!(ended.stdout.contains("as far as asked"), "{}", ended.stdout);
        assert_eq!((weight(&fleet, "dal-1"), weight(&fleet, "fra-1")), (90, 10));
        migrate(&fleet).run(&["apply", RAMP, "--yes"]).expect(3);
        assert_eq!(weight(&fleet, "fra-1"), 100);
    }
    fs::write(fleet.place.root().join("go"), "").unwrap();
    let ended = migrate(&fleet).run(&["apply", RAMP, "--yes"]).expect(0);
    assert!(ended.stdout.contains("Done"), "{}", ended.stdout);
    let (done, undone) = ("do web/dal-1/after_shift", "undo web/dal-1/after_shift");
    let of_shift: Vec<String> = hook_lines(&fleet).into_iter().filter(|l| l.ends_with("after_shift")).collect();
    assert_eq!(of_shift, [done, undone, done, undone, done]);
    assert_eq!(hooks(&fleet)["do web/dal-1/before_pair"], 1);
    assert_kept(&fleet, &load.stop());
}

#[test]
fn a_cutover_that_fails_before_its_first_shift_goes_back_and_the_source_serves_again() {
    let fleet = cutover(2);
    let before = pool(&fleet);
    fleet.place.edit(
        CUTOVER,
        "    hooks:",
        "    hooks:\n      - {at: before_shift, run: \"echo not today >&2; false\", undo: none}",
    );
    let load = fleet.load(USERS);
    load.wait_for(100);
    let ended = migrate(&fleet).run(&["apply", CUTOVER, "--yes"]).expect(3);
    assert!(ended.stdout.contains("not today"), "{}", ended.stdout);
    assert_eq!(fleet.sources[0].service.mode(), Mode::Frozen);
    migrate(&fleet).run(&["rollback", "uploads", "--yes"]).expect(0);
    assert_eq!(pool(&fleet), before);
    assert_eq!(fleet.sources[0].service.mode(), Mode::Serving);
    assert_eq!(fleet.targets[0].service.mode(), Mode::Standby);
    load.wait_for(load.requests() + 200);
    let report = load.stop();
    assert!(report.uploads.iter().any(|u| u.host == "dal-1"));
    assert_unnoticed(&fleet, &report);
    assert_sources_kept(&fleet, &report);
    assert_nothing_left_behind(&fleet);
}

#[test]
fn behind_the_point_of_no_return_a_rollback_is_refused_with_the_reason() {
    let fleet = cutover(2);
    fleet.place.edit(CUTOVER, "hold: 200ms}", "hold: 1h}\n    reverse: off");
    let load = fleet.load(USERS);
    let mut running = apply(&fleet, CUTOVER);
    wait_for_intent(&mut running, "uploads/dal-1/watch-50", false);
    running.signal("INT");
    running.finish().expect(3);
    migrate(&fleet).run(&["set", "uploads", "hold=100ms"]).expect(0);
    let before = (pool(&fleet), fs::read(journal(&fleet, "uploads-1")).unwrap());
    let ended = migrate(&fleet).run(&["rollback", "uploads", "--yes"]).expect(1);
    for words in ["uploads/dal-1/shift-50", "fra-1 may have taken writes that dal-1 does not have"] {
        assert!(ended.stderr.contains(words), "{}", ended.stderr);
    }
    assert_eq!((pool(&fleet), fs::read(journal(&fleet, "uploads-1")).unwrap()), before);
    // As far as there is a way.
    migrate(&fleet).run(&["rollback", "uploads", "--to", "uploads/dal-1/shift-50", "--yes"]).expect(0);
    migrate(&fleet).run(&["apply", CUTOVER, "--yes"]).expect(0);
    assert_kept(&fleet, &load.stop());
}

#[test]
fn a_target_that_had_files_has_them_again_where_the_plan_asks_for_it() {
    let fleet = cutover(2);
    fleet.place.edit(CUTOVER, "settle_below: 2MiB", "settle_below: 2MiB, on_rollback: restore");
    fleet.place.edit(CUTOVER, "    hooks:", "    hooks:\n      - {at: before_drain, run: \"false\", undo: none}");
    let data = |host: &str| fleet.place.root().join(host).join("uploads/data");
    fs::create_dir_all(data("fra-1")).unwrap();
    fs::write(data("fra-1").join("mine"), "was here before").unwrap();
    migrate(&fleet).run(&["apply", CUTOVER, "--yes"]).expect(3);
    assert!(!data("fra-1").join("mine").exists(), "it is aside while the run goes on");
    assert!(!files_below(&data("fra-1")).is_empty());
    assert_eq!(
        fs::read_to_string(data("fra-1").with_file_name("data.before-uploads-1").join("mine")).unwrap(),
        "was here before"
    );
    migrate(&fleet).run(&["rollback", "uploads", "--yes"]).expect(0);
    assert_eq!(files_below(&data("fra-1")), ["mine"]);
    let beside = fs::read_dir(data("fra-1").parent().unwrap()).unwrap().flatten();
    let beside: Vec<String> = beside.map(|e| e.file_name().into_string().unwrap()).collect();
    assert!(beside.iter().any(|name| name.starts_with("data.copied-uploads-1-")), "{beside:?}");
    assert!(!beside.iter().any(|name| name.contains("before")), "{beside:?}");
}

#[test]
fn stopped_in_the_last_step_back_it_is_not_called_done() {
    let fleet = ramp(1);
    let before = pool(&fleet);
    let load = fleet.load(USERS);
    fleet.place.edit(RAMP, "hold: 200ms", "hold: 1h");
    let mut running = apply(&fleet, RAMP);
    wait_for_intent(&mut running, "web/watch-10", false);
    running.signal("INT");
    running.finish().expect(3);
    // The only step that puts anything back is the last one.
    let back = ["rollback", "web", "--to", "web/dal-1/check", "--yes", "--format", "json"];
    let mut running = migrate(&fleet).start(&back);
    wait_for_intent(&mut running, "web/shift-10", true);
    wait_for_words(&mut running, "web/shift-10", "of hold left");
    running.signal("INT");
    running.finish().expect(3);
    assert_status(&fleet, "web-1", "stopped");
    migrate(&fleet).run(&["set", "web", "hold=100ms"]).expect(0);
    migrate(&fleet).run(&back).expect(0);
    assert_eq!(pool(&fleet), before);
    migrate(&fleet).run(&["rollback", "web", "--yes"]).expect(0);
    assert_status(&fleet, "web-1", "rolled back");
    assert_kept(&fleet, &load.stop());
}

/// Reads on until both pairs have moved, their sources are in step, and the run waits for somebody to commit.
#[track_caller]
fn wait_for_the_way_back(running: &mut Running) {
    let mut missing: BTreeSet<String> = ["dal-1", "dal-2"]
        .iter()
        .flat_map(|host| [format!("intent uploads/{host}/commit"), format!("in_step uploads/{host}/reverse")])
        .collect();
    let ready = running.read_until(|line| {
        let event = &json(line)["event"];
        let step = event["step"].as_str().unwrap_or_default();
        let what = if event["event"] == "reversed" { &event["pace"]["is"] } else { &event["event"] };
        missing.remove(&format!("{} {step}", what.as_str().unwrap_or_default()));
        missing.is_empty()
    });
    assert!(ready.is_some(), "it ended before {missing:?}");
}

#[test]
fn a_moved_service_goes_back_and_forward_again_while_users_write_and_no_write_is_lost() {
    let fleet = cutover(2);
    let before = pool(&fleet);
    fleet.place.edit(CUTOVER, "hold: 200ms}", "hold: 200ms}\n    reverse: {until: commit}");
    let load = fleet.load(USERS);
    load.wait_for(100);
    let mut running = apply(&fleet, CUTOVER);
    wait_for_the_way_back(&mut running);
    load.wait_for(load.requests() + 300);
    // Too early for what is not there yet, and refused for what does not exist.
    let refused = migrate(&fleet).run(&["commit", "uploads", "dal-9", "--yes"]).expect(1);
    assert!(refused.stderr.contains("dal-1 → fra-1"), "{}", refused.stderr);
    let explained = migrate(&fleet).run(&["explain", "uploads"]).expect(0).stdout;
    for words in ["the source was in step", "going back would freeze for about", "migrate commit uploads-1 dal-2"] {
        assert!(explained.contains(words), "{words}: {explained}");
    }
    running.kill();
    let status = migrate(&fleet).run(&["status", "uploads"]).expect(0).stdout;
    assert!(status.contains("way back: uploads/dal-1/reverse: the source is in step"), "{status}");
    assert!(status.contains("nobody carries on now"), "{status}");
    migrate(&fleet).run(&["rollback", "uploads", "--yes"]).expect(0);
    assert_eq!(pool(&fleet), before);
    for host in &fleet.sources {
        assert_eq!(host.service.mode(), Mode::Serving);
    }
    load.wait_for(load.requests() + 100);
    let report = load.stop();
    let on_targets = report.uploads.iter().filter(|u| u.host.starts_with("fra")).count();
    println!("{} requests, {on_targets} uploads on targets, all of them on the sources", report.requests);
    assert!(on_targets > 0);
    assert_unnoticed(&fleet, &report);
    assert_sources_have_all(&fleet, &report);
    assert_nothing_left_behind(&fleet);
    // And once more, to stay.
    let load = fleet.load(USERS);
    let mut running = apply(&fleet, CUTOVER);
    wait_for_the_way_back(&mut running);
    let (said, code) = run_as(&fleet, "ada", &["commit", "uploads-2", "--yes", "--why", "all is well"]);
    assert!(code == 0 && said.contains("what fra-2 has taken is not carried back to dal-2 any more"), "{said}");
    running.finish().expect(0);
    let committed =
        |e: &Event| matches!(e, Event::Approved { step, by, .. } if step == "uploads/dal-1/commit" && by.user == "ada");
    assert!(records(&fleet, "uploads-2").iter().any(|r| committed(&r.event)));
    let refused = migrate(&fleet).run(&["rollback", "uploads", "--yes"]).expect(1);
    assert!(refused.stderr.contains("uploads/dal-1/commit"), "{}", refused.stderr);
    let mut all = load.stop();
    all.uploads.extend(report.uploads);
    assert_kept(&fleet, &all);
    assert_nothing_left_behind(&fleet);
}
