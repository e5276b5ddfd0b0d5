//! `kill -9` as soon as a record is on disk, for every record, forward and back, then the same command again: it ends where an
//! undisturbed run ends, nobody has noticed, and every command ran exactly once.

use std::collections::BTreeSet;
use std::process::Command;
use std::time::{Duration, Instant};

use migrate::event::{Event, Record};
use migrate::step::Class;
use migrate::store::file;

use super::support::*;
use crate::lab::fleet::Fleet;

/// How often, where and how.
#[derive(Debug, Default)]
pub struct Kills {
    /// Records after which it was killed.
    pub points: BTreeSet<String>,
    /// Records that were the last on disk when it died: it may write a few more before a signal reaches it.
    last: BTreeSet<String>,
    /// Controllers killed soon after they had taken up a run whose controller had been killed.
    second: usize,
}

/// What tells one record from others: the step, whether it is its intent or its outcome, and which way it goes.
fn point(record: &Record) -> String {
    match &record.event {
        Event::Intent { step, undo, .. } => format!("{step}: intent{}", if *undo { " of undo" } else { "" }),
        Event::Outcome { step, undo, .. } => format!("{step}: outcome{}", if *undo { " of undo" } else { "" }),
        other => format!("{other:?}").split([' ', '(']).next().unwrap().to_owned(),
    }
}

fn recorded(line: &str) -> Option<Record> {
    let notice = json(line);
    (notice["notice"] == "recorded").then(|| serde_json::from_value(notice).unwrap())
}

/// Lets this thread go before all others where that is allowed, so that its signals come in time on a busy machine, too. What it starts
/// does not.
fn go_first() {
    let thread = std::fs::read_link("/proc/thread-self").unwrap();
    let id = thread.file_name().unwrap();
    let set = Command::new("chrt").args(["--reset-on-fork", "--fifo", "--pid", "1"]).arg(id).output();
    if !set.as_ref().is_ok_and(|set| set.status.success()) {
        println!("signals may come late: {set:?}");
    }
}

/// Runs a command until it comes to its end, killed at every record that it has not been killed at before.
fn run_with_kills(fleet: &Fleet, run: &str, args: &[&str]) -> Kills {
    run_with_kills_at(fleet, run, args, |_| true)
}

/// The same, killed only at those records that are wanted.
pub fn run_with_kills_at(fleet: &Fleet, run: &str, args: &[&str], wanted: impl Fn(&str) -> bool) -> Kills {
    go_first();
    let mut kills = Kills::default();
    let began = Instant::now();
    loop {
        assert!(kills.points.len() < 500, "it does not come to an end; killed at {:#?}", kills.points);
        let mut running = migrate(fleet).start(args);
        let is_new = |point: String| wanted(&point) && !kills.points.contains(&point);
        let new = |line: &str| recorded(line).is_some_and(|r| is_new(point(&r)));
        let Some(line) = running.read_until(new) else {
            running.finish().expect(0);
            break;
        };
        running.kill();
        kills.points.insert(point(&recorded(&line).unwrap()));
        kills.last.insert(point(records(fleet, run).last().unwrap()));
        if has_ended(fleet, run) {
            break;
        }
        if long() || kills.points.len() % 6 == 0 {
            second_kill(fleet, args, &mut kills);
            kills.last.insert(point(records(fleet, run).last().unwrap()));
        }
        if has_ended(fleet, run) {
            break;
        }
    }
    println!(
        "{args:?}: killed at {} records, and {} times again while it recovered; {} different last records; {:.0} s",
        kills.points.len(),
        kills.second,
        kills.last.len(),
        began.elapsed().as_secs_f64()
    );
    kills
}

