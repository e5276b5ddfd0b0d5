//! How long it takes to write, read, check and fold a journal. Prints numbers; judges nothing.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::print_stdout, missing_docs)]

use std::time::{Duration, Instant};

use jiff::Timestamp;
use migrate::event::{Event, Operator, Record, RunState, Started, StepResult};
use migrate::journal::{Journal, Log, format};
use migrate::step::{Graph, Step, StepKind, WatchStep};
use migrate::text;

const RECORDS: usize = 100_000;
const DURABLE: usize = 2_000;

fn step(n: usize) -> Step {
    Step {
        id: format!("uploads/dal-{n:05}/watch"),
        wave: "all".into(),
        service: "uploads".into(),
        pair: None,
        kind: StepKind::Watch(WatchStep { hold: Duration::ZERO, checks: Default::default() }),
        after: n.checked_sub(1).map(|n| format!("uploads/dal-{n:05}/watch")).into_iter().collect(),
        urgent: false,
        no_return: None,
        on_failure: Default::default(),
    }
}

/// A whole run whose steps follow each other: started, an intent and an outcome for each step, finished.
fn events(records: usize) -> Vec<Event> {
    let steps: Vec<Step> = (0..(records - 2) / 2).map(step).collect();
    let ids: Vec<String> = steps.iter().map(|s| s.id.clone()).collect();
    let started = Started {
        run: "bench-1".into(),
        plan: "bench".into(),
        inputs: Vec::new(),
        graph: Graph { steps, ..Graph::default() },
        by: Operator { user: "ada".into(), host: "desk".into(), pid: 1 },
        version: "0".into(),
    };
    let mut events = vec![Event::Started(Box::new(started))];
    for step in ids {
        events.push(Event::Intent { step: step.clone(), attempt: 1, undo: false, before: None });
        let evidence = "edge uploads dal-1: 100 → drain, as read back from both workers".to_owned();
        let result = StepResult::Done { evidence, millis: 12 };
        events.push(Event::Outcome { step, attempt: 1, undo: false, result });
    }
    events.push(Event::Finished);
    events
}

fn timed<T>(what: &str, work: impl FnOnce() -> T) -> T {
    let began = Instant::now();
    let out = work();
    println!("{what:<58} {:>8}", text::duration(began.elapsed()));
    out
}

fn main() {
    let all = events(RECORDS);
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
    timed("fold them", || RunState::fold(decoded.records).unwrap());

    let dir = tempfile::tempdir().unwrap();
    let mut journal = Journal::create(&dir.path().join("journal")).unwrap();
    let mut took = Vec::new();
    for event in events(DURABLE) {
        let began = Instant::now();
        journal.append(event).unwrap();
        took.push(began.elapsed());
    }
    // The first record holds the whole graph: it is not like the others.
    let took = &mut took[1..];
    took.sort();
    let at = |percent: usize| took[(took.len() - 1) * percent / 100];
    println!("append and sync: median {:?}, 99 % {:?}, slowest {:?}", at(50), at(99), at(100));
}
