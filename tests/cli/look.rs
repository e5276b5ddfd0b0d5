//! What people see, as wide as their terminals are, and of a thousand pairs no more than a screen.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use jiff::Timestamp;
use migrate::config::{self, LoadOptions};
use migrate::event::{LastWords, RunState};
use migrate::planner;
use migrate::planner::proposal::Proposal;
use migrate::render::{self, RunReport, Show, Style};
use migrate::spec::Spec;

use super::run::{migrate, migrate_in};

#[path = "../../benches/scale/fleet.rs"]
mod fleet;
#[path = "../../benches/scale/idle.rs"]
mod idle;

fn at(width: usize) -> Style {
    Style { width: Some(width), ..Style::default() }
}

fn loaded(plan: &Path) -> (Spec, Proposal) {
    let (spec, _) = config::load(plan, None, &LoadOptions::default()).unwrap_or_else(|e| panic!("{e}"));
    let mut proposal = planner::propose(&spec, None);
    for input in &mut proposal.inputs {
        input.path = input.path.file_name().unwrap().into();
    }
    (spec, proposal)
}

/// A fleet of that many pairs.
fn large(pairs: usize, waves: usize) -> (Spec, Proposal) {
    let dir = tempfile::tempdir().unwrap();
    loaded(&fleet::cutover(dir.path(), pairs, waves))
}

#[track_caller]
fn fits(text: &str, width: usize) {
    // What is to be copied into a shell stays in one line.
    for line in text.lines().filter(|line| !line.contains("migrate ")) {
        assert!(line.chars().count() <= width, "{} columns: {line}", line.chars().count());
    }
}

/// Everything but where lines break.
fn words(text: &str) -> Vec<&str> {
    text.split_whitespace().collect()
}

#[test]
fn a_plan_reads_well_at_80_and_160_columns() {
    let plan = Path::new(env!("CARGO_MANIFEST_DIR")).join("plans/uploads.yaml");
    let (_, proposal) = loaded(&plan);
    let [narrow, wide] = [80, 160].map(|width| proposal.text(at(width)));
    fits(&narrow, 80);
    fits(&wide, 160);
    insta::assert_snapshot!("plan-80", narrow);
    insta::assert_snapshot!("plan-160", wide);
    assert_eq!(words(&narrow), words(&proposal.text(Style::default())), "in a log it says the same");
}

