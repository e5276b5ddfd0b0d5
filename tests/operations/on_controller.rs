//! Hooks on the controller's own machine: under receipts that go wherever the journal goes, once, whatever becomes of the controller.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use super::support::*;
use crate::lab::fleet::Fleet;

const STEP: &str = "web/dal-1/before_shift";
/// In the environment of the hook: it must come out nowhere.
const CANARY: &str = "S3cr3t-of-the-hook";

/// A plan of the ramp with these hooks instead of its own ones.
fn with_hooks(fleet: &Fleet, hooks: &[&str]) {
    let path = fleet.place.root().join(RAMP);
    let text = fs::read_to_string(&path).unwrap();
    let (service, _) = text.split_once("    hooks:").unwrap();
    let hooks: String = hooks.iter().map(|hook| format!("      - {{on: controller, {hook}}}\n")).collect();
    fs::write(path, format!("{service}    hooks:\n{hooks}")).unwrap();
}

fn file(fleet: &Fleet, name: &str) -> PathBuf {
    fleet.place.root().join(name)
}

#[track_caller]
fn wait_for(fleet: &Fleet, name: &str) {
    let end = std::time::Instant::now() + crate::lab::process::PATIENCE;
    while !file(fleet, name).exists() {
        assert!(std::time::Instant::now() < end, "{name} never came");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// A run whose controller was killed while its hook waits for the file `go`.
fn killed_in_the_middle(fleet: &Fleet, class: &str) {
    let run = "touch {{ lab }}/began; until [ -e {{ lab }}/go ]; do sleep 0.05; done; echo do >> {{ lab }}/hooks";
    with_hooks(
        fleet,
        &[&format!(
            "at: before_shift, timeout: 10m, run: 'echo $$ > {{{{ lab }}}}/pid; {run}', undo: 'echo undo >> {{{{ lab }}}}/hooks'{class}"
        )],
    );
    let mut running = apply(fleet, RAMP);
    wait_for_intent(&mut running, STEP, false);
    wait_for(fleet, "began");
    running.kill();
}

/// Everything in the state directory and in what was said.
#[track_caller]
fn assert_secret(fleet: &Fleet, said: &str) {
    assert!(!said.contains(CANARY), "{said}");
    let mut open = vec![migrate(fleet).state_dir()];
    while let Some(dir) = open.pop() {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => open.push(path),
                false => {
                    let bytes = fs::read(&path).unwrap_or_default();
                    let found = bytes.windows(CANARY.len()).any(|part| part == CANARY.as_bytes());
                    assert!(!found, "{} holds a secret", path.display());
                }
            }
        }
    }
}

