//! A whole migration on one machine: `cargo demo`.
//!
//! Starts three source and three target hosts with real servers and some thousand files, lets users loose on them, moves
//! everything with `plans/uploads.yaml`, and shows what the users have noticed. Exit status 1 if that is anything at all.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, missing_docs)]
#![allow(clippy::print_stdout, clippy::print_stderr)]

#[path = "../tests/lab/mod.rs"]
mod lab;

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, ExitStatus};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use lab::fleet::{Fleet, Size, Storage, weigh};
use lab::load::Report;
use lab::place::Place;
use migrate::text;

const PLAN: &str = "plans/uploads.yaml";
const SIZE: Size = Size { pairs: 3, common: 1000, own: 500 };
const USERS: usize = 32;

fn main() -> ExitCode {
    // This program is also the `migrate` that it runs, and the agent that `migrate` puts on hosts.
    let called = std::env::args_os().next().map(PathBuf::from).unwrap_or_default();
    if called.file_stem().is_none_or(|name| !name.to_string_lossy().starts_with("demo")) {
        return migrate::cli::main();
    }
    match demo() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(why) => {
            eprintln!("{why}");
            ExitCode::FAILURE
        }
    }
}

/// Whether every promise was kept.
fn demo() -> Result<bool, String> {
    let interrupted = catch_interrupts();
    let began = Instant::now();
    let fleet = Fleet::behind_haproxy(Place::checked_in()?, SIZE, Storage::Own);
    let migrate = Migrate::new(fleet.place.root())?;
    let (files, bytes) = weigh(&fleet.sources);
    println!(
        "The lab runs: 3 source hosts with {} files ({}), 3 empty target hosts, HAProxy in front, {USERS} users\n\
         who read and upload without a pause, each request about 30 ms. All of it is in {}.\n",
        text::grouped(files as u64),
        text::bytes(bytes),
        fleet.place.root().display()
    );
    let load = fleet.load(USERS);
    load.wait_for(500);

    let planned = migrate.show(&["plan", PLAN]);
    let applied = planned.success() && !interrupted() && migrate.show(&["apply", PLAN, "--yes"]).success();
    if applied {
        // Long enough to notice that something is missing.
        load.wait_for(load.requests() + 2_000);
    }
    let report = load.stop();
    if interrupted() {
        println!(
            "\nInterrupted: everything that was started is stopped, and {} is removed.",
            fleet.place.root().display()
        );
        return Ok(false);
    }
    if !applied {
        return Err("\nThe migration did not come to its end.".to_owned());
    }
    Ok(show_results(&fleet, &migrate, &report, began.elapsed()))
}

/// The program under its own name, in the directory of the checked-in plans.
struct Migrate {
    program: PathBuf,
    home: PathBuf,
}

impl Migrate {
    fn new(root: &Path) -> Result<Self, String> {
        let program = root.join("migrate");
        let this = std::env::current_exe().map_err(|e| format!("cannot find this program: {e}"))?;
        symlink(this, &program).map_err(|e| format!("cannot create {}: {e}", program.display()))?;
        Ok(Self { program, home: root.join("home") })
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.args(args).current_dir(env!("CARGO_MANIFEST_DIR"));
        command.env("HOME", &self.home).env("MIGRATE_STATE_DIR", self.home.join("state")).env_remove("SSH_AUTH_SOCK");
        command
    }

    /// Runs it on this terminal.
    fn show(&self, args: &[&str]) -> ExitStatus {
        println!("$ migrate {}", args.join(" "));
        let status = self.command(args).status().unwrap_or_else(|e| panic!("cannot run migrate: {e}"));
        println!();
        status
    }

    /// Source, target and freeze of each pair, as `migrate status` tells.
    fn freezes(&self) -> Vec<(String, Option<u64>)> {
        let out = self.command(&["status", "uploads", "--format", "json"]).output().expect("migrate runs");
        let report: serde_json::Value = serde_json::from_slice(&out.stdout).expect("status is JSON");
        let pairs = report["pairs"].as_array().cloned().unwrap_or_default();
        pairs.iter().map(|p| (p["pair"].as_str().unwrap_or("?").to_owned(), p["freeze_ms"].as_u64())).collect()
    }
}

/// Prints the table; whether every promise was kept.
fn show_results(fleet: &Fleet, migrate: &Migrate, report: &Report, took: Duration) -> bool {
    let differences = fleet.compare(report);
    let count = |of: fn(&lab::tree::Difference) -> usize| differences.iter().map(|(_, d)| of(d)).sum::<usize>();
    let (lost, changed, extra) = (count(|d| d.lost.len()), count(|d| d.changed.len()), count(|d| d.extra.len()));
    let moved: Vec<_> = fleet.targets.iter().flat_map(|host| host.tree().into_values()).collect();
    let bytes: u64 = moved.iter().map(lab::tree::Entry::bytes).sum();
    let freezes: Vec<String> = migrate
        .freezes()
        .into_iter()
        .map(|(pair, freeze)| match freeze {
            Some(ms) => format!("{pair}: {}", text::duration(Duration::from_millis(ms))),
            None => format!("{pair}: unknown"),
        })
        .collect();
    let rows = [
        ("requests", text::grouped(report.requests)),
        ("failed", text::grouped(report.failed)),
        ("half of them within", text::duration(report.latency(0.5))),
        ("the slowest within", text::duration(report.latency(1.0))),
        ("uploads kept", text::grouped(report.uploads.len() as u64)),
        ("files on the targets", format!("{} ({})", text::grouped(moved.len() as u64), text::bytes(bytes))),
        ("lost, changed, added", format!("{lost}, {changed}, {extra}")),
        ("freeze", freezes.join(", ")),
        ("took", text::duration(took)),
    ];
    for (what, value) in rows {
        println!("  {what:<22} {value}");
    }
    for failure in &report.failures {
        println!("  failed: {failure}");
    }
    for (host, difference) in differences.iter().filter(|(_, d)| !d.is_none()) {
        println!("  {host}: {difference:?}");
    }
    let kept = report.failed == 0 && lost + changed + extra == 0;
    println!("\n{}", if kept { "Nobody noticed." } else { "A promise was broken." });
    kept
}

/// Ctrl-C reaches `migrate` too, which stops by its own rules; this program then only has to clean up.
fn catch_interrupts() -> impl Fn() -> bool {
    let seen = Arc::new(AtomicBool::new(false));
    let note = Arc::clone(&seen);
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            while tokio::signal::ctrl_c().await.is_ok() {
                note.store(true, Ordering::Relaxed);
            }
        });
    });
    move || seen.load(Ordering::Relaxed)
}
