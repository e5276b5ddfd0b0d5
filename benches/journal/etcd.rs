//! How fast an engine takes steps whose journal is in a cluster of three servers, and how often it goes there for one.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use migrate::audit::{AuditKey, Copies, Sealed};
use migrate::config::{self, LoadOptions};
use migrate::event::{Event, Operator, Record, RunState, Started};
use migrate::journal::{JournalError, Log, blob};
use migrate::lock::{Fenced, Lease, Locks};
use migrate::model::Host;
use migrate::planner;
use migrate::secret::{Secret, SecretError, SecretRef, Secrets};
use migrate::step::Graph;
use migrate::store::{self, Here, RunStore};

use super::idle;
use super::lab::etcd::Etcd;

const CHAIN: usize = 1_000;
const PAIRS: usize = 100;

/// Prints a row for each way to write and each shape of a run.
pub fn steps() {
    let etcd = Etcd::cluster();
    let chain = Graph { steps: (0..CHAIN).map(super::step).collect(), ..Graph::default() };
    let dir = tempfile::tempdir().unwrap();
    let (spec, _) = config::load(&super::fleet::cutover(dir.path(), PAIRS, 1), None, &LoadOptions::default())
        .unwrap_or_else(|e| panic!("{e}"));
    let pairs = idle::idle(&planner::propose(&spec, None).graph);
    println!("\n| three etcd servers | steps | steps/s | round trips a step |\n|---|---|---|---|");
    for (shape, graph) in [("one step after the other", &chain), ("100 pairs", &pairs)] {
        for alone in [true, false] {
            let (took, asked) = work(&etcd, graph, &spec.inventory.hosts, alone);
            let (steps, how) = (graph.steps.len() as f64, if alone { ", each record alone" } else { "" });
            let (pace, trips) = (steps / took.as_secs_f64(), asked as f64 / steps);
            println!("| {shape}{how} | {steps} | {pace:.0} | {trips:.2} |");
        }
    }
}

/// How long a run takes, and how many transactions it is for the cluster.
fn work(etcd: &Etcd, graph: &Graph, hosts: &BTreeMap<String, Host>, alone: bool) -> (Duration, u64) {
    let by = Operator { user: "ada".into(), host: "desk".into(), pid: std::process::id() };
    let here = Here { dir: etcd.dir().join("here"), secrets: Arc::new(NoSecrets) };
    let store: Arc<dyn RunStore> = store::open(&etcd.address(), &here).unwrap();
    let locks = Locks::new(store.lock_table(), &by, Duration::from_secs(60));
    let lease = Arc::new(locks.acquire(["plan:bench".to_owned()].into(), "a bench").unwrap());
    let writer = store.create("bench", &lease).unwrap();
    let started = Event::Started(Box::new(Started {
        run: writer.run().to_owned(),
        plan: "bench".into(),
        inputs: Vec::new(),
        texts: Vec::new(),
        graph: blob::keep(writer.chunks().as_mut(), graph).unwrap(),
        steps: graph.steps.len(),
        by: by.clone(),
        version: "0".into(),
    }));
    let (run, copies) = (writer.run().to_owned(), Copies::start(&[], &by, Box::new(|_| {})));
    let sealed = Sealed::open(writer, &run, by.clone(), AuditKey::load_or_make(etcd.dir()).unwrap(), copies).unwrap();
    let mut log: Box<dyn Log> = match alone {
        true => Box::new(Alone(sealed, Arc::clone(&lease))),
        false => Box::new(Fenced::new(sealed, Arc::clone(&lease))),
    };
    let state = RunState::fold([log.append(started).unwrap()], Arc::new(graph.clone())).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let (asked, began) = (transactions(etcd), Instant::now());
    runtime.block_on(async {
        let world = idle::world(hosts, lease);
        tokio::spawn(idle::finish(world, log, state, by)).await.unwrap();
    });
    (began.elapsed(), transactions(etcd) - asked)
}

/// Writes each record by itself, and looks at the table of locks before.
struct Alone(Sealed, Arc<Lease>);

impl Log for Alone {
    fn append(&mut self, event: Event) -> Result<Record, JournalError> {
        self.1.check(Duration::ZERO).map_err(|lost| JournalError::Fenced { why: lost.to_string() })?;
        self.0.append(event)
    }
}

/// How many transactions the servers have been asked for.
fn transactions(etcd: &Etcd) -> u64 {
    let of = |server: &String| {
        let (mut stream, mut reply) = (TcpStream::connect(server).unwrap(), String::new());
        stream.write_all(b"GET /metrics HTTP/1.0\r\n\r\n").unwrap();
        stream.read_to_string(&mut reply).unwrap();
        let lines = reply.lines().filter(|l| l.starts_with("grpc_server_started_total") && l.contains("\"Txn\""));
        lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum::<f64>() as u64
    };
    etcd.servers().iter().map(of).sum()
}

struct NoSecrets;

impl Secrets for NoSecrets {
    fn resolve(&self, _: &SecretRef) -> Result<Secret, SecretError> {
        panic!("nothing here has a password")
    }
}