#[test]
fn a_hook_on_the_controller_knows_both_hosts_and_its_secret_and_shows_nothing_of_it() {
    let fleet = ramp(2);
    fs::write(file(&fleet, "plans/secret"), format!("{CANARY}\n")).unwrap();
    fs::create_dir_all(file(&fleet, "home")).unwrap();
    let told = r#"echo "$MIGRATE_SOURCE $MIGRATE_SOURCE_ADDRESS $MIGRATE_TARGET $MIGRATE_TARGET_ADDRESS" {{ name }} "$(pwd)" >> {{ lab }}/told"#;
    let secret = "cat /proc/[0-9]*/cmdline > {{ lab }}/argv 2>/dev/null; [ \"$KEY\" = S3cr3t\"\"-of-the-hook ]";
    let odd = r#"printf "odd \033[31m\n""#;
    with_hooks(
        &fleet,
        &[
            &format!(
                "at: before_shift, run: '{told}; {secret} || exit 9; {odd}', undo: 'echo undo >> {{{{ lab }}}}/hooks', secrets: {{KEY: {{file: ./secret}}}}"
            ),
            "at: before_pair, run: 'echo {{ name }} >> {{ lab }}/before', undo: none",
        ],
    );
    let plan = migrate(&fleet).run(&["plan", RAMP]).expect(0);
    assert!(plan.stdout.contains("on the controller: echo"), "{}", plan.stdout);
    let ended = migrate(&fleet).run(&["apply", RAMP, "--yes"]).expect(0);
    assert_secret(&fleet, &format!("{}{}", ended.stdout, ended.stderr));
    assert!(!ended.stdout.contains('\u{1b}') && ended.stdout.contains("odd \\u{1b}[31m"), "{}", ended.stdout);
    let argv = fs::read(file(&fleet, "argv")).unwrap();
    assert!(!String::from_utf8_lossy(&argv).contains(CANARY));
    let mut told: Vec<String> = fs::read_to_string(file(&fleet, "told")).unwrap().lines().map(str::to_owned).collect();
    told.sort();
    let home = file(&fleet, "home");
    let should = fleet.pairs().map(|(source, target)| {
        let home = home.display();
        format!(
            "{} {} {} {} {} {home}",
            source.name,
            source.sshd.addr().ip(),
            target.name,
            target.sshd.addr().ip(),
            target.name
        )
    });
    assert_eq!(told, should.collect::<Vec<_>>());
    // Before the pair it is the source whose values are put in.
    assert!(fs::read_to_string(file(&fleet, "before")).unwrap().contains("dal-1\n"));
    let export = migrate(&fleet).run(&["audit", "export", "web-1"]).expect(0);
    assert!(export.stdout.contains("\"the controller\""), "{}", export.stdout);
    migrate(&fleet).run(&["rollback", "web", "--yes"]).expect(0);
    assert_eq!(hook_lines(&fleet), ["undo", "undo"]);
}

#[test]
fn a_hook_on_the_controller_that_outlives_it_is_waited_for_and_not_run_again() {
    let fleet = ramp(1);
    killed_in_the_middle(&fleet, "");
    let mut again = apply(&fleet, RAMP);
    wait_for_intent(&mut again, STEP, false);
    fs::write(file(&fleet, "go"), "").unwrap();
    again.finish().expect(0);
    assert_eq!(hook_lines(&fleet), ["do"]);
}

#[test]
fn a_hook_on_the_controller_that_outlives_it_is_undone_after_its_end() {
    let fleet = ramp(1);
    let before = pool(&fleet);
    killed_in_the_middle(&fleet, "");
    let mut back = migrate(&fleet).start(&["rollback", "web", "--yes", "--format", "json"]);
    wait_for_words(&mut back, STEP, "to end, which is to be undone");
    fs::write(file(&fleet, "go"), "").unwrap();
    back.finish().expect(0);
    assert_eq!((hook_lines(&fleet), pool(&fleet)), (vec!["do".to_owned(), "undo".to_owned()], before));
}

/// Ends the hook and all that keeps its receipt, as a machine that goes down would.
fn end_all(fleet: &Fleet) {
    let pid = fs::read_to_string(file(fleet, "pid")).unwrap();
    let session = Command::new("ps").args(["-o", "sess=", "-p", pid.trim()]).output().unwrap();
    let session = String::from_utf8(session.stdout).unwrap();
    assert!(!session.trim().is_empty(), "the hook does not run");
    let all = Command::new("ps").args(["-o", "pid=", "-s", session.trim()]).output().unwrap();
    for pid in String::from_utf8(all.stdout).unwrap().split_whitespace() {
        let _ = Command::new("kill").args(["-9", pid]).output();
    }
}

#[test]
fn a_hook_on_the_controller_that_went_down_with_it_is_unknown_and_holds_until_somebody_says() {
    let fleet = ramp(1);
    killed_in_the_middle(&fleet, "");
    end_all(&fleet);
    for _ in 0..2 {
        let held = migrate(&fleet).run(&["apply", RAMP, "--yes"]).expect(3);
        assert!(held.stdout.contains("the controller: the command was killed before its end"), "{}", held.stdout);
        assert!(held.stdout.contains(&format!("migrate resolve web-1 {STEP}")), "{}", held.stdout);
        assert!(hook_lines(&fleet).is_empty());
    }
    migrate(&fleet).run(&["resolve", "web", STEP, "--done", "--why", "I looked"]).expect(0);
    migrate(&fleet).run(&["apply", RAMP, "--yes"]).expect(0);
    assert!(hook_lines(&fleet).is_empty());
}

