//! Files in, plan out: nothing is contacted.

use super::run::{migrate, migrate_in};

#[test]
fn the_plans_of_the_project_read_well_offline() {
    for plan in ["uploads", "uploads-dns", "web"] {
        let ran = migrate(&["plan", "--offline", &format!("plans/{plan}.yaml")]);
        assert_eq!((ran.code, ran.err.as_str()), (0, ""), "{plan}");
        insta::assert_snapshot!(format!("plan-{plan}"), ran.out);
    }
}

#[test]
fn a_plan_for_a_pull_request_is_markdown() {
    let ran = migrate(&["plan", "--offline", "--format", "markdown", "plans/web.yaml"]);
    assert_eq!(ran.code, 0);
    insta::assert_snapshot!("plan-markdown", ran.out);
}

#[test]
fn a_plan_for_programs_is_json_with_every_step() {
    let ran = migrate(&["plan", "--offline", "--format", "json", "plans/uploads.yaml"]);
    let plan: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    let steps = plan["graph"]["steps"].as_array().unwrap();
    assert_eq!(steps.len(), 79);
    let lines = plan["waves"].as_array().unwrap().iter().flat_map(|wave| wave["groups"].as_array().unwrap());
    let lines = lines.flat_map(|group| group["lines"].as_array().unwrap());
    let told: Vec<_> = lines.filter(|line| line.get("changes").is_some()).collect();
    assert_eq!(told.len(), 9, "both catch-ups and last pass of three pairs");
    for line in told {
        assert_eq!(line["changes"]["unknown"]["why"], "not known until the host is asked");
    }
    for step in steps {
        for after in step["after"].as_array().unwrap() {
            let earlier = steps.iter().take_while(|s| s["id"] != step["id"]).any(|s| s["id"] == *after);
            assert!(earlier, "{} waits for {after}, which does not stand before it", step["id"]);
        }
    }
}

#[test]
fn pending_changes_have_an_exit_code_of_their_own_when_asked_for() {
    assert_eq!(migrate(&["plan", "--offline", "plans/web.yaml"]).code, 0);
    assert_eq!(migrate(&["plan", "--offline", "--detailed-exitcode", "plans/web.yaml"]).code, 2);
    assert_eq!(migrate(&["plan", "--offline", "--detailed-exitcode", "plans/none.yaml"]).code, 1);
}

#[test]
fn help_shows_the_exit_codes_and_teaches_by_example() {
    let help = migrate(&["--help"]);
    assert_eq!(help.code, 0);
    assert!(help.out.contains("Exit codes:"), "{}", help.out);
    for command in [&["plan"][..], &["apply"], &["copy"], &["director", "show"]] {
        let help = migrate(&[command, &["--help"]].concat());
        assert!(help.out.contains("Examples:"), "{command:?}: {}", help.out);
    }
}

#[test]
fn completions_are_there_for_the_usual_shells() {
    for shell in ["bash", "zsh", "fish"] {
        let ran = migrate(&["completions", shell]);
        assert!(ran.code == 0 && ran.out.contains("migrate"), "{shell}: {}", ran.err);
    }
}

