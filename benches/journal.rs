//! How long it takes to write, read, check and fold a journal, in files and in a cluster of etcd. Prints numbers; judges nothing.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    missing_docs
)]

#[path = "journal/etcd.rs"]
mod etcd;
#[path = "scale/fleet.rs"]
mod fleet;
#[path = "scale/idle.rs"]
mod idle;
#[path = "../tests/lab/mod.rs"]
mod lab;

use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use migrate::check::{Checks, HealthCheck, Probe, SubjectName, Tcp};
use migrate::event::{Blob, Event, Operator, Record, RunState, Started, StepResult};
use migrate::journal::{Log, blob, format};
use migrate::model::{HookPoint, Pair, Template};
use migrate::render::{RunReport, Show, Style};
use migrate::step::{CopyPass, CopyStep, Graph, HookStep, Step, StepKind, TreeStep, WatchStep};
use migrate::store::file::{self, ChunkDir, Journal};
use migrate::text;

const RECORDS: usize = 100_000;
const DURABLE: usize = 2_000;
const PAIRS: usize = 10_000;

fn step(n: usize) -> Step {
    Step {
        id: format!("uploads/dal-{n:05}/watch"),
        wave: "all".into(),
        service: "uploads".into(),
        pair: None,
        kind: StepKind::Watch(WatchStep {
            hold: Duration::ZERO,
            checks: Default::default(),
            measured: Vec::new(),
            pools: Vec::new(),
        }),
        after: n.checked_sub(1).map(|n| format!("uploads/dal-{n:05}/watch")).into_iter().collect(),
        urgent: false,
        no_return: None,
        opens: Vec::new(),
        freeze: None,
        beside: None,
        on_failure: Default::default(),
    }
}

/// A whole run whose steps follow each other: started, an intent and an outcome for each step, finished.
fn events(records: usize) -> (Vec<Event>, Arc<Graph>) {
    let steps: Vec<Step> = (0..(records - 2) / 2).map(step).collect();
    let ids: Vec<String> = steps.iter().map(|s| s.id.clone()).collect();
    let (count, graph) = (steps.len(), Arc::new(Graph { steps: steps.into(), ..Graph::default() }));
    let started = Started {
        run: "bench-1".into(),
        plan: "bench".into(),
        inputs: Vec::new(),
        texts: Vec::new(),
        graph: Blob::default(),
        steps: count,
        by: Operator { user: "ada".into(), host: "desk".into(), pid: 1 },
        version: "0".into(),
    };
    let mut events = vec![Event::Started(Box::new(started))];
    for step in ids {
        events.push(Event::Intent { step: step.clone(), attempt: 1, undo: false, before: None });
        let evidence = "edge uploads dal-1: 100 → drain, as read back from both workers".to_owned();
        let result = StepResult::Done { evidence, millis: 12, figures: None };
        events.push(Event::Outcome { step, attempt: 1, undo: false, result });
    }
    events.push(Event::Finished);
    (events, graph)
}

