//! How soon the page of a run with a thousand pairs is there, and how soon it shows what happens. Prints numbers; judges nothing.
//!
//! No controller works on the run, so that the server has to find new records by looking: beside a live one it is told.

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
#[path = "scale/idle.rs"]
mod idle;
#[path = "scale/kept.rs"]
mod kept;
#[path = "../tests/lab/mod.rs"]
mod lab;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use kept::Kept;
use lab::browser::Browser;
use lab::command::Migrate;
use lab::process::free_port;
use migrate::config::{self, LoadOptions};
use migrate::event::{Event, Record};
use migrate::planner;
use serde_json::json;

const PAIRS: usize = 1_000;
const WAVES: usize = 10;
const EVENTS: usize = 50;

/// Notes when all tiles are there, and when each record is.
const NOTES: &str = "
window.seen = {};
new MutationObserver(changes => {
  if (!window.tiles && document.querySelectorAll('.tiles .tile').length >= 1000) requestAnimationFrame(() => { window.tiles = performance.now(); });
  for (const change of changes) for (const node of change.addedNodes) if (node.dataset && node.dataset.seq) window.seen[node.dataset.seq] ??= Date.now();
}).observe(document, {childList: true, subtree: true});";

fn main() {
    let dir = tempfile::tempdir().unwrap();
    let plan = fleet::cutover(dir.path(), PAIRS, WAVES);
    let (spec, _) = config::load(&plan, None, &LoadOptions::default()).unwrap_or_else(|e| panic!("{e}"));
    let planned = planner::propose(&spec, None).graph;
    let records = idle::run(&spec, &idle::idle(&planned));
    let (begun, rest) = records.split_at(records.len() / 2);
    std::fs::create_dir_all(dir.path().join("home")).unwrap();
    let migrate = Migrate::at(env!("CARGO_BIN_EXE_migrate"), dir.path());
    let mut kept = Kept::begin(&migrate.state_dir(), &planned, begun);
    let here = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let addr = SocketAddr::new(here, free_port(here));
    let mut serving = migrate.start(&["serve", "--listen", &addr.to_string()]);
    serving.read_errors_until("The live view is at ");
    let token = std::fs::read_to_string(migrate.state_dir().join("serve-token")).unwrap();
    let browser = Browser::start(dir.path(), &[]);
    browser.go(&format!("http://{addr}/#token={}", token.trim()));
    browser.wait_for_words("fleet-1");
    browser.protocol("Page.addScriptToEvaluateOnNewDocument", json!({ "source": NOTES }));
    println!("| {PAIRS} pairs, {} steps, {} records | ms |\n|---|---|", planned.steps.len(), begun.len());
    for what in ["first time", "again"] {
        browser.go(&format!("http://{addr}/runs/fleet-1"));
        browser.wait_for("window.tiles && window.seen");
        let paint = "performance.getEntriesByType('paint').find(p => p.name === 'first-contentful-paint')";
        browser.wait_for(paint);
        let paint = browser.script(&format!("return {paint}.startTime"));
        println!("| first paint, {what} | {:.0} |", paint.as_f64().unwrap());
        println!("| all pairs painted, {what} | {:.0} |", browser.script("return window.tiles").as_f64().unwrap());
    }
    let mut took = Vec::new();
    for records in rest.chunks(4).take(EVENTS) {
        std::thread::sleep(Duration::from_millis(150));
        let written = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis();
        kept.add(records);
        let Some(seq) = records.iter().find(|record| is_told(record)).map(|record| record.seq) else { continue };
        browser.wait_for(&format!("window.seen[{seq}]"));
        let seen = browser.script(&format!("return window.seen[{seq}]")).as_u64().unwrap();
        took.push(u128::from(seen) - written);
    }
    took.sort_unstable();
    println!("| event seen, median of {} | {} |", took.len(), took[took.len() / 2]);
    println!("| event seen, slowest | {} |", took[took.len() - 1]);
    if let Some(pictures) = std::env::var_os("MIGRATE_PICTURES").map(PathBuf::from) {
        for (kind, dark, size) in
            [("light", false, (1280, 1000)), ("dark", true, (1280, 1000)), ("phone", true, (390, 1600))]
        {
            browser.picture(&pictures.join(format!("fleet-{kind}.png")), dark, size);
        }
    }
}

fn is_told(record: &Record) -> bool {
    matches!(record.event, Event::Intent { .. } | Event::Outcome { .. })
}
