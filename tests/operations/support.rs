//! What the tests share: fleets with the plans of this directory, the journal, the lines that hooks leave behind.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use migrate::event::{Event, Record};
use migrate::step::Step;
use migrate::store::file;
use serde_json::Value;

use crate::lab::command::{Migrate, Running};
use crate::lab::fleet::{BACKEND, Fleet, Size, Storage};
use crate::lab::load::Report;
use crate::lab::place::Place;
use crate::lab::tree::{self, Content};

/// Connections of users.
pub const USERS: usize = 8;
/// The plans, below the root of a place.
pub const RAMP: &str = "plans/ramp.yaml";
pub const CUTOVER: &str = "plans/cutover.yaml";

/// Whether the longer modes were asked for.
pub fn long() -> bool {
    std::env::var_os("MIGRATE_LONG").is_some_and(|value| value == "1")
}

/// Servers that share their files, with the plan that ramps them.
pub fn ramp(pairs: usize) -> Fleet {
    with_plans(Fleet::behind_haproxy(Place::private(), Size { pairs, common: 30, own: 10 }, Storage::Shared))
}

/// Servers with their own files, with the plan that cuts them over.
pub fn cutover(pairs: usize) -> Fleet {
    with_plans(Fleet::behind_haproxy(Place::private(), Size { pairs, common: 60, own: 40 }, Storage::Own))
}

fn with_plans(fleet: Fleet) -> Fleet {
    for (name, text) in [(RAMP, include_str!("plans/ramp.yaml")), (CUTOVER, include_str!("plans/cutover.yaml"))] {
        fs::write(fleet.place.root().join(name), text).unwrap();
    }
    fleet
}

/// The program, in the place of this fleet.
pub fn migrate(fleet: &Fleet) -> Migrate {
    Migrate::new(env!("CARGO_BIN_EXE_migrate"), &fleet.place)
}

/// Starts an apply that tells every record as a line of JSON.
pub fn apply(fleet: &Fleet, plan: &str) -> Running {
    migrate(fleet).start(&["apply", plan, "--yes", "--format", "json"])
}

/// Runs it as another user of the machine would, to its end: standard output and error, and the exit status.
pub fn run_as(fleet: &Fleet, user: &str, args: &[&str]) -> (String, i32) {
    let out = migrate(fleet).command(args).env("USER", user).output().unwrap();
    let said = [out.stdout, out.stderr].concat();
    (String::from_utf8_lossy(&said).into_owned(), out.status.code().unwrap_or(-1))
}

/// Reads on until a step has begun (or its undo has).
#[track_caller]
pub fn wait_for_intent(running: &mut Running, step: &str, undo: bool) {
    let begun = running.read_until(|line| {
        let event = &json(line)["event"];
        event["event"] == "intent" && event["step"] == step && event["undo"] == undo
    });
    assert!(begun.is_some(), "it ended before {step}");
}

/// Reads on until a step has come to an end.
#[track_caller]
pub fn wait_for_outcome(running: &mut Running, step: &str) {
    let ended =
        running.read_until(|line| json(line)["event"]["event"] == "outcome" && json(line)["event"]["step"] == step);
    assert!(ended.is_some(), "it ended before the end of {step}");
}

/// Reads on until a step says what it waits for, and holds these words.
#[track_caller]
pub fn wait_for_words(running: &mut Running, step: &str, words: &str) {
    let said = running.read_until(|line| {
        let notice = json(line);
        notice["notice"] == "waiting" && notice["step"] == step && notice["what"].as_str().unwrap().contains(words)
    });
    assert!(said.is_some(), "{step} never waited for {words:?}");
}

/// One line of output.
#[track_caller]
pub fn json(line: &str) -> Value {
    serde_json::from_str(line).unwrap_or_else(|e| panic!("not JSON: {e}: {line}"))
}

/// The journal of a run.
pub fn journal(fleet: &Fleet, run: &str) -> PathBuf {
    migrate(fleet).journal(run)
}

/// All its records; they must fold.
pub fn records(fleet: &Fleet, run: &str) -> Vec<Record> {
    let records = file::read(&journal(fleet, run)).unwrap();
    file::load(&journal(fleet, run)).unwrap();
    records
}

/// A step of its graph.
pub fn step(fleet: &Fleet, run: &str, id: &str) -> Step {
    file::load(&journal(fleet, run)).unwrap().graph.step(id).unwrap().clone()
}

/// Ids of the steps that have begun since a record, in order; those whose undo has begun when `undo`.
pub fn begun(records: &[Record], undo: bool) -> Vec<String> {
    let begun = records.iter().filter_map(|record| match &record.event {
        Event::Intent { step, undo: u, .. } if *u == undo => Some(step.clone()),
        _ => None,
    });
    begun.collect()
}

