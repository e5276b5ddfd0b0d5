//! State that moves by its own replication: the two worked examples of docs/replica.md, as they are, while clients write all the time.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write as _;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::lab::command::{Ended, Running};
use crate::lab::databases::client::{Client, assert_handed_over, assert_has_all};
use crate::lab::databases::pair::Pair;
use crate::lab::databases::runs::{apply_with_kills, moves_and_is_killed, run_with_kills};
use crate::lab::packages::program;

/// What both examples have in common: the plan around the commands.
const PLAN: &str = r#"
migration: replica
inventory: inventory.yaml
services:
  store:
    move: {from: old, to: new}
    hooks:
      - {at: thaw, run: "true", undo: none}
    state:
      replica:
        seed: {run: "sh {{ tool }} seed", undo: "sh {{ tool }} unseed"}
        link: {run: "sh {{ tool }} link", done_when: "sh {{ tool }} linked", undo: "sh {{ tool }} unlink"}
        lag: sh {{ tool }} lag
        digest: sh {{ tool }} digest
        position: sh {{ tool }} position
        reached: sh {{ tool }} reached
        fence: sh {{ tool }} fence
        unfence: sh {{ tool }} unfence
        writer: sh {{ tool }} writer
        promote: sh {{ tool }} promote
        freeze_within: 60s
"#;
const LOG: &str = r#"
        check: command -v flock
        release: {on: to, run: "sh {{ tool }} release", idempotent: true}
"#;
const SQLITE: &str = r#"
        prepare: {run: "sh {{ tool }} prepare", undo: "sh {{ tool }} unprepare", idempotent: true}
        verify: frozen
        release:
          - {on: from, run: "sh {{ tool }} release-source", idempotent: true}
          - {on: to, run: "sh {{ tool }} release-target", idempotent: true}
"#;

/// Writes a word to the store of a host, unless that one is not the writer.
type Write = fn(&Path, &str) -> bool;
/// Everything in the store of a host.
type Read = fn(&Path) -> BTreeSet<String>;

/// Two hosts, and the store on each.
struct Lab {
    pair: Pair,
    write: Write,
    read: Read,
}

impl Lab {
    fn log() -> Self {
        let lab = Self::start("log.sh", &format!("{PLAN}{LOG}"), write_log, read_log);
        fs::write(lab.data(0).join("role"), "writer\n").unwrap();
        fs::write(lab.data(0).join("entries"), "").unwrap();
        lab
    }

    fn sqlite() -> Self {
        program("sqlite3", "sqlite3");
        let lab = Self::start("sqlite.sh", &format!("{PLAN}{SQLITE}"), write_sqlite, read_sqlite);
        sqlite(&lab.data(0), "create table entries(id integer primary key, word text not null unique)").unwrap();
        lab
    }

    fn start(tool: &str, plan: &str, write: Write, read: Read) -> Self {
        let pair = Pair::start("replica-");
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/replica").join(tool);
        let root = pair.root();
        fs::copy(&script, root.join(tool)).unwrap();
        fs::copy(script.with_file_name("ship.sh"), root.join("ship.sh")).unwrap();
        pair.write_files(plan, |host| {
            let (data, tool, reach) = (pair.home(host).join("store"), root.join(tool), pair.ssh(host));
            format!("data: {}, tool: {}, reach: \"{reach}\"", data.display(), tool.display())
        });
        fs::create_dir_all(root.join("old/store")).unwrap();
        Self { pair, write, read }
    }

    /// The store of the old host, or of the new one.
    fn data(&self, host: usize) -> PathBuf {
        self.home(host).join("store")
    }

    /// A client that writes words to whichever host takes them.
    fn client(&self) -> Client {
        let (data, write) = ([self.data(0), self.data(1)], self.write);
        Client::start(move |host, word| write(&data[host], word))
    }

    /// Which hosts take a word now.
    fn writers(&self, word: &str) -> [bool; 2] {
        [0, 1].map(|host| (self.write)(&self.data(host), &format!("{word}-{host}")))
    }

    /// Everything of the run has ended on both hosts.
    #[track_caller]
    fn assert_nothing_runs(&self) {
        for host in &self.hosts {
            let loops = host.session_processes().into_iter().filter(|pid| {
                let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
                line.split(|b| *b == 0).any(|word| word == b"loop")
            });
            assert_eq!(loops.collect::<Vec<_>>(), Vec::<u32>::new(), "{}", host.host().name);
        }
    }
}

