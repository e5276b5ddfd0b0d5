//! A world in which everything is done at once, and the runs that an engine makes of a graph in it: what is left is the work of the engine.

#![allow(dead_code, reason = "each bench uses some of it")]

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use jiff::Timestamp;
use migrate::alerts::Alertmanager;
use migrate::check::{Checks, Health, HealthCheck, Subject, Verdict};
use migrate::clock::Clock;
use migrate::copy::{Copier, CopyJob, OnProgress, PassReport, StreamJob, StreamReport, VerifyMode, VerifyReport};
use migrate::engine::{Ending, Engine, Stop, World};
use migrate::event::{Blob, Event, Operator, Record, RunState, Started};
use migrate::gate::{Answer, Condition, Conditions, Surroundings};
use migrate::host::{
    AgentFacts, Command, ConnectionCount, Facts, Hosts, Output, ReceiptKey, ReceiptStatus, TreeExtent, TreeSize,
};
use migrate::journal::{JournalError, Log};
use migrate::lock::{Barred, Guard};
use migrate::model::Host;
use migrate::outside::Error;
use migrate::provider::Connected;
use migrate::secret::{Secret, SecretError, SecretRef, Secrets};
use migrate::spec::Spec;
use migrate::step::{Graph, Step, StepKind, WatchStep};
use tokio::sync::{mpsc, watch};

/// The same steps in the same order, of which only copies do anything.
pub fn idle(graph: &Graph) -> Graph {
    let wait = || {
        StepKind::Watch(WatchStep {
            hold: Duration::ZERO,
            checks: Checks::default(),
            measured: Vec::new(),
            pools: Vec::new(),
        })
    };
    let step = |step: &Step| match &step.kind {
        StepKind::Copy(_) => step.clone(),
        _ => Step { kind: wait(), ..step.clone() },
    };
    Graph { steps: graph.steps.iter().map(step).collect(), ..graph.clone() }
}

/// Runs a graph to its end; all records that were made.
pub fn run(spec: &Spec, graph: &Graph) -> Vec<Record> {
    let by = Operator { user: "ada".into(), host: "desk".into(), pid: 1 };
    let started = Started {
        run: "fleet-1".into(),
        plan: spec.plan.name.clone(),
        inputs: Vec::new(),
        texts: Vec::new(),
        graph: Blob::default(),
        steps: graph.steps.len(),
        by: by.clone(),
        version: "0".into(),
    };
    let first = Record { seq: 0, at: Timestamp::UNIX_EPOCH, event: Event::Started(Box::new(started)) };
    let records = Arc::new(Mutex::new(vec![first.clone()]));
    let state = RunState::fold([first], Arc::new(graph.clone())).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let world = world(&spec.inventory.hosts, Arc::new(Idle));
    runtime.block_on(finish(world, Box::new(Memory(Arc::clone(&records))), state, by));
    std::mem::take(&mut records.lock().unwrap())
}

/// Works on a run until it is finished.
pub async fn finish(world: World, log: Box<dyn Log>, state: RunState, by: Operator) {
    let (notices, _nobody) = mpsc::unbounded_channel();
    let (_stop, stop) = watch::channel(Stop::No);
    let (_orders, orders) = mpsc::channel(1);
    let engine = Engine::new(Arc::new(world), log, state, by, notices, stop, orders);
    assert_eq!(engine.run().await.unwrap(), Ending::Finished);
}

/// A world in which these hosts are idle.
pub fn world(hosts: &BTreeMap<String, Host>, guard: Arc<dyn Guard>) -> World {
    let all = Arc::new(Idle);
    World {
        hosts: Arc::new(hosts.clone()),
        places: Default::default(),
        remote: all.clone(),
        copier: all.clone(),
        health: all.clone(),
        conditions: all.clone(),
        providers: Arc::new(Connected { secrets: all.clone() }),
        silences: Arc::new(Alertmanager::new(all.clone())),
        directors: Arc::new(BTreeMap::new()),
        secrets: all.clone(),
        clock: all,
        guard,
    }
}

struct Memory(Arc<Mutex<Vec<Record>>>);

impl Log for Memory {
    fn append(&mut self, event: Event) -> Result<Record, JournalError> {
        let mut records = self.0.lock().unwrap();
        let record = Record { seq: records.len() as u64, at: Timestamp::UNIX_EPOCH, event };
        records.push(record.clone());
        Ok(record)
    }
}

/// Does everything at once.
struct Idle;

#[async_trait]
impl Copier for Idle {
    async fn pass(&self, _: &CopyJob, _: OnProgress<'_>) -> Result<PassReport, Error> {
        Ok(PassReport::default())
    }

    async fn verify(&self, _: &CopyJob, _: VerifyMode, _: OnProgress<'_>) -> Result<VerifyReport, Error> {
        Ok(VerifyReport::default())
    }

    fn limit(&self, _: &str, _: Option<u64>) {}

    async fn stream(&self, _: &StreamJob, _: OnProgress<'_>) -> Result<StreamReport, Error> {
        Ok(StreamReport::default())
    }

    async fn suits(&self, _: &Host, _: &Facts) -> Result<(), Error> {
        Ok(())
    }

    async fn probe(&self, _: &Host, _: &[String]) -> Result<AgentFacts, Error> {
        Ok(AgentFacts::default())
    }

    async fn clean_up(&self, _: &Host, _: &[String]) -> Result<(), Error> {
        Ok(())
    }
}

#[async_trait]
impl Clock for Idle {
    fn now(&self) -> Instant {
        Instant::now()
    }

    async fn sleep(&self, _: Duration) {}
}

#[async_trait]
impl Guard for Idle {
    fn check(&self) -> Result<(), Barred> {
        Ok(())
    }

    async fn lost(&self) -> String {
        std::future::pending().await
    }
}

#[async_trait]
impl Hosts for Idle {
    async fn query(&self, _: &Host, _: &Command) -> Result<Output, Error> {
        std::future::pending().await
    }

    async fn start(&self, _: &Host, _: &ReceiptKey, _: u64, _: &Command, _: Duration) -> Result<ReceiptStatus, Error> {
        std::future::pending().await
    }

    async fn fetch(&self, _: &Host, _: &ReceiptKey, _: u64, _: Duration) -> Result<ReceiptStatus, Error> {
        std::future::pending().await
    }

    async fn seal(&self, _: &Host, _: &ReceiptKey, _: u64) -> Result<ReceiptStatus, Error> {
        std::future::pending().await
    }

    async fn forget(&self, _: &Host, _: &str) -> Result<(), Error> {
        std::future::pending().await
    }

    async fn connections(&self, _: &Host, _: Option<IpAddr>, _: u16) -> Result<ConnectionCount, Error> {
        std::future::pending().await
    }

    async fn facts(&self, _: &Host, _: &[String]) -> Result<Facts, Error> {
        std::future::pending().await
    }

    async fn tree_size(&self, _: &Host, _: &str, _: TreeExtent) -> Result<TreeSize, Error> {
        std::future::pending().await
    }
}

#[async_trait]
impl Health for Idle {
    async fn probe(&self, _: &HealthCheck, _: &Subject<'_>) -> Verdict {
        std::future::pending().await
    }
}

#[async_trait]
impl Conditions for Idle {
    async fn ask(&self, _: &Condition, _: &dyn Surroundings) -> Answer {
        std::future::pending().await
    }
}

impl Secrets for Idle {
    fn resolve(&self, _: &SecretRef) -> Result<Secret, SecretError> {
        panic!("no step has a secret")
    }
}
