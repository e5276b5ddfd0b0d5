//! Small runs, and this same test program as another process.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use migrate::audit::{AuditKey, Copies, Sealed};
use migrate::event::{Event, Operator, Started, StepResult};
use migrate::journal::{Chunks, Log, blob};
use migrate::step::{Graph, Step, StepKind, WatchStep};
use migrate::store::file::{ChunkDir, Journal};

pub const RUN: &str = "web-1";

pub fn operator() -> Operator {
    Operator { user: "ada".into(), host: "desk".into(), pid: std::process::id() }
}

pub fn step(id: &str, after: &[&str]) -> Step {
    Step {
        id: id.into(),
        wave: "w".into(),
        service: "s".into(),
        pair: None,
        kind: StepKind::Watch(WatchStep {
            hold: Default::default(),
            checks: Default::default(),
            measured: Vec::new(),
            pools: Vec::new(),
        }),
        after: after.iter().map(|a| (*a).to_owned()).collect(),
        urgent: false,
        no_return: None,
        opens: Vec::new(),
        freeze: None,
        beside: None,
        on_failure: Default::default(),
    }
}

/// The chunks of every graph that these tests have begun a run with.
static CHUNKS: Mutex<BTreeMap<String, Vec<u8>>> = Mutex::new(BTreeMap::new());

pub fn chunks() -> BTreeMap<String, Vec<u8>> {
    CHUNKS.lock().unwrap().clone()
}

/// Puts them where the journal in this directory looks for them.
pub fn keep_chunks(dir: &Path) {
    let mut there = ChunkDir::beside(&dir.join("journal"));
    chunks().iter().for_each(|(hash, bytes)| there.put(hash, bytes).unwrap());
}

pub fn started(steps: Vec<Step>) -> Event {
    let count = steps.len();
    let graph = blob::keep(&mut *CHUNKS.lock().unwrap(), &Graph { steps: steps.into(), ..Graph::default() }).unwrap();
    Event::Started(Box::new(Started {
        run: RUN.into(),
        plan: "web".into(),
        inputs: Vec::new(),
        texts: Vec::new(),
        graph,
        steps: count,
        by: operator(),
        version: "0".into(),
    }))
}

pub fn intent(step: &str, attempt: u32) -> Event {
    Event::Intent { step: step.into(), attempt, undo: false, before: None }
}

pub fn outcome(step: &str, attempt: u32) -> Event {
    let result = StepResult::Done { evidence: "seen".into(), millis: 1, figures: None };
    Event::Outcome { step: step.into(), attempt, undo: false, result }
}

/// A run of `n` steps one after the other, once held in the middle.
pub fn whole_run(n: usize) -> Vec<Event> {
    let ids: Vec<String> = (0..n).map(|n| format!("step-{n}")).collect();
    let mut events = vec![started(ids.iter().map(|id| step(id, &[])).collect())];
    for (at, id) in ids.iter().enumerate() {
        if at == n / 2 {
            events.push(Event::Held { step: None, why: "look".into(), hint: None, stuck: false });
            events.push(Event::Resumed { by: operator() });
        }
        events.extend([intent(id, 1), outcome(id, 1)]);
    }
    events.push(Event::Finished);
    events
}

/// Writes a run under seal into `dir`, signed with the key of `keys`.
pub fn write(dir: &Path, keys: &Path, events: Vec<Event>) {
    keep_chunks(dir);
    let journal = Journal::create(&dir.join("journal")).unwrap();
    let mut sealed = seal(journal, keys);
    events.into_iter().for_each(|event| drop(sealed.append(event).unwrap()));
}

pub fn seal(journal: Journal, keys: &Path) -> Sealed {
    let copies = Copies::start(&[], &operator(), Box::new(|_| {}));
    Sealed::open(Box::new(journal), RUN, operator(), AuditKey::load_or_make(keys).unwrap(), copies).unwrap()
}

/// Another process that runs one ignored test of this program, with values in its environment. Killed on drop.
pub struct Helper(pub Child);

impl Helper {
    pub fn start(test: &str, env: &[(&str, &str)], wrap: &[&str]) -> Self {
        let me = std::env::current_exe().unwrap();
        let mut words: Vec<&str> = wrap.to_vec();
        let me = me.to_str().unwrap();
        words.extend([me, "--exact", test, "--ignored", "--nocapture", "--test-threads=1"]);
        let mut command = Command::new(words[0]);
        command.args(&words[1..]).envs(env.iter().copied()).stdin(Stdio::null()).stdout(Stdio::null());
        Self(command.spawn().unwrap())
    }

    pub fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_child(&self.0);
        rustix::process::kill_process(pid, signal).unwrap();
    }

    pub fn wait(&mut self) -> bool {
        self.0.wait().unwrap().success()
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A value that the parent of a helper has set.
pub fn given(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("only for a parent that sets {name}"))
}

/// Waits until something holds; a minute is for ever.
pub fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < Duration::from_secs(120), "{what} did not come about");
        std::thread::sleep(Duration::from_millis(10));
    }
}
