//! How long the controller's own work takes for plans of different sizes, and to ask hosts that are there. Prints numbers; judges nothing.
//!
//! Each row has ten times the work of the one before it: a growth of 10 is linear.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    missing_docs
)]

#[path = "scale/fleet.rs"]
mod fleet;
#[path = "scale/hosts.rs"]
mod hosts;
#[path = "scale/idle.rs"]
mod idle;
#[path = "scale/import.rs"]
mod import;
#[path = "scale/kept.rs"]
mod kept;
#[path = "../tests/lab/mod.rs"]
mod lab;

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use kept::Kept;
use migrate::config::{self, LoadOptions};
use migrate::event::RunState;
use migrate::planner;
use migrate::render::{RunReport, Show, Style};

const PAIRS: [usize; 3] = [100, 1_000, 10_000];
const HOSTS: [usize; 2] = [10_000, 100_000];

fn main() {
    // `cargo bench --bench scale -- hosts`: that alone.
    if std::env::args().any(|arg| arg == "hosts") {
        return hosts::hosts(100);
    }
    println!("| work | size | time | growth |\n|---|---|---|---|");
    for waves in [1, 10] {
        let mut rows = Rows::default();
        for pairs in PAIRS {
            cutover(pairs, waves, &mut rows);
        }
        rows.print(&format!("{waves} wave{}, pairs", if waves == 1 { "" } else { "s" }), &PAIRS);
    }
    let mut rows = Rows::default();
    for hosts in HOSTS {
        let dir = tempfile::tempdir().unwrap();
        let plan = fleet::hosts(dir.path(), hosts);
        rows.timed("`migrate validate`", || command(&["validate"], &plan));
    }
    rows.print("hosts", &HOSTS);
    println!("\n| import from SoftLayer's API | time | peak | requests in the busiest second |\n|---|---|---|---|");
    for hosts in [1_000, 10_000] {
        let dir = tempfile::tempdir().unwrap();
        let import::Import { took, peak, busiest } = import::import(dir.path(), hosts);
        println!("| {hosts} hosts | {:.2} s | {peak} MiB | {busiest} |", took.as_secs_f64());
    }
}

fn cutover(pairs: usize, waves: usize, rows: &mut Rows) {
    let dir = tempfile::tempdir().unwrap();
    let plan = fleet::cutover(dir.path(), pairs, waves);
    rows.timed("`migrate validate`", || command(&["validate"], &plan));
    rows.timed("`migrate plan --offline`", || command(&["plan", "--offline"], &plan));
    rows.timed("`migrate plan --offline --format json`", || command(&["plan", "--offline", "--format", "json"], &plan));
    let (spec, _) = config::load(&plan, None, &LoadOptions::default()).unwrap_or_else(|e| panic!("{e}"));
    let proposal = rows.timed("of that: plan", || planner::propose(&spec, None));
    rows.timed("of that: show", || proposal.text(Style::default()));
    let planned = proposal.graph.clone();
    let graph = idle::idle(&proposal.graph);
    drop(proposal);
    let records = rows.timed("run it in a world that answers at once", || idle::run(&spec, &graph));
    Kept::begin(dir.path(), &planned, &records[..records.len() / 2]);
    drop(planned);
    rows.timed("`migrate status` when half of it is done", || status(dir.path()));
    let state = rows.timed("fold its records", || RunState::fold(records, Arc::new(graph)).unwrap());
    rows.timed("report on it", || RunReport::new(&state, false));
}

fn status(dir: &Path) {
    let mut status = Command::new(env!("CARGO_BIN_EXE_migrate"));
    status.args(["status", "fleet-1", "--state-dir"]).arg(dir).stdout(Stdio::null());
    assert!(status.status().unwrap().success());
}

fn command(words: &[&str], plan: &Path) {
    let run = Command::new(env!("CARGO_BIN_EXE_migrate")).args(words).arg(plan).stdout(Stdio::null()).status();
    assert!(run.unwrap().success());
}

/// Times by work, one for each size.
#[derive(Default)]
struct Rows(Vec<(String, Vec<Duration>)>);

impl Rows {
    fn timed<T>(&mut self, work: &str, run: impl FnOnce() -> T) -> T {
        let began = Instant::now();
        let out = run();
        let took = began.elapsed();
        match self.0.iter_mut().find(|(name, _)| name == work) {
            Some((_, times)) => times.push(took),
            None => self.0.push((work.to_owned(), vec![took])),
        }
        out
    }

    fn print(&self, of: &str, sizes: &[usize]) {
        for (work, times) in &self.0 {
            let mut before: Option<&Duration> = None;
            for (time, size) in times.iter().zip(sizes) {
                let growth =
                    before.map_or("–".to_owned(), |b| format!("{:.1}", time.as_secs_f64() / b.as_secs_f64()));
                println!("| {work} | {size} {of} | {:.3} s | {growth} |", time.as_secs_f64());
                before = Some(time);
            }
        }
    }
}
