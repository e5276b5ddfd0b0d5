//! A run that never was: the graph of a real plan, and records as an engine would have written them, at times that are always the same.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use migrate::config::{self, LoadOptions};
use migrate::event::{Event, Figures, Operator, Record, ReversePace, RunState, Setting, Started, StepResult};
use migrate::journal::{Log, blob};
use migrate::planner;
use migrate::spec::Spec;
use migrate::step::{Graph, Purpose, Step, StepKind};
use migrate::store::file::{ChunkDir, Journal};

/// Where it is made: its plan has two waves, cutover and ramp, hosts with prices, and a name that wants to be markup.
pub const INVENTORY: &str = "
hosts:
  dal-1: { address: 10.0.0.1, cost_per_month: 400.00 USD }
  dal-2: { address: 10.0.0.2, cost_per_month: 400.00 USD }
  dal-3: { address: 10.0.0.3, cost_per_month: 1250.50 USD }
  fra-[1-2]: { address: \"10.0.1.[1-2]\", cost_per_month: 100.00 USD }
  fra-3: { address: 10.0.1.3 }
directors:
  edge: { haproxy: \"unix:/run/haproxy.sock\" }
";

pub const PLAN: &str = "
migration: chat
description: Chat leaves Dallas; <b>nobody</b> notices & nobody waits
inventory: inventory.yaml
services:
  uploads:
    strategy: cutover
    move: { from: [dal-1, dal-2], to: [fra-1, fra-2] }
    traffic: { director: edge, pool: uploads }
    state: { directory: /srv/uploads }
    health: { tcp: \"{{ address }}:80\", rise: 2, interval: 1s, within: 3s }
    drain: { deadline: 5s, interval: 1s }
    shift: { steps: [50%, 100%], hold: 30s }
    reverse: 1h
    gates:
      - { at: before_drain, approve: 1 }
    hooks:
      - { at: freeze, run: freeze, undo: unfreeze }
      - { at: thaw, run: thaw, undo: unthaw }
  web:
    strategy: ramp
    move: { from: dal-3, to: fra-3 }
    traffic: { director: edge, pool: web }
    health: { tcp: \"{{ address }}:80\", rise: 2, interval: 1s, within: 3s }
    drain: { deadline: 5s, interval: 1s }
    shift: { steps: [5%, 25%, 100%], hold: 30s }
waves:
  - { name: first, services: uploads }
  - { name: last, services: web, after: first }
";

/// The plan, and what it compiles into.
pub fn compiled() -> (Spec, Graph) {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("inventory.yaml"), INVENTORY).unwrap();
    std::fs::write(dir.path().join("plan.yaml"), PLAN).unwrap();
    let plan = dir.path().join("plan.yaml");
    let (spec, _) = config::load(&plan, None, &LoadOptions::default()).unwrap_or_else(|e| panic!("{e}"));
    let graph = planner::propose(&spec, None).graph;
    (spec, graph)
}

pub fn by(user: &str) -> Operator {
    Operator { user: user.into(), host: "desk".into(), pid: 7 }
}

/// All its records, and what they fold to.
pub fn run(graph: &Graph) -> (Vec<Record>, RunState) {
    let mut played = Played { graph, now: Timestamp::from_second(1_767_225_600).unwrap(), records: Vec::new() };
    played.all();
    let state = RunState::fold(played.records.iter().cloned(), Arc::new(graph.clone())).unwrap();
    (played.records, state)
}

/// Writes it where a state directory has its runs, with the first records only where fewer are wanted.
pub fn keep(state_dir: &Path, events: usize) {
    let (_, graph) = compiled();
    let dir = state_dir.join("runs/chat-1");
    std::fs::create_dir_all(&dir).unwrap();
    let mut kept = BTreeMap::new();
    blob::keep(&mut kept, &graph).unwrap();
    let path = dir.join("journal");
    let mut chunks = ChunkDir::beside(&path);
    kept.iter().for_each(|(hash, bytes)| migrate::journal::Chunks::put(&mut chunks, hash, bytes).unwrap());
    let mut journal = Journal::create(&path).unwrap();
    run(&graph).0.into_iter().take(events).for_each(|record| drop(journal.append(record.event).unwrap()));
    drop(journal);
    // A process that another test is just starting holds it open until that has its own program: then it looks as if somebody worked on it.
    let again = std::fs::File::open(&path).unwrap();
    while again.try_lock_shared().is_err() {
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
}

struct Played<'a> {
    graph: &'a Graph,
    now: Timestamp,
    records: Vec<Record>,
}

impl Played<'_> {
    fn say(&mut self, event: Event) {
        let seq = self.records.len() as u64;
        self.records.push(Record { seq, at: self.now, event });
    }

    fn pass(&mut self, seconds: f64) {
        self.now += SignedDuration::from_secs_f64(seconds);
    }

    fn intent(&mut self, step: &str, attempt: u32) {
        self.say(Event::Intent { step: step.into(), attempt, undo: false, before: None });
    }

    fn outcome(&mut self, step: &str, attempt: u32, result: StepResult) {
        self.say(Event::Outcome { step: step.into(), attempt, undo: false, result });
    }

    fn all(&mut self) {
        let mut kept = BTreeMap::new();
        self.say(Event::Started(Box::new(Started {
            run: "chat-1".into(),
            plan: "chat".into(),
            inputs: Vec::new(),
            texts: Vec::new(),
            graph: blob::keep(&mut kept, self.graph).unwrap(),
            steps: self.graph.steps.len(),
            by: by("ada"),
            version: "0.1.0".into(),
        })));
        let steps: Vec<Step> = self.graph.steps.iter().cloned().collect();
        let mut beside: Vec<&Step> = Vec::new();
        for step in &steps {
            self.pass(0.2);
            match step.id.as_str() {
                "uploads/dal-2/seed" => {
                    self.say(Event::Paused { by: by("grace"), why: "the link is <busy>".into() });
                    self.pass(600.0);
                    self.say(Event::Unpaused { by: by("grace") });
                    self.say(Event::Tuned { setting: Setting::Bandwidth(50 << 20), by: by("grace") });
                }
                "web/shift-25" => self.trouble(step),
                _ if matches!(step.kind, StepKind::Gate(_)) => {
                    self.pass(45.0);
                    let why = "error rate is flat | all *well*".into();
                    self.say(Event::Approved { step: step.id.clone(), by: by("ada"), why });
                }
                _ => {}
            }
            let attempt = if step.id == "web/shift-25" { 2 } else { 1 };
            self.intent(&step.id, attempt);
            if step.beside.is_some() {
                beside.push(step);
                let pace = ReversePace::InStep { bytes: 4096, millis: 120 };
                self.pass(0.5);
                self.say(Event::Reversed { step: step.id.clone(), pace });
                continue;
            }
            let (seconds, evidence, figures) = seen(step);
            self.pass(seconds);
            let millis = (seconds * 1000.0) as u64;
            self.outcome(&step.id, attempt, StepResult::Done { evidence, millis, figures });
            for ended in beside.extract_if(.., |s| s.beside.as_deref() == Some(&step.id)) {
                let evidence = "the source was in step".into();
                self.outcome(&ended.id, 1, StepResult::Done { evidence, millis: 0, figures: None });
            }
        }
        self.pass(1.0);
        self.say(Event::Finished);
    }

    /// It fails, is held over lunch, its controller is lost, and somebody goes on.
    fn trouble(&mut self, step: &Step) {
        self.intent(&step.id, 1);
        self.pass(3.0);
        let (why, hint) = ("edge: </title><script>alert(1)</script>".to_owned(), Some("look at edge".to_owned()));
        self.outcome(&step.id, 1, StepResult::Failed { why: why.clone(), hint: hint.clone() });
        self.say(Event::Held { step: Some(step.id.clone()), why, hint, stuck: false });
        self.pass(1800.0);
        self.say(Event::Resumed { by: by("grace") });
        self.pass(240.0);
        self.say(Event::Resumed { by: by("ada") });
    }
}

/// How long a step took, and what it saw.
fn seen(step: &Step) -> (f64, String, Option<Figures>) {
    let share = |step: &Step| step.id.rsplit('-').next().and_then(|n| n.parse::<u64>().ok()).unwrap_or(100);
    match &step.kind {
        StepKind::Copy(_) => {
            let live = step.id.ends_with("/seed");
            let (seconds, files, bytes) = if live { (300.0, 120_000, 9 << 30) } else { (2.0, 12, 3 << 20) };
            (seconds, "sent it".into(), Some(Figures::Carried { files, bytes }))
        }
        StepKind::Compare(_) => {
            let figures = Figures::Compared { files: 120_012, bytes: 9 << 30 };
            (20.0, "120,012 files (9 GiB) are the same by BLAKE3".into(), Some(figures))
        }
        StepKind::Watch(_) => {
            // Two pairs of equal weight make a pool: what one has is half of it.
            let wanted = match step.pair.as_ref().map(|pair| pair.source.as_str()) {
                Some("dal-1") => share(step) * 5,
                Some("dal-2") => 500 + share(step) * 5,
                _ => share(step) * 10,
            };
            let figures = Figures::Sessions { all: 4000, targets: 4 * wanted - wanted / 20, wanted: wanted as u16 };
            (30.0, "30 s, 60 probes passed".into(), Some(figures))
        }
        StepKind::Traffic(traffic) => {
            let waits = if matches!(traffic.purpose, Purpose::Drain) { 0.4 } else { 0.1 };
            (waits, "read back".into(), None)
        }
        StepKind::Check(_) => (2.0, "status 200 in 3 ms, 2 in a row".into(), None),
        StepKind::Gate(_) => (0.1, "approved by ada@desk".into(), None),
        StepKind::Commit(_) => (3600.0, "the way back has ended".into(), None),
        _ => (0.15, "done".into(), None),
    }
}