impl Deref for Lab {
    type Target = Pair;

    fn deref(&self) -> &Pair {
        &self.pair
    }
}

/// Under the lock, and only while the role is `writer`.
fn write_log(data: &Path, word: &str) -> bool {
    let Ok(lock) = fs::OpenOptions::new().append(true).create(true).open(data.join("lock")) else { return false };
    rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockExclusive).unwrap();
    if fs::read_to_string(data.join("role")).unwrap_or_default() != "writer\n" {
        return false;
    }
    let Ok(mut entries) = fs::OpenOptions::new().append(true).open(data.join("entries")) else { return false };
    writeln!(entries, "{word}").is_ok()
}

fn read_log(data: &Path) -> BTreeSet<String> {
    fs::read_to_string(data.join("entries")).unwrap().lines().map(str::to_owned).collect()
}

fn sqlite(data: &Path, sql: &str) -> Result<String, String> {
    let db = data.join("app.db");
    let out = Command::new("sqlite3").args(["-bail", "-cmd", ".timeout 5000"]).arg(db).arg(sql).output().unwrap();
    match out.status.success() {
        true => Ok(String::from_utf8_lossy(&out.stdout).trim().to_owned()),
        false => Err(String::from_utf8_lossy(&out.stderr).into_owned()),
    }
}

fn write_sqlite(data: &Path, word: &str) -> bool {
    data.join("app.db").exists() && sqlite(data, &format!("insert into entries(word) values ('{word}')")).is_ok()
}

fn read_sqlite(data: &Path) -> BTreeSet<String> {
    sqlite(data, "select word from entries").unwrap().lines().map(str::to_owned).collect()
}

/// Moved: nothing is lost, the target takes writes, and the source takes none.
#[track_caller]
fn assert_moved(lab: &Lab, acked: &[(String, usize)]) {
    assert_eq!(lab.writers("after"), [false, true]);
    assert_handed_over(acked, &(lab.read)(&lab.data(1)));
    lab.assert_nothing_runs();
}

/// Moves a store while a client writes.
fn moves(lab: &Lab) -> Ended {
    let client = lab.client();
    client.wait_for_more(50);
    let ended = lab.migrate().run(&["apply", "plan.yaml", "--yes"]).expect(0);
    client.wait_for_more(50);
    let acked = client.stop();
    println!("{}\n{} words acknowledged", ended.stdout, acked.len());
    assert_moved(lab, &acked);
    ended
}

#[test]
fn a_log_moves_to_its_replica_while_it_is_written_to() {
    let lab = Lab::log();
    let plan = lab.migrate().run(&["plan", "plan.yaml"]).expect(0);
    for words in ["takes no writes any more", "is a point of no return: what new takes from then on old does not get"] {
        assert!(plan.stdout.contains(words), "{words}: {}", plan.stdout);
    }
    let told = moves(&lab).stdout;
    for words in ["store/old/replica-prove", "new has everything up to", "new takes writes, and old takes none"] {
        assert!(told.contains(words), "{words}: {told}");
    }
}

#[test]
fn a_table_in_sqlite_moves_to_its_replica_while_it_is_written_to() {
    let lab = Lab::sqlite();
    moves(&lab);
    let kept =
        |host: usize| sqlite(&lab.data(host), "select name from sqlite_master where name like 'migrate_%'").unwrap();
    assert_eq!(kept(1), "");
    assert!(!kept(0).contains("log") && kept(0).contains("migrate_role"), "the old one stays closed: {}", kept(0));
}