/// Kills the controller that takes the run up, at its first records or some time later.
fn second_kill(fleet: &Fleet, args: &[&str], kills: &mut Kills) {
    let mut running = migrate(fleet).start(args);
    let mut left = kills.second % 3;
    let found = running.read_until(|line| {
        let record = recorded(line).is_some();
        left = left.saturating_sub(usize::from(record));
        record && left == 0
    });
    if found.is_some() {
        std::thread::sleep(Duration::from_millis((kills.second as u64 * 13) % 60));
        running.kill();
        kills.second += 1;
    } else {
        running.finish().expect(0);
    }
}

/// A run that has ended is not taken up again: the same command would begin a new one.
fn has_ended(fleet: &Fleet, run: &str) -> bool {
    matches!(records(fleet, run).last().unwrap().event, Event::Finished | Event::RolledBack)
}

/// Nearly every step that has an effect has been hit at its beginning or at its end. Those that have been spared were over before the
/// signal that was meant for the record before them had reached its process.
#[track_caller]
fn assert_everywhere(fleet: &Fleet, run: &str, undo: bool, kills: &Kills) {
    let records = records(fleet, run);
    let graph = file::load(&journal(fleet, run)).unwrap().graph;
    let acts = |id: &String| {
        let kind = &graph.step(id).unwrap().kind;
        if undo { kind.undo().does_something() } else { kind.class() != Class::Reading }
    };
    let steps: BTreeSet<String> = begun(&records, undo).into_iter().filter(acts).collect();
    let hit = |step: &&String| kills.points.iter().chain(&kills.last).any(|p| p.starts_with(&format!("{step}: ")));
    let spared: Vec<&String> = steps.iter().filter(|step| !hit(step)).collect();
    println!("{} of {} steps with an effect were hit, all but {spared:?}", steps.len() - spared.len(), steps.len());
    assert!(spared.len() * 4 <= steps.len(), "hardly ever killed: {kills:?}");
}

fn pairs(least: usize) -> usize {
    if long() { 3 } else { least }
}

const RAMP_HOOKS: [&str; 5] = ["before_pair", "before_shift", "after_shift", "after_drain", "after_pair"];
const RAMP_UNDONE: [&str; 4] = ["before_pair", "before_shift", "after_shift", "after_pair"];
const CUTOVER_HOOKS: [&str; 4] = ["after_drain", "freeze", "thaw", "after_shift"];

/// Settings of the pool after a run that nobody disturbs.
fn undisturbed(fleet: &Fleet, plan: &str) -> Vec<String> {
    migrate(fleet).run(&["apply", plan, "--yes"]).expect(0);
    settings(fleet)
}

#[test]
fn a_ramp_killed_at_every_record_forward_and_back_ends_as_if_it_had_not_been() {
    let should = undisturbed(&ramp(pairs(1)), RAMP);
    let fleet = ramp(pairs(1));
    let before = pool(&fleet);
    let load = fleet.load(USERS);
    load.wait_for(100);
    let kills = run_with_kills(&fleet, "web-1", &["apply", RAMP, "--yes", "--format", "json"]);
    assert_everywhere(&fleet, "web-1", false, &kills);
    assert_eq!(settings(&fleet), should);
    let done = lines(&fleet, "do", "web", &RAMP_HOOKS);
    assert_once(&fleet, done.clone());
    assert_status(&fleet, "web-1", "finished");
    let kills = run_with_kills(&fleet, "web-1", &["rollback", "web-1", "--yes", "--format", "json"]);
    assert_everywhere(&fleet, "web-1", true, &kills);
    assert_eq!(pool(&fleet), before);
    let hooks = assert_once(&fleet, done.into_iter().chain(lines(&fleet, "undo", "web", &RAMP_UNDONE)));
    assert_status(&fleet, "web-1", "rolled back");
    load.wait_for(load.requests() + 100);
    let report = load.stop();
    println!("{} requests, {} failed; {hooks} hooks, once each", report.requests, report.failed);
    assert_kept(&fleet, &report);
}

