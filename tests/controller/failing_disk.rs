//! A disk that fills up or takes nothing: no effect without its intent on disk, an end at once, and a word on what to do.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use migrate::audit::{AuditKey, Copies, Sealed};
use migrate::event::{Event, Operator};
use migrate::journal::{JournalError, Log};
use migrate::lock::{Fenced, Locks};
use migrate::model::CheckpointCopy;
use migrate::store::file::LockDir;
use migrate::store::file::{self, Journal};

use super::support::{Helper, RUN, given, intent, operator, outcome, started, step};
use crate::lab::packages;

const STEPS: usize = 600;

/// A file system of this size of its own below `$DIR/small`, gone with the process; needs rights that a sandbox may not give.
const SMALL_DISK: &str = r#"mount -t tmpfs -o size=256k,mode=700 none "$DIR/small" && exec "$0" "$@""#;
/// Files that cannot grow beyond 200 kB, without the signal that usually goes with it: a full disk for everyone else.
const SMALL_FILES: [&str; 5] = ["prlimit", "--fsize=200000", "sh", "-c", r#"trap '' XFSZ; exec "$0" "$@""#];

fn can_mount() -> bool {
    let probe = Command::new("unshare").args(["-rm", "mount", "-t", "tmpfs", "none", "/mnt"]).output();
    probe.is_ok_and(|o| o.status.success())
}

/// Runs steps as the engine does until the journal fails; then everything that was done has its intent on disk.
#[test]
#[ignore = "another process of the tests below"]
fn controller_on_a_small_disk() {
    let dir = given("DIR");
    let (outside, state) = (Path::new(&dir), Path::new(&dir).join("small"));
    let lease = Locks::new(std::sync::Arc::new(LockDir::new(&state)), &operator(), Duration::from_secs(60))
        .acquire(["plan:web".into()].into(), "")
        .unwrap();
    let lease = std::sync::Arc::new(lease);
    let key = AuditKey::load_or_make(&state).unwrap();
    let copies = Copies::start(&[CheckpointCopy::File(outside.join("copies"))], &operator(), Box::new(|_| {}));
    let path = state.join("journal");
    let sealed = Sealed::open(Box::new(Journal::create(&path).unwrap()), RUN, operator(), key, copies).unwrap();
    let mut log = Fenced::new(sealed, std::sync::Arc::clone(&lease));
    log.append(started((0..STEPS).map(|n| step(&n.to_string(), &[])).collect())).unwrap();

    let mut done = Vec::new();
    let failed = (0..STEPS).find_map(|n| {
        let id = n.to_string();
        if let Err(e) = log.append(intent(&id, 1)) {
            return Some(e);
        }
        done.push(id.clone());
        log.append(outcome(&id, 1)).err()
    });
    let failed = failed.expect("the disk never filled up");
    assert!(matches!(failed, JournalError::Io { .. }), "{failed}");
    assert!(failed.hint().unwrap().contains("make room"), "{failed}");
    let after = log.append(Event::Held { step: None, why: "x".into(), hint: None, stuck: false }).unwrap_err();
    assert!(matches!(after, JournalError::Poisoned { .. }), "{after}");
    drop(log);

    // As after a crash: what is on disk is whole, and holds the intent of everything that was done.
    let records = file::read(&path).unwrap();
    for id in &done {
        let intended = |e: &Event| matches!(e, Event::Intent { step, .. } if step == id);
        assert!(records.iter().any(|r| intended(&r.event)), "{id} was done without its intent on disk");
    }
    assert!(done.len() > 50, "only {} steps before the disk was full", done.len());
    write!(OpenOptions::new().append(true).create(true).open(outside.join("effects")).unwrap(), "{}", done.len())
        .unwrap();
}

fn run_on(wrap: &[&str]) {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("small")).unwrap();
    let env = [("DIR", dir.path().to_str().unwrap())];
    let mut helper = Helper::start("controller::failing_disk::controller_on_a_small_disk", &env, wrap);
    assert!(helper.wait(), "see above");
    let done: usize = std::fs::read_to_string(dir.path().join("effects")).unwrap().parse().unwrap();
    assert!(done > 50);
}

#[test]
fn on_a_file_that_cannot_grow_nothing_is_done_without_its_intent_on_disk() {
    run_on(&SMALL_FILES);
}