/// There, back and there again, while a client writes.
fn comes_back(lab: &Lab, kills: &[&str]) {
    lab.edit_plan("    state:\n", "    reverse: {until: commit}\n    state:\n");
    let back = "        back: {run: \"sh {{ tool }} link\", done_when: \"sh {{ tool }} linked\", undo: \"sh {{ tool }} unlink\"}\n";
    lab.edit_plan("        lag: ", &format!("{back}        lag: "));
    let client = lab.client();
    client.wait_for_more(20);
    moves_and_is_killed(&lab.migrate(), 1);
    client.wait_for_more(20);
    let killed = run_with_kills(&lab.migrate(), &["rollback", "replica-1"], |step| {
        kills.iter().any(|kill| step == format!("store/old/replica-{kill}"))
    });
    assert_eq!(killed.len(), kills.len(), "{killed:?}");
    client.wait_for_more(20);
    assert!(!lab.data(1).exists(), "the replica is gone");
    lab.edit_plan("    reverse: {until: commit}\n", "");
    lab.migrate().run(&["apply", "plan.yaml", "--yes"]).expect(0);
    client.wait_for_more(20);
    let acked = client.stop();
    let changes = acked.windows(2).filter(|two| two[0].1 != two[1].1).count();
    assert_eq!(changes, 3, "old, new, old, new");
    assert_has_all(&acked, &(lab.read)(&lab.data(1)));
    assert_eq!(lab.writers("after"), [false, true]);
    lab.assert_nothing_runs();
}

#[test]
fn a_log_comes_back_killed_in_every_step_and_moves_again() {
    comes_back(&Lab::log(), &["reverse", "hand-over", "fence", "link", "seed"]);
}

#[test]
fn a_table_in_sqlite_comes_back_and_moves_again() {
    comes_back(&Lab::sqlite(), &[]);
}

#[test]
fn killed_once_in_every_step_a_log_still_moves_and_nothing_is_lost() {
    let lab = Lab::log();
    let client = lab.client();
    client.wait_for_more(50);
    let killed = apply_with_kills(&lab.migrate(), |step| step.starts_with("store/old/"));
    client.wait_for_more(50);
    assert_moved(&lab, &client.stop());
    for step in ["seed", "link", "catch-up", "compare", "fence", "prove", "promote", "release"] {
        assert!(killed.contains(&format!("store/old/replica-{step}")), "{step}: {killed:?}");
    }
}

#[test]
fn what_is_not_proved_in_time_opens_the_source_again_and_goes_back_without_a_trace() {
    let lab = Lab::sqlite();
    lab.edit_plan("reached: sh {{ tool }} reached", "reached: echo never >&2; exit 1");
    lab.edit_plan("freeze_within: 60s", "freeze_within: 1s");
    let client = lab.client();
    client.wait_for_more(10);
    let held = lab.migrate().run(&["apply", "plan.yaml", "--yes"]);
    assert_ne!(held.code(), 0);
    assert!(held.stdout.contains("is closed for longer than 1 s"), "{}\n{}", held.stdout, held.stderr);
    // In service again, held, and still with its replica.
    client.wait_for_more(10);
    assert!(lab.data(1).join("app.db").exists());
    lab.migrate().run(&["rollback", "replica-1", "--yes"]).expect(0);
    client.wait_for_more(10);
    let acked = client.stop();
    let has = (lab.read)(&lab.data(0));
    assert!(acked.iter().all(|(word, host)| *host == 0 && has.contains(word)));
    assert!(!lab.data(1).exists(), "the replica is gone");
    assert_eq!(sqlite(&lab.data(0), "select name from sqlite_master where name like 'migrate_%'").unwrap(), "");
    lab.assert_nothing_runs();
}

/// A log whose proof does not come for as long as a file is there, in a freeze that is bounded.
fn never_proved(freeze: &str) -> (Lab, PathBuf) {
    let lab = Lab::log();
    let stuck = lab.root().join("stuck");
    fs::write(&stuck, "").unwrap();
    let reached = format!("reached: test ! -e {} && sh {{{{ tool }}}} reached", stuck.display());
    lab.edit_plan("reached: sh {{ tool }} reached", &reached);
    lab.edit_plan("    state:\n", &format!("    freeze: {freeze}\n    state:\n"));
    // What is done ahead does not wait for it.
    lab.edit_plan("        digest: sh {{ tool }} digest\n", "");
    (lab, stuck)
}

#[test]
fn a_freeze_that_lasts_too_long_lets_the_pair_go_and_it_is_tried_again() {
    let (lab, stuck) = never_proved("{within: 5s, attempts: 100, pause: 500ms}");
    let client = lab.client();
    client.wait_for_more(10);
    let mut apply = lab.migrate().start(&["apply", "plan.yaml", "--yes"]);
    let let_go = |line: &str| line.contains("old is frozen for longer than 5 s: the pair goes back into service");
    assert!(apply.read_until(let_go).is_some(), "{:?}", apply.finish().stdout);
    // The source is open between two attempts.
    assert!(apply.read_until(|line| line.contains("store/old/replica-fence (undone)")).is_some());
    client.wait_for_more(1);
    fs::remove_file(stuck).unwrap();
    let ended = apply.finish().expect(0);
    client.wait_for_more(20);
    assert_moved(&lab, &client.stop());
    assert!(ended.stdout.contains("new takes writes, and old takes none"), "{}", ended.stdout);
}