#[test]
fn a_cutover_killed_at_every_record_ends_as_if_it_had_not_been() {
    let should = undisturbed(&cutover(pairs(2)), CUTOVER);
    let fleet = cutover(pairs(2));
    let load = fleet.load(USERS);
    load.wait_for(100);
    let kills = run_with_kills(&fleet, "uploads-1", &["apply", CUTOVER, "--yes", "--format", "json"]);
    assert_everywhere(&fleet, "uploads-1", false, &kills);
    assert_eq!(settings(&fleet), should);
    let hooks = assert_once(&fleet, lines(&fleet, "do", "uploads", &CUTOVER_HOOKS));
    assert_status(&fleet, "uploads-1", "finished");
    load.wait_for(load.requests() + 100);
    let report = load.stop();
    println!("{} requests, {} failed; {hooks} hooks, once each", report.requests, report.failed);
    assert_kept(&fleet, &report);
}

#[test]
fn a_cutover_killed_at_every_record_of_its_way_back_ends_where_it_began() {
    let fleet = cutover(pairs(2));
    let before = pool(&fleet);
    // The first pair is frozen, copied and thawed on its target, and the command before the first shift fails.
    let hook = "hooks:\n      - {at: before_shift, run: \"false\", undo: none}";
    fleet.place.edit(CUTOVER, "hooks:", hook);
    let load = fleet.load(USERS);
    load.wait_for(100);
    migrate(&fleet).run(&["apply", CUTOVER, "--yes"]).expect(3);
    let kills = run_with_kills(&fleet, "uploads-1", &["rollback", "uploads-1", "--yes", "--format", "json"]);
    assert_everywhere(&fleet, "uploads-1", true, &kills);
    assert_eq!(pool(&fleet), before);
    assert_status(&fleet, "uploads-1", "rolled back");
    let ran = ["do uploads/dal-1/after_drain", "do uploads/dal-1/freeze", "do uploads/dal-1/thaw"];
    let undone = ["undo uploads/dal-1/freeze", "undo uploads/dal-1/thaw"];
    let hooks = assert_once(&fleet, ran.iter().chain(&undone).map(|line| (*line).to_owned()));
    load.wait_for(load.requests() + 100);
    let report = load.stop();
    println!("{} requests, {} failed; {hooks} hooks, once each", report.requests, report.failed);
    assert_unnoticed(&fleet, &report);
    assert_sources_kept(&fleet, &report);
}

#[test]
fn a_moved_pair_killed_at_every_record_of_its_way_back_ends_where_it_began_with_every_write() {
    let fleet = cutover(2);
    let before = pool(&fleet);
    // The first pair moves, and the second one does not leave its source.
    let hook = "hooks:\n      - {at: before_drain, run: \"test {{ name }} = dal-1\", undo: none}";
    fleet.place.edit(CUTOVER, "hooks:", hook);
    fleet.place.edit(CUTOVER, "hold: 200ms}", "hold: 200ms}\n    reverse: {until: commit}");
    let load = fleet.load(USERS);
    load.wait_for(100);
    migrate(&fleet).run(&["apply", CUTOVER, "--yes"]).expect(3);
    load.wait_for(load.requests() + 100);
    let kills = run_with_kills(&fleet, "uploads-1", &["rollback", "uploads-1", "--yes", "--format", "json"]);
    assert_everywhere(&fleet, "uploads-1", true, &kills);
    assert_eq!(pool(&fleet), before);
    assert_status(&fleet, "uploads-1", "rolled back");
    let ran = ["after_drain", "freeze", "thaw", "after_shift"].map(|at| format!("do uploads/dal-1/{at}"));
    let undone = ["freeze", "thaw"].map(|at| format!("undo uploads/dal-1/{at}"));
    let hooks = assert_once(&fleet, ran.into_iter().chain(undone));
    load.wait_for(load.requests() + 100);
    let report = load.stop();
    assert!(report.uploads.iter().any(|u| u.host == "fra-1"));
    println!("{} requests, {} failed; {hooks} hooks, once each", report.requests, report.failed);
    assert_unnoticed(&fleet, &report);
    assert_sources_have_all(&fleet, &report);
}
