//! Runs that are followed by their events, and killed in the midst of them.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::Value;

use super::super::command::Migrate;

/// Applies until it is done, and kills it once in each of these steps, when it has begun.
pub fn apply_with_kills(migrate: &Migrate, wanted: impl Fn(&str) -> bool) -> BTreeSet<String> {
    run_with_kills(migrate, &["apply", "plan.yaml"], wanted)
}

/// The same with any command that goes on where it was.
pub fn run_with_kills(migrate: &Migrate, command: &[&str], wanted: impl Fn(&str) -> bool) -> BTreeSet<String> {
    let mut killed = BTreeSet::new();
    let command = [command, &["--yes", "--format", "json"]].concat();
    for round in 0u64.. {
        assert!(round < 100, "it does not come to an end; killed in {killed:?}");
        let mut apply = migrate.start(&command);
        let new = |step: &String| wanted(step) && !killed.contains(step);
        let begun = apply.read_until(|line| intent(line).as_ref().is_some_and(new));
        let Some(line) = begun else {
            let ended = apply.finish();
            assert_eq!(ended.code(), 0, "{}\n{}", ended.stdout, ended.stderr);
            return killed;
        };
        std::thread::sleep(Duration::from_millis(round % 4 * 40));
        apply.kill();
        killed.insert(intent(&line).unwrap());
    }
    unreachable!("the loop has no end of its own")
}

fn intent(line: &str) -> Option<String> {
    let line: Value = serde_json::from_str(line).unwrap_or_else(|e| panic!("not JSON: {e}: {line}"));
    let event = &line["event"];
    (event["event"] == "intent").then(|| event["step"].as_str().unwrap().to_owned())
}

/// Whether a line tells that a step is done.
pub fn outcome(line: &str, step: &str) -> bool {
    let line: Value = serde_json::from_str(line).unwrap_or_else(|e| panic!("not JSON: {e}: {line}"));
    let event = &line["event"];
    event["event"] == "outcome" && event["step"] == step && event["result"]["is"] == "done"
}

/// Moves there, where the way back stays open, and is killed once the old host follows.
pub fn moves_and_is_killed(migrate: &Migrate, run: u32) {
    println!("run {run}");
    let mut apply = migrate.start(&["apply", "plan.yaml", "--yes", "--format", "json"]);
    let follows = |line: &str| {
        let line: Value = serde_json::from_str(line).unwrap_or_else(|e| panic!("not JSON: {e}: {line}"));
        line["event"]["event"] == "reversed" && line["event"]["pace"]["is"] == "follows"
    };
    if apply.read_until(follows).is_none() {
        let ended = apply.finish();
        panic!("it ended before the old host followed: {}\n{}", ended.stdout, ended.stderr);
    }
    apply.kill();
}
