//! `migrate metrics`: what Prometheus' own tool says of it, and that rules, dashboard and documents name what is there.

use std::collections::BTreeSet;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use super::played;
use super::run::migrate_in;
use crate::lab::packages;

const DOCS: [&str; 3] = [
    include_str!("../../docs/monitoring.md"),
    include_str!("../../docs/monitoring/alerts.yaml"),
    include_str!("../../docs/monitoring/grafana.json"),
];

fn promtool(args: &[&str], input: &str) -> (bool, String) {
    let program = packages::program("promtool", "prometheus");
    let mut command = Command::new(program);
    command.args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let out = child.wait_with_output().unwrap();
    let said = [out.stdout, out.stderr].concat();
    (out.status.success(), String::from_utf8_lossy(&said).into_owned())
}

/// Everything but the end of a run: it is not over.
fn open_run() -> (tempfile::TempDir, String) {
    let place = tempfile::tempdir().unwrap();
    let (_, graph) = played::compiled();
    played::keep(place.path(), played::run(&graph).0.len() - 1);
    let ran = migrate_in(place.path(), place.path(), &["metrics"]);
    assert_eq!(ran.code, 0, "{}", ran.err);
    (place, ran.out)
}

/// The value of a series.
#[track_caller]
fn value(text: &str, series: &str) -> f64 {
    let line =
        text.lines().find_map(|line| line.strip_prefix(series)).unwrap_or_else(|| panic!("no {series}:\n{text}"));
    line.trim().parse().unwrap()
}

#[test]
fn prometheus_takes_the_metrics_and_has_nothing_to_say_of_their_names() {
    let (_place, text) = open_run();
    let (fine, said) = promtool(&["check", "metrics"], &text);
    assert!(fine && said.trim().is_empty(), "{said}\n{text}");
}

#[test]
fn runs_are_told_as_they_stand() {
    let (place, text) = open_run();
    assert_eq!(value(&text, "migrate_run_status{run=\"chat-1\",status=\"interrupted\"}"), 1.0, "nobody works on it");
    assert_eq!(value(&text, "migrate_run_status{run=\"chat-1\",status=\"running\"}"), 0.0);
    assert_eq!(value(&text, "migrate_run_steps{run=\"chat-1\",state=\"done\"}"), 66.0);
    assert_eq!(value(&text, "migrate_run_carried_bytes{run=\"chat-1\"}"), 19_346_227_200.0);
    let pair = "run=\"chat-1\",service=\"uploads\",source=\"dal-1\",target=\"fra-1\"";
    assert_eq!(value(&text, &format!("migrate_pair_share_ratio{{{pair}}}")), 1.0);
    assert!(value(&text, &format!("migrate_pair_freeze_seconds{{{pair}}}")) >= 0.0);
    // A run that is over has no series of pairs any more.
    let over = tempfile::tempdir().unwrap();
    played::keep(over.path(), usize::MAX);
    let ended = migrate_in(over.path(), over.path(), &["metrics"]).out;
    assert_eq!(value(&ended, "migrate_run_status{run=\"chat-1\",status=\"finished\"}"), 1.0);
    assert!(!ended.contains("migrate_pair_"), "{ended}");
    // None at all is told, too.
    let none = tempfile::tempdir().unwrap();
    assert_eq!(value(&migrate_in(none.path(), none.path(), &["metrics"]).out, "migrate_runs"), 0.0);
    let torn = place.path().join("runs/chat-1/journal");
    std::fs::write(&torn, b"no journal").unwrap();
    let unreadable = migrate_in(place.path(), place.path(), &["metrics"]).out;
    assert_eq!(value(&unreadable, "migrate_run_status{run=\"chat-1\",status=\"unreadable\"}"), 1.0, "{unreadable}");
}

#[test]
fn a_file_is_replaced_and_one_that_cannot_be_written_is_told() {
    let (place, text) = open_run();
    let at = |out: &str| migrate_in(place.path(), place.path(), &["metrics", "--out", out]);
    std::fs::write(place.path().join("migrate.prom"), "old").unwrap();
    assert_eq!((at("migrate.prom").code, at("migrate.prom").out.as_str()), (0, ""));
    assert_eq!(std::fs::read_to_string(place.path().join("migrate.prom")).unwrap(), text);
    assert!(!place.path().join("migrate.next").exists());
    let nowhere = at("none/migrate.prom");
    assert!(nowhere.code == 1 && nowhere.err.contains("none/migrate.prom cannot be written"), "{}", nowhere.err);
}

/// Every metric that a text names.
fn named(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !(c.is_ascii_lowercase() || c == '_'));
    words.filter(|word| word.starts_with("migrate_")).map(str::to_owned).collect()
}

#[test]
fn rules_dashboard_and_documents_name_what_is_there() {
    let (_place, text) = open_run();
    let help = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next());
    let there: BTreeSet<String> = help.map(str::to_owned).collect();
    for (doc, n) in DOCS.iter().zip(0..) {
        let other: Vec<String> = named(doc).difference(&there).cloned().collect();
        assert!(other.is_empty(), "{n}: {other:?} are no metrics: {there:?}");
    }
    assert_eq!(named(DOCS[0]), there, "the documents tell of each");
    let dashboard: serde_json::Value = serde_json::from_str(DOCS[2]).unwrap();
    assert!(dashboard["panels"].as_array().unwrap().len() >= 8);
    let rules = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/monitoring/alerts.yaml");
    let (fine, said) = promtool(&["check", "rules", rules.to_str().unwrap()], "");
    assert!(fine && said.contains("7 rules found"), "{said}");
}
