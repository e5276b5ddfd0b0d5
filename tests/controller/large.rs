//! A plan of thousands of pairs: its run is begun, taken up again, shown and audited, whatever its graph weighs.

use std::path::{Path, PathBuf};
use std::process::Command;

use migrate::event::{Event, Started};
use migrate::journal::{JournalError, Log, blob};
use migrate::model::{HookPoint, Pair};
use migrate::step::{Graph, HookStep, Step, StepKind};
use migrate::store::file::{ChunkDir, Journal};

use super::support::{RUN, intent, operator, outcome, seal, step};

const PAIRS: usize = 3_000;

/// Five commands a pair, each with its own text: as JSON it is above what one record may hold.
fn graph() -> Graph {
    let pair = |n: usize| Pair { source: format!("dal-{n}"), target: format!("fra-{n}") };
    let hook = |n: usize, at: usize| {
        let text = format!("echo {n} {at} on this host, and nowhere else; ").repeat(120);
        let kind = StepKind::Hook(HookStep {
            host: format!("dal-{n}"),
            at: HookPoint::BeforePair,
            run: text,
            timeout: std::time::Duration::from_secs(60),
            idempotent: true,
            done_when: None,
            undo: None,
            secrets: Default::default(),
            env: Default::default(),
        });
        let after: Vec<String> = at.checked_sub(1).map(|at| format!("web/dal-{n}/{at}")).into_iter().collect();
        let after: Vec<&str> = after.iter().map(String::as_str).collect();
        Step { kind, pair: Some(pair(n).into()), ..step(&format!("web/dal-{n}/{at}"), &after) }
    };
    let steps = (0..PAIRS).flat_map(|n| (0..5).map(move |at| hook(n, at))).collect();
    Graph { steps, ..Graph::default() }
}

fn begin(state: &Path) -> PathBuf {
    let run = state.join("runs").join(RUN);
    std::fs::create_dir_all(&run).unwrap();
    let graph = graph();
    assert!(serde_json::to_vec(&graph).unwrap().len() > migrate::journal::format::MAX_FRAME);
    let path = run.join("journal");
    let journal = Journal::create(&path).unwrap();
    let kept = blob::keep(&mut ChunkDir::beside(&path), &graph).unwrap();
    let started = Started {
        run: RUN.into(),
        plan: "web".into(),
        inputs: Vec::new(),
        texts: Vec::new(),
        graph: kept,
        steps: graph.steps.len(),
        by: operator(),
        version: "0".into(),
    };
    let mut log = seal(journal, state);
    log.append(Event::Started(Box::new(started))).unwrap();
    for at in 0..5 {
        let id = format!("web/dal-0/{at}");
        log.append(intent(&id, 1)).unwrap();
        log.append(outcome(&id, 1)).unwrap();
    }
    log.append(Event::Stopped { by: "interrupt".into() }).unwrap();
    path
}

fn migrate(state: &Path, args: &[&str]) -> (i32, String) {
    let out = Command::new(env!("CARGO_BIN_EXE_migrate"))
        .args(args)
        .env("MIGRATE_STATE_DIR", state)
        .env_remove("XDG_STATE_HOME")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&[out.stdout, out.stderr].concat()).into_owned();
    (out.status.code().unwrap_or(-1), said)
}

#[test]
fn a_run_whose_graph_is_larger_than_any_record_is_begun_resumed_shown_and_audited() {
    let state = tempfile::tempdir().unwrap();
    let path = begin(state.path());
    assert!(std::fs::metadata(&path).unwrap().len() < 64 << 10, "the journal holds the name of the graph only");

    let (journal, run) = Journal::open(&path).unwrap();
    assert_eq!(*run.graph, graph());
    let mut log = seal(journal, state.path());
    log.append(Event::Resumed { by: operator() }).unwrap();
    log.append(intent("web/dal-1/0", 1)).unwrap();
    log.append(Event::Stopped { by: "interrupt".into() }).unwrap();
    drop(log);

    let (code, said) = migrate(state.path(), &["status", RUN, "--verbose"]);
    assert!(code == 0 && said.contains("s dal-0 → fra-0  5/5 steps"), "{:.500}", said);
    assert_eq!(said.matches("0/5 steps").count(), PAIRS - 1);
    let (code, said) = migrate(state.path(), &["audit", "export", RUN]);
    assert!(code == 0 && said.contains("echo 1 0 on this host"), "{:.500}", said);
    let (code, said) = migrate(state.path(), &["audit", "verify", RUN]);
    assert!(code == 0 && said.contains("intact: "), "{said}");

    // What the records name is as much a part of the run as they are.
    let chunk = std::fs::read_dir(state.path().join("runs").join(RUN).join("blobs")).unwrap().next().unwrap().unwrap();
    let whole = std::fs::read(chunk.path()).unwrap();
    for (damage, found, told) in [
        (Some(&whole[..whole.len() / 2]), "is not what was written", "restore `blobs`"),
        (None, "is missing", "restore `blobs`"),
    ] {
        match damage {
            Some(bytes) => std::fs::write(chunk.path(), bytes).unwrap(),
            None => std::fs::remove_file(chunk.path()).unwrap(),
        }
        let (code, said) = migrate(state.path(), &["audit", "verify", RUN]);
        assert!(code == 1 && said.contains("NOT INTACT") && said.contains(found), "{said}");
        let (code, said) = migrate(state.path(), &["status", RUN]);
        assert!(code == 1 && said.contains(found) && said.contains(told), "{said}");
    }
}

/// Nothing may be begun that could not be read again.
#[test]
fn a_graph_that_cannot_be_kept_begins_no_run() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("blobs"), "in the way").unwrap();
    let kept = blob::keep(&mut ChunkDir::beside(&dir.path().join("journal")), &graph());
    let error = JournalError::Blob { path: RUN.into(), source: kept.unwrap_err() };
    assert!(error.hint().unwrap().contains("make room"), "{error}");
}