#[test]
fn a_hook_on_the_controller_that_may_be_repeated_is_made_again_when_it_went_down() {
    let fleet = ramp(1);
    killed_in_the_middle(&fleet, ", idempotent: true");
    end_all(&fleet);
    fs::write(file(&fleet, "go"), "").unwrap();
    migrate(&fleet).run(&["apply", RAMP, "--yes"]).expect(0);
    assert_eq!(hook_lines(&fleet), ["do"]);
}

/// A journal that is carried to another machine brings the receipts along; there, nobody can tell whether what began still runs.
#[test]
fn a_run_that_is_taken_up_elsewhere_knows_what_ran_on_the_controller() {
    let fleet = ramp(1);
    with_hooks(&fleet, &["at: before_shift, run: 'echo do >> {{ lab }}/hooks; exit 4', undo: none"]);
    let held = migrate(&fleet).run(&["apply", RAMP, "--yes"]).expect(3);
    assert!(held.stdout.contains("the controller: the command ended with status 4"), "{}", held.stdout);
    killed_in_the_middle_of(&fleet);
    let boots = receipts(&fleet);
    assert_eq!(boots.len(), 1, "{boots:?}");
    let text = fs::read_to_string(&boots[0]).unwrap();
    let (line, _) = text.trim().rsplit_once(' ').unwrap();
    fs::remove_file(&boots[0]).unwrap();
    fs::write(&boots[0], format!("{line} 00000000-0000-0000-0000-000000000000\n")).unwrap();
    let held = migrate(&fleet).run(&["apply", "plans/again.yaml", "--yes"]).expect(3);
    assert!(held.stdout.contains("the controller: the command was killed before its end"), "{}", held.stdout);
    end_all(&fleet);
}

/// The same plan under another name, killed while its hook waits.
fn killed_in_the_middle_of(fleet: &Fleet) {
    migrate(fleet).run(&["rollback", "web", "--yes"]).expect(0);
    let text = fs::read_to_string(file(fleet, RAMP)).unwrap();
    let (service, _) = text.split_once("    hooks:").unwrap();
    let hook = "{on: controller, at: before_shift, timeout: 10m, run: 'echo $$ > {{ lab }}/pid; touch {{ lab }}/began; sleep 500', undo: none}";
    let text = format!("{service}    hooks: [{hook}]\n").replace("migration: web", "migration: again");
    fs::write(file(fleet, "plans/again.yaml"), text).unwrap();
    let mut running = apply(fleet, "plans/again.yaml");
    wait_for_intent(&mut running, STEP, false);
    wait_for(fleet, "began");
    running.kill();
}

/// What says of each command on the controller when and where it began.
fn receipts(fleet: &Fleet) -> Vec<PathBuf> {
    let dir = migrate(fleet).state_dir().join("runs/again-1/controller/receipts/again-1");
    let hosts = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let steps = hosts.flat_map(|host| fs::read_dir(host).unwrap().map(|entry| entry.unwrap().path()));
    steps.map(|step| step.join("go")).filter(|go| go.exists()).collect()
}

#[test]
fn a_hook_on_the_controller_that_takes_too_long_is_stopped_and_holds_and_needs_no_way_in() {
    let mut fleet = ramp(1);
    let hook = "at: before_shift, timeout: 6s, run: '[ -e {{ lab }}/mended ] || sleep 600; echo do >> {{ lab }}/hooks', undo: none";
    with_hooks(&fleet, &[hook]);
    fleet.sources[0].sshd.stop();
    fleet.targets[0].sshd.stop();
    let held = migrate(&fleet).run(&["apply", RAMP, "--yes"]).expect(3);
    assert!(held.stdout.contains("the controller: the command ended with status 124"), "{}", held.stdout);
    fs::write(file(&fleet, "mended"), "").unwrap();
    migrate(&fleet).run(&["apply", RAMP, "--yes"]).expect(0);
    assert_eq!(hook_lines(&fleet), ["do"]);
}
