//! State that moves by its own replication: the two worked examples of docs/replica.md, as they are, while clients write all the time.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use serde_json::Value;

use super::lab::command::{Ended, Migrate, Running};
use super::lab::packages::program;
use super::lab::sshd::{self, Sshd};

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
    // Hosts end before their files.
    hosts: [Sshd; 2],
    dir: tempfile::TempDir,
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
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        let hosts = ["old", "new"].map(|name| Sshd::start(&root.join(name), name));
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/replica").join(tool);
        fs::copy(script, root.join(tool)).unwrap();
        let known: String = hosts.iter().map(|h| fs::read_to_string(h.known_hosts()).unwrap()).collect();
        fs::write(root.join("known_hosts"), known).unwrap();
        let mut inventory = "hosts:\n".to_owned();
        for host in &hosts {
            let (ip, port) = (host.addr().ip(), host.addr().port());
            let (key, known) = (host.client_key(), root.join("known_hosts"));
            let (key, known) = (key.display(), known.display());
            let reach = format!(
                "ssh -F none -o BatchMode=yes -o UserKnownHostsFile={known} -i {key} -p {port} {}@{ip}",
                sshd::user()
            );
            let (data, tool) = (root.join(&host.host().name).join("store"), root.join(tool));
            let vars = format!("{{data: {}, tool: {}, reach: \"{reach}\"}}", data.display(), tool.display());
            let ssh = format!("{{user: {}, port: {port}, key: {key}, known_hosts: {known}}}", sshd::user());
            inventory += &format!("  {}: {{address: {ip}, ssh: {ssh}, vars: {vars}}}\n", host.host().name);
        }
        fs::write(root.join("inventory.yaml"), inventory).unwrap();
        fs::write(root.join("plan.yaml"), plan).unwrap();
        fs::create_dir_all(root.join("old/store")).unwrap();
        Self { hosts, dir, write, read }
    }

    fn root(&self) -> PathBuf {
        self.dir.path().canonicalize().unwrap()
    }

    fn migrate(&self) -> Migrate {
        Migrate::at(env!("CARGO_BIN_EXE_migrate"), &self.root())
    }

    /// The store of the old host, or of the new one.
    fn data(&self, host: usize) -> PathBuf {
        self.root().join(["old", "new"][host]).join("store")
    }

    fn edit_plan(&self, from: &str, to: &str) {
        let path = self.root().join("plan.yaml");
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.contains(from), "the plan does not hold {from:?}");
        fs::write(path, text.replace(from, to)).unwrap();
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

/// A client that writes words, one after the other, to the first of two hosts that takes them.
pub struct Client {
    stop: Arc<AtomicBool>,
    acks: Arc<AtomicU64>,
    thread: JoinHandle<Vec<(String, usize)>>,
}

impl Client {
    /// `write` says whether a host has taken a word.
    pub fn start(write: impl Fn(usize, &str) -> bool + Send + 'static) -> Self {
        let (stop, acks) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (stopped, count) = (Arc::clone(&stop), Arc::clone(&acks));
        let thread = std::thread::spawn(move || {
            let mut acked: Vec<(String, usize)> = Vec::new();
            // A word whose answer was lost may be there: what follows is another one.
            for n in 0.. {
                if stopped.load(Ordering::Relaxed) {
                    break;
                }
                let word = format!("word-{n}");
                match [0, 1].into_iter().find(|host| write(*host, &word)) {
                    Some(host) => {
                        acked.push((word, host));
                        count.store(acked.len() as u64, Ordering::Relaxed);
                    }
                    None => std::thread::sleep(Duration::from_millis(5)),
                }
            }
            acked
        });
        Self { stop, acks, thread }
    }

    pub fn wait_for_more(&self, words: u64) {
        let wanted = self.acks.load(Ordering::Relaxed) + words;
        while self.acks.load(Ordering::Relaxed) < wanted {
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// What it was told is safe, and by which host.
    pub fn stop(self) -> Vec<(String, usize)> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap()
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

/// Applies until it is done, and kills it once in each of these steps, when it has begun.
pub fn apply_with_kills(migrate: &Migrate, wanted: impl Fn(&str) -> bool) -> BTreeSet<String> {
    let mut killed = BTreeSet::new();
    for round in 0u64.. {
        assert!(round < 100, "it does not come to an end; killed in {killed:?}");
        let mut apply = migrate.start(&["apply", "plan.yaml", "--yes", "--format", "json"]);
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

/// The new host has every word that was acknowledged, and from its first one on it took all of them: there was one writer at a time.
#[track_caller]
pub fn assert_handed_over(acked: &[(String, usize)], has: &BTreeSet<String>) {
    let lost: Vec<_> = acked.iter().filter(|(word, _)| !has.contains(word)).collect();
    assert!(lost.is_empty(), "lost of {}: {lost:?}", acked.len());
    let turn = acked.iter().position(|(_, host)| *host == 1).expect("the new host took some");
    assert!(turn > 0 && acked[turn..].iter().all(|(_, host)| *host == 1), "words went back to the old host");
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