/// The graph of a cutover of that many pairs: 21 steps each, as the planner lays them out.
fn cutover(pairs: usize) -> Graph {
    let of_pair = |n: usize| {
        let pair = Pair { source: format!("dal-{n:05}"), target: format!("fra-{n:05}") };
        (0..21).map(move |at| {
            let tree = TreeStep {
                job: format!("uploads-dal-{n:05}-0"),
                from: "/srv/uploads".into(),
                to: "/srv/uploads".into(),
                rules: Default::default(),
                bandwidth: Some(100 << 20),
                asks: Box::default(),
                path: Default::default(),
                throttle: None,
                settle_below: 64 << 20,
                back: false,
            };
            let tree = CopyStep { tree, pass: CopyPass::Seed, max_passes: 5 };
            let script = HookStep {
                host: pair.target.clone(),
                at: HookPoint::Thaw,
                run: format!("systemctl start uploads@{n:05}"),
                timeout: Duration::from_secs(120),
                idempotent: true,
                done_when: None,
                undo: Some(format!("systemctl stop uploads@{n:05}")),
                secrets: Default::default(),
                env: Default::default(),
            };
            let check = HealthCheck {
                of: None,
                probe: Probe::Tcp(Tcp(Template(format!("fra-{n:05}.example.net:8080")))),
                rise: 3,
                fall: 2,
                interval: Duration::from_secs(2),
                timeout: Duration::from_secs(5),
                within: Duration::from_secs(120),
            };
            let kind = match at % 3 {
                0 => StepKind::Copy(tree),
                1 => StepKind::Hook(script),
                _ => StepKind::Watch(WatchStep {
                    hold: Duration::from_secs(30),
                    checks: Checks::new([SubjectName::host(&pair.target)], &[check.into()]),
                    measured: Vec::new(),
                    pools: Vec::new(),
                }),
            };
            Step {
                id: format!("uploads/dal-{n:05}/step-{at}"),
                kind,
                pair: Some(pair.clone().into()),
                after: (at > 0).then(|| format!("uploads/dal-{n:05}/step-{}", at - 1)).into_iter().collect(),
                ..step(0)
            }
        })
    };
    Graph { steps: (0..pairs).flat_map(of_pair).collect(), ..Graph::default() }
}

/// What `migrate status` does for a run of ten thousand pairs.
fn large() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("journal");
    let graph = cutover(PAIRS);
    let (steps, json) = (graph.steps.len(), serde_json::to_vec(&graph).unwrap().len() as u64);
    let mut journal = Journal::create(&path).unwrap();
    let title = format!("keep a graph of {} steps ({} as JSON)", text::grouped(steps as u64), text::bytes(json));
    let kept = timed(&title, || blob::keep(&mut ChunkDir::beside(&path), &graph).unwrap());
    println!("{:<58} {:>8}", "  takes on disk, in chunks", text::bytes((kept.chunks.len() as u64) << 20));
    let (run, plan, version) = ("bench-1".into(), "bench".into(), "0".into());
    let by = Operator { user: "ada".into(), host: "desk".into(), pid: 1 };
    let started = Started { run, plan, inputs: Vec::new(), texts: Vec::new(), graph: kept, steps, by, version };
    journal.append(Event::Started(Box::new(started))).unwrap();
    drop(journal);
    let state = timed("read and fold it", || file::load(&path).unwrap());
    timed("report on every pair", || RunReport::new(&state, false).text(Style::default()).len());
    timed("forget it", || drop((state, graph)));
}

fn timed<T>(what: &str, work: impl FnOnce() -> T) -> T {
    let began = Instant::now();
    let out = work();
    println!("{what:<58} {:>8}", text::duration(began.elapsed()));
    out
}

fn main() {
    // `cargo bench --bench journal -- etcd`
    if std::env::args().any(|arg| arg == "etcd") {
        return etcd::steps();
    }
    large();
    let (all, graph) = events(RECORDS);
    let mut bytes = format::header().into_bytes();
    timed(&format!("encode and chain {} records", text::grouped(RECORDS as u64)), || {
        let mut head = format::hash(b"");
        for (seq, event) in (0..).zip(all) {
            let (frame, next) = format::encode(&Record { seq, at: Timestamp::now(), event }, &head).unwrap();
            bytes.extend_from_slice(&frame);
            head = next;
        }
    });
    let size = text::bytes(bytes.len() as u64);
    let decoded = timed(&format!("read and check them ({size})"), || format::decode("bench", &bytes).unwrap());
    timed("fold them", || RunState::fold(decoded.records, graph).unwrap());

    let dir = tempfile::tempdir().unwrap();
    let mut journal = Journal::create(&dir.path().join("journal")).unwrap();
    let mut took = Vec::new();
    for event in events(DURABLE).0 {
        let began = Instant::now();
        journal.append(event).unwrap();
        took.push(began.elapsed());
    }
    took.sort();
    let at = |percent: usize| took[(took.len() - 1) * percent / 100];
    println!("append and sync: median {:?}, 99 % {:?}, slowest {:?}", at(50), at(99), at(100));
    etcd::steps();
}
