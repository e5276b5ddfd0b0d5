//! What CI is given: annotations of files, and tests that pass or fail.

use std::path::Path;
use std::process::Command;

use super::run::{Ran, migrate, migrate_in};
use crate::lab::python;

const INVENTORY: &str = "
hosts:
  dal-1: { address: 10.0.0.1 }
  fra-1: { address: 10.0.1.1 }
directors:
  edge: { haproxy: \"unix:/run/haproxy.sock\" }
";

/// Nobody would be left to serve.
const LONELY: &str = "
migration: lonely
inventory: ../inventory.yaml
services:
  uploads:
    move: { from: [dal-1], to: [fra-1] }
    traffic: { director: edge, pool: uploads }
    state: [{ directory: /srv/uploads }]
    health: [{ tcp: \"{{ address }}:80\" }]
    hooks: [{ at: freeze, run: \"echo '<&>'\" }]
";

/// A project with one plan, at whose root the program is run.
fn project(plan: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("plans")).unwrap();
    std::fs::write(dir.path().join("inventory.yaml"), INVENTORY).unwrap();
    std::fs::write(dir.path().join("plans/plan.yaml"), plan).unwrap();
    dir
}

fn at(dir: &Path, args: &[&str]) -> Ran {
    migrate_in(dir, &dir.join("state"), args)
}

#[test]
fn problems_of_files_stand_beside_their_lines() {
    let dir = project(
        "migration: web\ninventory: ../inventory.yaml\nservices:\n  web: {move: {from: dal-9, to: fra-1}, drian: {}}\n",
    );
    std::fs::write(dir.path().join("inventory.yaml"), format!("{INVENTORY}hots: {{}}\n")).unwrap();
    let github = at(dir.path(), &["validate", "plans/plan.yaml", "--format", "github"]);
    insta::assert_snapshot!("ci-validate-github", github.out);
    let gitlab = at(dir.path(), &["validate", "plans/plan.yaml", "--format", "gitlab"]);
    assert_eq!((github.code, gitlab.code), (1, 1));
    let issues: serde_json::Value = serde_json::from_str(&gitlab.out).unwrap();
    let place = |issue: &serde_json::Value| {
        format!("{}:{}", issue["location"]["path"].as_str().unwrap(), issue["location"]["lines"]["begin"])
    };
    let places: Vec<String> = issues.as_array().unwrap().iter().map(place).collect();
    assert_eq!(places, ["plans/plan.yaml:4", "plans/plan.yaml:4", "plans/plan.yaml:4", "inventory.yaml:7"]);
    for issue in issues.as_array().unwrap() {
        let text = |key: &str| issue[key].as_str().unwrap_or_else(|| panic!("no {key}: {issue}"));
        assert!(!text("description").is_empty() && text("fingerprint").len() == 64 && !text("check_name").is_empty());
        assert!(["info", "minor", "major", "critical", "blocker"].contains(&text("severity")));
    }
    // A plan of such files says the same of them.
    for format in ["github", "gitlab"] {
        let plan = at(dir.path(), &["plan", "--offline", "plans/plan.yaml", "--format", format]);
        let alone = if format == "github" { &github.out } else { &gitlab.out };
        assert_eq!((plan.code, &plan.out), (1, alone), "{}", plan.err);
    }
}

#[test]
fn what_speaks_against_a_plan_stands_beside_what_it_is_about() {
    let dir = project(LONELY);
    let github = at(dir.path(), &["plan", "--offline", "plans/plan.yaml", "--format", "github"]);
    assert_eq!(github.code, 1, "it is refused: {}", github.err);
    insta::assert_snapshot!("ci-plan-github", github.out);
    let gitlab = at(dir.path(), &["plan", "--offline", "plans/plan.yaml", "--format", "gitlab"]);
    let issues: serde_json::Value = serde_json::from_str(&gitlab.out).unwrap();
    assert_eq!(issues.as_array().unwrap().len(), github.out.lines().count());
    let fine = migrate(&["plan", "--offline", "plans/web.yaml", "--detailed-exitcode", "--format", "github"]);
    assert_eq!(fine.code, 2, "exit codes are those of every format: {}", fine.err);
    assert!(!fine.out.contains("::error"), "{}", fine.out);
}

/// What the reader of test reports that CI systems use makes of a report.
const READ: &str = "
import json, sys
from junitparser import JUnitXml
xml = JUnitXml.fromfile(sys.argv[1])
suites = []
for suite in xml:
    cases = [{'name': c.name, 'class': c.classname, 'passed': c.is_passed, 'failed': [r.message for r in c.result if type(r).__name__ == 'Failure'], 'says': c.system_out} for c in suite]
    suites.append({'name': suite.name, 'tests': suite.tests, 'failures': suite.failures, 'cases': cases})
print(json.dumps({'tests': xml.tests, 'failures': xml.failures, 'suites': suites}))
";

fn read(dir: &Path, report: &str) -> serde_json::Value {
    let path = dir.join("report.xml");
    std::fs::write(&path, report).unwrap();
    let python = python::programs(&["junitparser==5.0.3"]).join("python");
    let out = Command::new(python).args(["-c", READ]).arg(&path).output().unwrap();
    assert!(out.status.success(), "{}\n{report}", String::from_utf8_lossy(&out.stderr));
    serde_json::from_slice(&out.stdout).unwrap()
}

#[test]
fn a_reader_of_test_reports_takes_a_plan() {
    let dir = project(LONELY);
    let refused = at(dir.path(), &["plan", "--offline", "plans/plan.yaml", "--format", "junit"]);
    assert_eq!(refused.code, 1);
    let read_back = read(dir.path(), &refused.out);
    assert_eq!(read_back["failures"], 1, "{read_back}");
    let suites = read_back["suites"].as_array().unwrap();
    let names: Vec<&str> = suites.iter().map(|suite| suite["name"].as_str().unwrap()).collect();
    assert_eq!(names[0], "lonely: findings");
    let cases = || suites.iter().flat_map(|suite| suite["cases"].as_array().unwrap());
    assert_eq!(read_back["tests"].as_u64().unwrap() as usize, cases().count());
    for suite in suites {
        assert_eq!(suite["tests"].as_u64().unwrap() as usize, suite["cases"].as_array().unwrap().len());
    }
    let failed: Vec<_> = cases().filter(|case| !case["failed"].as_array().unwrap().is_empty()).collect();
    assert!(failed[0]["failed"][0].as_str().unwrap().contains("0 of 100 capacity would serve"), "{failed:?}");
    assert_eq!(cases().filter(|case| case["passed"] == true).count(), cases().count() - 1);
    let pair =
        cases().find(|case| case["class"] == "uploads" && case["name"].as_str().unwrap().starts_with("dal-1 → fra-1"));
    let says = pair.unwrap()["says"].as_str().unwrap();
    assert!(says.contains("<&>"), "what a plan runs is told as it is: {says}");
    assert!(refused.out.contains("file=\"plans/plan.yaml\" line=\"5\""), "{}", refused.out);
}

#[test]
fn a_reader_of_test_reports_takes_problems_of_files() {
    let dir = project("migration: web\nservices: {}\n");
    let ran = at(dir.path(), &["plan", "--offline", "plans/plan.yaml", "--format", "junit"]);
    assert_eq!(ran.code, 1);
    let read_back = read(dir.path(), &ran.out);
    assert!(read_back["failures"].as_u64().unwrap() >= 1 && read_back["tests"] == read_back["failures"], "{read_back}");
}