#[test]
fn after_the_last_attempt_the_run_holds_with_the_source_open_whoever_was_killed_meanwhile() {
    let (lab, _) = never_proved("{within: 1s, attempts: 2, pause: 0s}");
    let client = lab.client();
    client.wait_for_more(10);
    // Killed while the pair goes back: the next controller goes on with that before anything else.
    let mut apply = lab.migrate().start(&["apply", "plan.yaml", "--yes", "--format", "json"]);
    let undoing = |line: &str| {
        let line: Value = serde_json::from_str(line).unwrap();
        line["event"]["event"] == "intent" && line["event"]["undo"] == true
    };
    assert!(apply.read_until(undoing).is_some());
    apply.kill();
    let held = lab.migrate().run(&["apply", "plan.yaml", "--yes"]);
    assert_ne!(held.code(), 0);
    assert!(
        held.stdout.contains("is frozen for longer than 1 s, 2 times in a row"),
        "{}\n{}",
        held.stdout,
        held.stderr
    );
    client.wait_for_more(10);
    assert_eq!(lab.writers("held"), [true, false]);
    lab.migrate().run(&["rollback", "replica-1", "--yes"]).expect(0);
    client.wait_for_more(10);
    let acked = client.stop();
    let has = (lab.read)(&lab.data(0));
    assert!(acked.iter().all(|(word, host)| *host == 0 && has.contains(word)));
    assert!(!lab.data(1).exists(), "the replica is gone");
    lab.assert_nothing_runs();
}

#[test]
fn a_target_that_does_not_say_whether_it_takes_writes_holds_the_run_with_the_source_closed() {
    let lab = Lab::log();
    // It takes the target's role away as soon as everything is there: from then on nobody can tell.
    lab.edit_plan("promote: sh {{ tool }} promote", "promote: rm {{ data }}/role; exit 1");
    let held = lab.migrate().run(&["apply", "plan.yaml", "--yes"]);
    assert_ne!(held.code(), 0);
    assert!(held.stdout.contains("nobody can tell whether new takes writes"), "{}\n{}", held.stdout, held.stderr);
    assert_eq!(lab.writers("held"), [false, false]);
    let refused = lab.migrate().run(&["rollback", "replica-1", "--yes"]);
    assert_ne!(refused.code(), 0, "{}", refused.stdout);
    assert_eq!(lab.writers("refused"), [false, false]);
    // Somebody has looked: it takes none. Still nothing is opened on that word alone.
    let resolve = ["resolve", "replica-1", "store/old/replica-promote", "--not-done", "--why", "looked"];
    lab.migrate().run(&resolve).expect(0);
    let stuck = lab.migrate().run(&["rollback", "replica-1", "--yes"]);
    assert!(stuck.stdout.contains("old stays closed"), "{}\n{}", stuck.stdout, stuck.stderr);
    assert_eq!(lab.writers("stuck"), [false, false]);
    fs::write(lab.data(1).join("role"), "reader\n").unwrap();
    lab.migrate().run(&["rollback", "replica-1", "--yes"]).expect(0);
    assert_eq!(lab.writers("back"), [true, false]);
    assert!(!lab.data(1).exists(), "the replica is gone");
}

#[test]
fn what_speaks_against_a_replica_is_told_before_anything_is_done() {
    let lab = Lab::log();
    lab.edit_plan("check: command -v flock", "check: echo no such program here >&2; exit 3");
    let refused = lab.migrate().run(&["plan", "plan.yaml"]);
    assert!(refused.stdout.contains("`check` of its replica says no: no such program here"), "{}", refused.stdout);
    let mut apply: Running = lab.migrate().start(&["apply", "plan.yaml", "--yes"]);
    assert!(apply.read_until(|line| line.contains("replica-seed")).is_none());
    assert_ne!(apply.finish().code(), 0);
}