#[test]
fn a_terminal_has_lines_that_fit_it() {
    let ran = migrate(&["plan", "--offline", "plans/uploads.yaml"]);
    assert_eq!(ran.code, 0, "{}", ran.err);
    let inside = format!("stty cols 80; exec {} plan --offline plans/uploads.yaml", env!("CARGO_BIN_EXE_migrate"));
    let state = tempfile::tempdir().unwrap();
    let out = Command::new("script")
        .args(["--quiet", "--return", "--command", &inside, "/dev/null"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .env("MIGRATE_STATE_DIR", state.path())
        .env("NO_COLOR", "1")
        .stdin(std::process::Stdio::null())
        .output()
        .unwrap();
    let seen = String::from_utf8(out.stdout).unwrap().replace('\r', "");
    assert!(out.status.success(), "{seen}");
    fits(&seen, 80);
    assert_eq!(words(&seen), words(&ran.out));
    assert!(seen.lines().count() > ran.out.lines().count(), "lines were broken: {seen}");
}

#[test]
fn a_long_path_loses_its_middle_and_verbose_tells_all_of_it() {
    let dir = tempfile::tempdir().unwrap();
    let long = "/srv/customers/of/the/service/which/has/a/very/long/name/indeed/uploads/of/all/users/data";
    let plan = fleet::cutover(dir.path(), 4, 1);
    let text = std::fs::read_to_string(&plan).unwrap().replace("/srv/uploads", long);
    std::fs::write(&plan, text).unwrap();
    let (_, proposal) = loaded(&plan);
    let text = proposal.text(at(80));
    fits(&text, 80);
    let seed = text.lines().find(|line| line.contains("~ seed")).unwrap();
    assert_eq!(seed, "    ~ seed         /srv/customers/of/the/se…me/indeed/uploads/of/all/users/data,");
    assert!(proposal.text(Style { verbose: true, ..at(80) }).contains(long));
    assert!(proposal.text(at(160)).contains(long) && proposal.text(Style::default()).contains(long));
}

#[test]
fn a_plan_of_a_thousand_pairs_is_a_screen_and_not_a_book() {
    let (_, one) = large(1000, 1);
    let (_, ten) = large(1000, 10);
    for (proposal, most) in [(&one, 60), (&ten, 90)] {
        let text = proposal.text(at(160));
        assert!(text.lines().count() <= most, "{} lines:\n{text}", text.lines().count());
        fits(&text, 160);
        let all = proposal.text(Style { verbose: true, ..at(160) });
        for pair in ["00001 → ", "00050 → ", "00100 → "] {
            assert!(all.contains(pair), "{pair} is missing");
        }
        let steps = all.lines().filter(|line| ["    ~ ", "    ? "].iter().any(|mark| line.starts_with(mark))).count();
        assert_eq!(steps, proposal.graph.steps.len(), "every step has its line");
    }
    insta::assert_snapshot!("plan-fleet-80", one.text(at(80)));
    insta::assert_snapshot!("plan-fleet-waves-160", ten.text(at(160)));
}

#[test]
fn waves_that_are_not_alike_are_told_apart() {
    let dir = tempfile::tempdir().unwrap();
    let plan = fleet::cutover(dir.path(), 40, 4);
    let text = std::fs::read_to_string(&plan).unwrap();
    // In the third wave something else is stopped.
    let (head, tail) = text.split_once("  uploads2:").unwrap();
    let other = tail.replacen("systemctl stop uploads, undo", "systemctl stop others, undo", 1);
    std::fs::write(&plan, format!("{head}  uploads2:{other}")).unwrap();
    let (_, proposal) = loaded(&plan);
    let text = proposal.text(Style::default());
    assert!(text.contains("\nWave w00001, ") && !text.contains("Waves"), "{text}");
    assert_eq!(text.matches("systemctl stop others").count(), 1, "{text}");
    assert_eq!(text.matches("systemctl stop uploads").count(), 1, "{text}");
    assert!(text.contains("dal3-00010 → fra3-00010  the same steps as uploads0 in wave w00000"), "{text}");
}

/// A run of which so many of ten records are written.
fn begun(pairs: usize, tenths: usize) -> RunState {
    let (spec, proposal) = large(pairs, 1);
    let records = idle::run(&spec, &idle::idle(&proposal.graph));
    let records = records[..records.len() * tenths / 10].to_vec();
    RunState::fold(records, Arc::new(proposal.graph)).unwrap()
}

#[test]
fn a_run_of_many_pairs_is_a_screen_too() {
    let state = begun(300, 4);
    let report = RunReport::new(&state, true);
    let text = report.text(at(80));
    assert!(text.lines().count() <= 40, "{text}");
    fits(&text, 80);
    insta::assert_snapshot!("status-80", text);
    let all = report.text(Style { verbose: true, ..Style::default() });
    assert_eq!(all.lines().filter(|line| line.contains(" steps, target at ")).count(), 300);
    let explained = render::explain(&state, true, &LastWords::default(), Timestamp::UNIX_EPOCH);
    let text = explained.text(at(80));
    assert!(text.lines().count() <= 40, "{text}");
    insta::assert_snapshot!("explain-80", text);
    let all = explained.text(Style { verbose: true, ..Style::default() });
    let told: Vec<&str> = explained.waits.iter().map(|wait| wait.step.as_str()).collect();
    assert!(told.iter().all(|step| all.contains(step)), "{all}");
}

#[test]
fn what_speaks_against_many_hosts_is_told_once_and_counted() {
    let dir = tempfile::tempdir().unwrap();
    let plan = fleet::cutover(dir.path(), 40, 1);
    let inventory = dir.path().join("inventory.yaml");
    // Nothing listens there: every host is out of reach, one by one.
    let refusing = |n: usize| format!("\"127.0.{n}.[1-40]\", ssh: {{ port: 1 }}");
    let hosts = std::fs::read_to_string(&inventory).unwrap().replace("\"{{ name }}.dal.example\"", &refusing(1));
    std::fs::write(&inventory, hosts.replace("\"{{ name }}.fra.example\"", &refusing(2))).unwrap();
    let ran = migrate_in(dir.path(), &dir.path().join("state"), &["plan", plan.to_str().unwrap()]);
    assert_eq!(ran.code, 1, "{}", ran.err);
    let about_hosts =
        ran.out.lines().filter(|line| line.starts_with("refused: dal0-") || line.starts_with("refused: fra0-"));
    assert!((1..=4).contains(&about_hosts.count()), "{}", ran.out);
    assert!(ran.out.contains(" like it: ") && ran.out.lines().count() < 120, "{}", ran.out);
}
