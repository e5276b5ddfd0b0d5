//! A store, an inventory source and a watcher that only tests know, each in one file with one line in a list, through plan, apply and
//! rollback. Nothing but these lines knows of them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::control::Watched;
use super::environment::{Environment, ProcessSecrets};
use super::pinned::Texts;
use super::{Exit, connect, control, load, open_run, runs};
use crate::config::Ask;
use crate::event::{Event, Notice, RunState, Started, Watch};
use crate::inventory::memory;
use crate::lock::{self, Claim};
use crate::planner;
use crate::render::Format;
use crate::spec::Spec;
use crate::step::{Graph, Step, StepKind};
use crate::store::{self, Here};

/// What the watcher has seen, by the name of the run.
static SEEN: Mutex<BTreeMap<String, Vec<Notice>>> = Mutex::new(BTreeMap::new());

struct Collect(String);

impl Watch for Collect {
    fn see(&mut self, notice: &Notice) {
        SEEN.lock().unwrap().entry(self.0.clone()).or_default().push(notice.clone());
    }
}

/// The line of the watcher stands in the list of all.
pub(super) fn watcher(run: &Watched<'_>) -> Option<Box<dyn Watch>> {
    Some(Box::new(Collect(run.state.started.run.clone())))
}

fn environment(dir: &std::path::Path, store: &str) -> Environment {
    Environment {
        agents: None,
        store_address: None,
        acts_for: None,
        state_dir: dir.to_owned(),
        store: store::open(store, &Here { dir: dir.to_owned(), secrets: Arc::new(ProcessSecrets) }).unwrap(),
        home: None,
        user: Some("ada".into()),
        sudo_user: None,
        ssh_auth_sock: None,
        color: false,
        lease: Duration::from_secs(60),
        width: None,
        terminal: false,
    }
}

const INVENTORY: &str = "hosts: {old-1: {address: 127.0.0.1}, new-1: {address: 127.0.0.1}}\n";

/// A plan whose targets are found healthy: whatever listens there passes.
fn plan(dir: &std::path::Path, source: &str, port: u16) -> std::path::PathBuf {
    let path = dir.join("plan.yaml");
    let health = format!("{{tcp: \"127.0.0.1:{port}\", rise: 1, interval: 100ms, within: 5s}}");
    let service = format!("move: {{from: old-1, to: new-1}}, state: {{directory: /srv/web}}, health: {health}");
    std::fs::write(&path, format!("migration: web\ninventory: memory:{source}\nservices: {{web: {{{service}}}}}\n"))
        .unwrap();
    path
}

/// The steps that need no host.
fn checks(spec: &Spec) -> Graph {
    let mut graph = planner::propose(spec, None).graph;
    let alone = |s: &Step| matches!(s.kind, StepKind::Check(_) | StepKind::Watch(_));
    let steps = graph.steps.iter().filter(|s| alone(s)).map(|s| Step { after: Vec::new(), ..s.clone() });
    graph.steps = steps.collect();
    assert!(!graph.steps.is_empty());
    graph
}

async fn work(environment: &Environment, spec: &Spec, run: open_run::OpenRun, state: RunState) -> Exit {
    let connections = connect::connect(spec, environment).unwrap();
    let world = connections.into_world(spec.inventory.hosts.clone(), &run);
    control::work(Format::Json, environment, world, run, state, ("migrate apply", &[])).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn kinds_that_only_tests_know_go_through_plan_apply_and_rollback() {
    let dir = tempfile::tempdir().unwrap();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let environment = environment(dir.path(), "memory:cli-test");
    memory::say("cli-test", INVENTORY);
    let path = plan(dir.path(), "cli-test", listener.local_addr().unwrap().port());
    let spec = load::load(&path, None, &environment, &|_| Vec::new(), Ask::Once).await.unwrap();
    let graph = checks(&spec);

    // Apply.
    let lease = || open_run::lock(&environment, lock::of_plan(&spec.plan), "a test").unwrap();
    let (mut run, kept) = open_run::create(&environment, lease(), &spec, &graph, &[]).unwrap();
    let started = Started {
        run: run.name.clone(),
        plan: "web".into(),
        inputs: spec.inputs.clone(),
        texts: kept.texts,
        graph: kept.graph,
        steps: graph.steps.len(),
        by: environment.operator(),
        version: "0".into(),
    };
    let record = run.log.append(Event::Started(Box::new(started))).unwrap();
    let state = RunState::begin(record, Arc::new(graph)).unwrap();
    let name = run.name.clone();
    assert_eq!(work(&environment, &spec, run, state).await, Exit::Ok);
    let seen = SEEN.lock().unwrap().get(&name).cloned().unwrap();
    assert!(seen.iter().any(|n| matches!(n, Notice::Recorded(r) if r.event == Event::Finished)), "{seen:?}");

    // What the source says now does not matter to the run any more.
    memory::say("cli-test", "hosts: {}\n");
    let asked = memory::asked("cli-test");
    let state = runs::find(&environment, "web").unwrap().state(&environment).unwrap();
    std::fs::remove_file(&path).unwrap();
    let again = Texts::of(&environment, &state.started, None).unwrap().spec(&environment).unwrap();
    assert_eq!((again.inputs, memory::asked("cli-test")), (state.started.inputs.clone(), asked));

    // Back.
    let (mut run, mut state) = open_run::open(&environment, lease(), &name, &[]).unwrap();
    let back = Event::RollbackBegan { by: environment.operator(), to: None, why: "a test".into(), accept_gap: false };
    state.apply(run.log.append(back).unwrap()).unwrap();
    assert_eq!(work(&environment, &spec, run, state).await, Exit::RolledBack);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_gives_a_secret_away_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let environment = environment(dir.path(), "memory:cli-secret");
    memory::say("cli-secret", &format!("{INVENTORY}# PATH is $TOKEN\n"));
    let path = plan(dir.path(), "cli-secret", 1);
    let refused = load::load(&path, None, &environment, &|_| Vec::new(), Ask::Once).await.unwrap_err().to_string();
    assert!(refused.contains("holds a secret") && refused.contains("plan.yaml:2"), "{refused}");
    let offline = load::load_offline(&path, None, &environment).unwrap_err().to_string();
    assert!(offline.contains("fetched from elsewhere"), "{offline}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_that_is_being_written_down_is_waited_for_and_a_controller_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let environment = environment(dir.path(), "memory:cli-order");
    let names = || [lock::plan_name("web")].into();
    let order = Claim { names: names(), why: "migrate pause web-1", by_hand: true, ended: None };
    let order = open_run::claim(&environment, order).unwrap();
    let waiting = std::thread::spawn({
        let environment = environment.clone();
        move || open_run::lock(&environment, [lock::plan_name("web")].into(), "migrate apply").map(drop)
    });
    std::thread::sleep(std::time::Duration::from_millis(200));
    assert!(!waiting.is_finished());
    drop(order);
    waiting.join().unwrap().unwrap();
    let _controller = open_run::lock(&environment, names(), "migrate apply").unwrap();
    let refused = open_run::lock(&environment, names(), "migrate apply").unwrap_err();
    assert!(refused.to_string().contains("is locked by"), "{refused}");
}