#[test]
fn on_a_file_system_that_fills_up_nothing_is_done_without_its_intent_on_disk() {
    if can_mount() {
        run_on(&["unshare", "-rm", "sh", "-c", SMALL_DISK]);
    } else {
        eprintln!("this sandbox mounts nothing: the full disk is left to the test with the file size limit");
    }
}

/// The journal's system calls fail with this error from a certain one on, as on a disk that dies or a file system that goes
/// read-only under a run.
fn run_with(call: &str, error: &str) {
    let inject = format!("inject={call}:error={error}:when=150+");
    let trace = format!("trace={call}");
    let strace = packages::program("strace", "strace");
    let strace = strace.to_str().unwrap();
    run_on(&[
        "sh",
        "-c",
        r#"trace=$0; exec "$trace" -f -qq -o /dev/null -P "$DIR/small/journal" "$@""#,
        strace,
        "-e",
        &trace,
        "-e",
        &inject,
    ]);
}

#[test]
fn on_a_disk_that_cannot_sync_any_more_nothing_is_done_without_its_intent_on_disk() {
    run_with("fdatasync", "EIO");
}

#[test]
fn on_a_disk_that_fails_to_write_nothing_is_done_without_its_intent_on_disk() {
    run_with("write", "EIO");
}

#[test]
fn on_a_file_system_that_goes_read_only_nothing_is_done_without_its_intent_on_disk() {
    run_with("write", "EROFS");
}

const PLAN: &str = "
migration: web
inventory: inv.yaml
services:
  web:
    move: { from: [a], to: [b] }
    health: [{ tcp: \"{{ address }}:1\" }]
    state: [{ directory: /srv }]
";

/// The real program with its state on a file system that `prepare` makes unusable.
fn apply_on(prepare: &str) -> Option<(i32, String)> {
    if !can_mount() {
        eprintln!("this sandbox mounts nothing");
        return None;
    }
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("state")).unwrap();
    std::fs::write(dir.path().join("inv.yaml"), "hosts: { a: { address: 127.0.0.1 }, b: { address: 127.0.0.2 } }\n")
        .unwrap();
    std::fs::write(dir.path().join("plan.yaml"), PLAN).unwrap();
    let script = format!(r#"{prepare} && exec "$0" apply --yes plan.yaml --state-dir state"#);
    let mut command = Command::new("unshare");
    command.args(["-rm", "sh", "-c", &script, env!("CARGO_BIN_EXE_migrate")]).current_dir(dir.path());
    let output = command.output().unwrap();
    Some((output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap()))
}

#[test]
fn a_full_state_directory_begins_nothing_and_says_what_to_do() {
    let full = "mount -t tmpfs -o size=16k none state && ! cat /dev/zero > state/ballast 2>&-";
    if let Some((code, says)) = apply_on(full) {
        assert_eq!(code, 1, "{says}");
        assert!(says.contains("No space left on device"), "{says}");
        assert!(says.contains("help: nothing was begun; make room"), "{says}");
    }
}

#[test]
fn a_read_only_state_directory_begins_nothing_and_says_what_to_do() {
    if let Some((code, says)) = apply_on("mount -t tmpfs -o ro none state") {
        assert_eq!(code, 1, "{says}");
        assert!(says.contains("Read-only file system"), "{says}");
        assert!(says.contains("help: nothing was begun"), "{says}");
    }
}

#[test]
fn copies_that_cannot_be_written_hold_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let told = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let warn = std::sync::Arc::clone(&told);
    let by: Operator = operator();
    let copies = Copies::start(
        &[CheckpointCopy::File("/dev/full".into()), CheckpointCopy::File(dir.path().join("copies"))],
        &by,
        Box::new(move |what| warn.lock().unwrap().push(what)),
    );
    let journal = Journal::create(&dir.path().join("journal")).unwrap();
    let mut sealed =
        Sealed::open(Box::new(journal), RUN, by, AuditKey::load_or_make(dir.path()).unwrap(), copies).unwrap();
    sealed.append(started(vec![step("a", &[])])).unwrap();
    sealed.append(intent("a", 1)).unwrap();
    sealed.append(outcome("a", 1)).unwrap();
    sealed.append(Event::Finished).unwrap();
    drop(sealed);
    let told = told.lock().unwrap();
    assert!(told.len() == 1 && told[0].contains("/dev/full"), "{told:?}");
    assert_eq!(std::fs::read_to_string(dir.path().join("copies")).unwrap().lines().count(), 2);
}