#[test]
fn without_runs_status_says_so_and_an_unknown_name_is_an_error() {
    let none = migrate(&["status"]);
    assert_eq!(none.code, 0);
    assert!(
        none.out.starts_with("There are no runs yet: no journal is at /"),
        "it says where it has looked: {}",
        none.out
    );
    let unknown = migrate(&["status", "nope"]);
    assert_eq!(unknown.code, 1);
    insta::assert_snapshot!(unknown.err, @r"
    error: there is no run or plan named nope
      help: `migrate status` lists all runs
    ");
}

const INVENTORY: &str = "
hosts:
  dal-1: { address: 10.0.0.1 }
  fra-1: { address: 10.0.1.1 }
directors:
  edge: { haproxy: \"unix:/run/haproxy.sock\" }
";

fn with_plan(plan: &str) -> super::run::Ran {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("inv.yaml"), INVENTORY).unwrap();
    std::fs::write(dir.path().join("plan.yaml"), plan).unwrap();
    migrate_in(dir.path(), dir.path(), &["plan", "--offline", "plan.yaml"])
}

#[test]
fn a_plan_that_would_leave_nobody_serving_is_refused_with_the_numbers() {
    let ran = with_plan(
        "
migration: lonely
inventory: inv.yaml
services:
  uploads:
    move: { from: [dal-1], to: [fra-1] }
    traffic: { director: edge, pool: uploads }
    state: [{ directory: /srv/uploads }]
    health: [{ tcp: \"{{ address }}:80\" }]
    hooks: [{ at: freeze, run: systemctl stop uploads }]
",
    );
    assert_eq!(ran.code, 1);
    let refusal: Vec<&str> = ran.out.lines().skip_while(|l| !l.starts_with("refused")).take(2).collect();
    insta::assert_snapshot!(refusal.join("\n"), @r"
    refused: edge uploads: at step uploads/dal-1/drain 0 of 100 capacity would serve, and 1 must: nobody would be left, and users would get errors
        help: lower max_unavailable, give targets enough capacity, or set `min_capacity` to what is enough
    ");
}

#[test]
fn what_is_risky_is_said_even_offline() {
    let ran = with_plan(
        "
migration: risky
inventory: inv.yaml
services:
  files:
    move: { from: [dal-1], to: [fra-1] }
    state: [{ directory: /srv/uploads, verify: false }]
    drain: { on_deadline: proceed }
",
    );
    let risks: Vec<&str> = ran.out.lines().filter(|l| l.starts_with("risk")).collect();
    insta::assert_snapshot!(risks.join("\n"), @r"
    risk: files: has no `freeze` hook: only the drain keeps the source from being written to
    risk: files: has state that is not verified: a damaged copy would be noticed by its users
    risk: files: proceeds when its drain misses the deadline: connections that are left break
    ");
}

#[test]
fn what_streams_add_to_the_freeze_is_unknown_or_bounded_by_their_timeouts() {
    let said = |timeout: &str| {
        let plan = format!(
            "
migration: poured
inventory: inv.yaml
services:
  database:
    strategy: cutover
    move: {{ from: [dal-1], to: [fra-1] }}
    state: [{{ stream: {{ from: pg_dump app, to: psql app }}{timeout} }}]
    hooks: [{{ at: freeze, run: systemctl stop app }}]
"
        );
        let ran = with_plan(&plan);
        let risky = ran.out.contains("which nobody can estimate");
        (ran.out.lines().find(|line| line.contains("Streams add")).unwrap_or(&ran.err).to_owned(), risky)
    };
    let (unbounded, risky) = said("");
    assert!(
        unbounded.ends_with("Streams add to the freeze of each pair, and for how long is unknown.") && risky,
        "{unbounded}"
    );
    let (bounded, risky) = said(", timeout: 20m");
    assert!(bounded.ends_with("what nobody knows before, at most 20m 00s.") && !risky, "{bounded}");
}

/// Three pairs behind one pool; what the rail says of them.
fn refusal(capacity: &str, wave: &str, service: &str) -> String {
    let dir = tempfile::tempdir().unwrap();
    let inventory = format!(
        "
hosts:
  dal-[1-3]: {{ address: \"10.0.0.[1-3]\", vars: {{ rack: a }} }}
  fra-[1-3]: {{ address: \"10.0.1.[1-3]\", capacity: {capacity}, vars: {{ rack: b }} }}
directors:
  edge: {{ haproxy: \"unix:/run/haproxy.sock\" }}
"
    );
    let plan = format!(
        "
migration: railed
inventory: inv.yaml
services:
  uploads:
    move: {{ from: \"dal-[1-3]\", to: \"fra-[1-3]\" }}
    traffic: {{ director: edge, pool: uploads }}
    health: {{ tcp: \"{{{{ address }}}}:80\" }}
    {service}
waves: [{{ name: all, services: [uploads], {wave} }}]
"
    );
    std::fs::write(dir.path().join("inv.yaml"), inventory).unwrap();
    std::fs::write(dir.path().join("plan.yaml"), plan).unwrap();
    let ran = migrate_in(dir.path(), dir.path(), &["plan", "--offline", "plan.yaml"]);
    assert_eq!(ran.err, "");
    ran.out.lines().find(|l| l.starts_with("refused")).unwrap_or("fine").to_owned()
}

#[test]
fn a_plan_that_cannot_keep_its_capacity_is_refused_with_step_and_number() {
    let cutover = "state: {directory: /srv/uploads, delete: false}\n    drain: {stops_writes: true}";
    assert_eq!(refusal("100", "max_unavailable: 1", cutover), "fine");
    let two = refusal("100", "max_unavailable: 2", cutover);
    assert!(two.contains("at step uploads/dal-1/drain 100 of 300 capacity would serve, and 200 must"), "{two}");
    // All sources stand in one rack, and all targets.
    let one_a_rack = "max_unavailable: 2 }]\nlimits: [{ each: rack, max_unavailable: 1";
    assert_eq!(refusal("100", one_a_rack, cutover), "fine");
    let two_a_rack = refusal("100", &one_a_rack.replace("able: 1", "able: 2"), cutover);
    assert!(two_a_rack.contains("100 of 300 capacity would serve, and 200 must"), "{two_a_rack}");
    let enough = format!("{cutover}\n    min_capacity: 30%");
    assert_eq!(refusal("100", "max_unavailable: 2", &enough), "fine");
    // A step that is fine at first is not once targets that are too small have taken over.
    let small = refusal("50", "max_unavailable: 1", cutover);
    assert!(small.contains("at step uploads/dal-3/drain 100 of 300"), "{small}");
    let ramp = refusal("50", "max_unavailable: 1", "strategy: ramp");
    assert!(ramp.contains("150 of 300 capacity would serve, and 200 must"), "{ramp}");
}

#[test]
fn a_plan_is_rehearsed_with_every_fault_and_keeps_its_promises() {
    let ran = migrate(&["rehearse", "plans/web.yaml", "--format", "json"]);
    let report: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!((ran.code, ran.err.as_str()), (0, ""), "{}", ran.out);
    assert_eq!(report["broken"], serde_json::json!([]));
    let one = &report["levels"][1];
    assert!(one["faults"] == 1 && one["played"] == one["histories"], "{one}");
}

#[test]
fn a_rehearsal_with_a_limit_says_what_it_left_out() {
    let ran = migrate(&["rehearse", "plans/uploads.yaml", "--limit", "200", "--seed", "7"]);
    assert_eq!(ran.code, 0, "{}", ran.out);
    assert!(ran.out.contains("not all were played") && ran.out.contains("this was 7"), "{}", ran.out);
    assert_eq!(migrate(&["rehearse", "plans/uploads.yaml", "--limit", "200", "--seed", "7"]).out, ran.out);
}