/// Every line that hooks have left behind, with how often it is there.
pub fn hooks(fleet: &Fleet) -> BTreeMap<String, usize> {
    let mut lines = BTreeMap::new();
    for line in hook_lines(fleet) {
        *lines.entry(line).or_default() += 1;
    }
    lines
}

/// The same, in the order in which they ran.
pub fn hook_lines(fleet: &Fleet) -> Vec<String> {
    let text = fs::read_to_string(fleet.place.root().join("hooks")).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

/// Each of these lines is there once, and no other.
#[track_caller]
pub fn assert_once(fleet: &Fleet, should: impl IntoIterator<Item = String>) -> usize {
    let should: BTreeMap<String, usize> = should.into_iter().map(|line| (line, 1)).collect();
    assert_eq!(hooks(fleet), should, "(is, should be)");
    should.len()
}

/// `do SERVICE/SOURCE/POINT` for every source and point.
pub fn lines(fleet: &Fleet, what: &str, service: &str, points: &[&str]) -> Vec<String> {
    let sources = fleet.sources.iter();
    sources.flat_map(|s| points.iter().map(move |p| format!("{what} {service}/{}/{p}", s.name))).collect()
}

/// The whole pool, as HAProxy has it: name, address, operational and administrative state, weights.
pub fn pool(fleet: &Fleet) -> Vec<String> {
    let state = fleet.haproxy().command(&format!("show servers state {BACKEND}"));
    let servers = state.lines().filter(|line| line.contains(BACKEND));
    servers.map(|line| line.split(' ').skip(3).take(6).collect::<Vec<_>>().join(" ")).collect()
}

/// The same without addresses, to compare two fleets.
pub fn settings(fleet: &Fleet) -> Vec<String> {
    let without_address = |server: String| {
        let fields: Vec<&str> = server.split(' ').collect();
        format!("{} {}", fields[0], fields[2..].join(" "))
    };
    pool(fleet).into_iter().map(without_address).collect()
}

/// A host's weight in the pool.
pub fn weight(fleet: &Fleet, host: &str) -> u32 {
    let answer = fleet.haproxy().command(&format!("get weight {BACKEND}/{host}"));
    answer.split(' ').next().unwrap().trim().parse().unwrap_or_else(|_| panic!("{answer}"))
}

/// Nobody noticed, and everything is where it belongs.
#[track_caller]
pub fn assert_kept(fleet: &Fleet, report: &Report) {
    assert_unnoticed(fleet, report);
    for (host, difference) in fleet.compare(report) {
        assert!(difference.is_none(), "{host}: {difference:#?}");
    }
}

/// Nobody noticed.
#[track_caller]
pub fn assert_unnoticed(fleet: &Fleet, report: &Report) {
    assert_eq!(report.failed, 0, "of {}: {:#?}", report.requests, report.failures);
    assert_eq!(fleet.refused(), 0, "a service was asked to write while it must not");
}

/// The sources have all they had, and everything that was uploaded: nothing went to a target.
#[track_caller]
pub fn assert_sources_kept(fleet: &Fleet, report: &Report) {
    for source in &fleet.sources {
        let is = source.tree();
        for (name, entry) in &source.seeds {
            assert_eq!(is.get(name), Some(entry), "{}: {name}", source.name);
        }
    }
    let trees: BTreeMap<&str, tree::Tree> = fleet.sources.iter().map(|s| (s.name.as_str(), s.tree())).collect();
    for upload in &report.uploads {
        let tree = trees.get(upload.host.as_str()).unwrap_or_else(|| panic!("{} took an upload", upload.host));
        let found = tree.get(&upload.name).map(|entry| &entry.content);
        let same = matches!(found, Some(Content::File { hash, .. }) if *hash == upload.hash);
        assert!(same, "{}: {} is {found:?}", upload.host, upload.name);
    }
}

/// The sources have all they had, and everything that was uploaded, to them or to their targets.
#[track_caller]
pub fn assert_sources_have_all(fleet: &Fleet, report: &Report) {
    for (source, target) in fleet.pairs() {
        let is = source.tree();
        for (name, entry) in &source.seeds {
            assert_eq!(is.get(name), Some(entry), "{}: {name}", source.name);
        }
        for upload in report.uploads.iter().filter(|u| u.host == source.name || u.host == target.name) {
            let found = is.get(&upload.name).map(|entry| &entry.content);
            let same = matches!(found, Some(Content::File { hash, .. }) if *hash == upload.hash);
            assert!(same, "{}: {} of {} is {found:?}", source.name, upload.name, upload.host);
        }
    }
}

/// `migrate status` can read the journal and says this of the run.
#[track_caller]
pub fn assert_status(fleet: &Fleet, run: &str, status: &str) {
    let ended = migrate(fleet).run(&["status", run, "--format", "json"]).expect(0);
    assert_eq!(json(&ended.stdout)["status"], status, "{}", ended.stdout);
}
