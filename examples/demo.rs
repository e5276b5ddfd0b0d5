//! A whole migration on one machine: `cargo demo`.
//!
//! Starts three source and three target hosts with real servers and some thousand files, lets users loose on them, moves
//! everything with `plans/uploads.yaml`, and shows what the users have noticed. Then a small PostgreSQL moves with all who use it, is brought
//! back under load, and moves again. Exit status 1 if anybody has noticed anything at all.
//!
//! `cargo demo -- softlayer` lets the same hosts be rented: `plans/softlayer.yaml` finds them in an account, moves them behind a name in
//! SoftLayer's DNS, and gives them back.
//!
//! `cargo demo -- team` puts the run of `plans/uploads.yaml` into a cluster of etcd, kills its controller in the middle, and lets another
//! machine that stands by go on with it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, missing_docs)]
#![allow(clippy::print_stdout, clippy::print_stderr)]

#[path = "demo/database.rs"]
mod database;
#[path = "../tests/lab/mod.rs"]
mod lab;
#[path = "demo/team.rs"]
mod team;

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
const RENTED: &str = "plans/softlayer.yaml";
const SIZE: Size = Size { pairs: 3, common: 1000, own: 500 };
const USERS: usize = 32;
/// Says that this program is `migrate`, however it is called: `migrate` starts itself again.
const AS_MIGRATE: &str = "DEMO_AS_MIGRATE";

fn main() -> ExitCode {
    // This program is also the `migrate` that it runs, and the agent that `migrate` puts on hosts.
    let called = std::env::args_os().next().map(PathBuf::from).unwrap_or_default();
    let is_demo = called.file_stem().is_some_and(|name| name.to_string_lossy().starts_with("demo"));
    if !is_demo || std::env::var_os(AS_MIGRATE).is_some() {
        return migrate::cli::main();
    }
    let ran = match std::env::args().nth(1).as_deref() {
        None => demo(),
        Some("softlayer") => leave_softlayer(),
        Some("team") => team::another_machine_goes_on(&catch_interrupts()),
        Some(other) => Err(format!(
            "there is no demonstration `{other}`: it is `cargo demo`, `cargo demo -- softlayer` or `cargo demo -- team`"
        )),
    };
    match ran {
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
    let load = fleet.load_with_pause(USERS, Duration::ZERO);
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
    let kept = show_results(&fleet, &migrate.freezes("uploads"), &report, began.elapsed());
    drop(fleet);
    let kept = database::moves_there_and_back_and_there_again(&interrupted)? && kept;
    println!("\nBoth parts took {}. {}", text::duration(began.elapsed()), verdict(kept));
    Ok(kept)
}

fn verdict(kept: bool) -> &'static str {
    if kept { "Nobody noticed." } else { "A promise was broken." }
}

/// The same for hosts that are rented, until the last one has been given back.
fn leave_softlayer() -> Result<bool, String> {
    let interrupted = catch_interrupts();
    let began = Instant::now();
    let fleet = Fleet::behind_softlayer(Place::checked_in()?, SIZE, Storage::Own, 1);
    let migrate = Migrate::new(fleet.place.root())?;
    println!(
        "The lab runs: 3 source hosts in an account at SoftLayer (its API and its name servers run on this machine, too), 3 empty\n\
         target hosts, {USERS} users who find them by a name. All of it is in {}.\n",
        fleet.place.root().display()
    );
    let load = fleet.load_with_pause(USERS, Duration::ZERO);
    load.wait_for(500);
    let shown = [&["inventory", "show", "inventories/softlayer.yaml"][..], &["cost", RENTED], &["plan", RENTED]];
    let ready = shown.iter().all(|words| !interrupted() && migrate.show(words).success());
    let applied = ready && give_back(&fleet, &migrate)?;
    if applied {
        load.wait_for(load.requests() + 2_000);
    }
    let report = load.stop();
    match (applied, interrupted()) {
        (true, _) => {
            let kept = show_results(&fleet, &migrate.freezes("softlayer"), &report, began.elapsed());
            println!("\n{}", verdict(kept));
            Ok(kept)
        }
        (false, true) => Ok(false),
        (false, false) => Err("\nThe migration did not come to its end.".to_owned()),
    }
}

/// Applies, says the word for each source that can go, and lets SoftLayer's day come; whether it came to its end.
fn give_back(fleet: &Fleet, migrate: &Migrate) -> Result<bool, String> {
    println!("$ migrate apply {RENTED} --yes");
    let mut apply =
        migrate.command(&["apply", RENTED, "--yes"]).spawn().map_err(|e| format!("cannot run migrate: {e}"))?;
    let ended = |apply: &mut std::process::Child| apply.try_wait().ok().flatten();
    let mut given = 0;
    let mut asked = false;
    loop {
        if let Some(status) = ended(&mut apply) {
            return Ok(status.success());
        }
        std::thread::sleep(Duration::from_millis(200));
        if given < SIZE.pairs {
            let said = migrate.command(&["retire", "softlayer", "--yes", "--why", "CHG-1234"]).output();
            let said =
                String::from_utf8_lossy(&said.map_err(|e| format!("cannot run migrate: {e}"))?.stdout).into_owned();
            let now = said.matches("says that it is given back").count();
            if now > 0 {
                println!("\n$ migrate retire softlayer --why CHG-1234       (from another terminal)\n{said}");
            }
            given += now;
        } else if !asked && fleet.softlayer().world().cancellations.len() == SIZE.pairs {
            asked = true;
            println!();
            migrate.show(&["explain", "softlayer"]);
            println!("The day comes on which SoftLayer reclaims them.\n");
            fleet.softlayer().world().reclaim();
        }
    }
}

/// The program under its own name, in the directory of its plans.
#[derive(Clone)]
struct Migrate {
    program: PathBuf,
    home: PathBuf,
    plans: PathBuf,
    state: PathBuf,
    /// Where runs are kept, when that is not the state directory.
    store: Option<String>,
    /// What starts it.
    through: Vec<String>,
}

impl Migrate {
    /// In the directory of the checked-in plans.
    fn new(root: &Path) -> Result<Self, String> {
        Ok(Self { plans: env!("CARGO_MANIFEST_DIR").into(), ..Self::in_directory(root)? })
    }

    /// In a directory that has plans of its own.
    fn in_directory(root: &Path) -> Result<Self, String> {
        let program = root.join("migrate");
        let this = std::env::current_exe().map_err(|e| format!("cannot find this program: {e}"))?;
        symlink(this, &program).map_err(|e| format!("cannot create {}: {e}", program.display()))?;
        let home = root.join("home");
        let state = home.join("state");
        Ok(Self { program, home, plans: root.to_owned(), state, store: None, through: Vec::new() })
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut words = self.through.iter().map(PathBuf::from).chain([self.program.clone()]);
        let mut command = Command::new(words.next().unwrap_or_default());
        command.args(words).args(args).current_dir(&self.plans);
        command.env("HOME", &self.home).env("MIGRATE_STATE_DIR", &self.state).env_remove("SSH_AUTH_SOCK");
        command.env(AS_MIGRATE, "1").envs(self.store.as_ref().map(|store| ("MIGRATE_STORE", store)));
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
    fn freezes(&self, plan: &str) -> Vec<(String, Option<u64>)> {
        let out = self.command(&["status", plan, "--format", "json"]).output().expect("migrate runs");
        let report: serde_json::Value = serde_json::from_slice(&out.stdout).expect("status is JSON");
        let pairs = report["pairs"].as_array().cloned().unwrap_or_default();
        pairs.iter().map(|p| (p["pair"].as_str().unwrap_or("?").to_owned(), p["freeze_ms"].as_u64())).collect()
    }
}

/// Prints the table; whether every promise was kept.
fn show_results(fleet: &Fleet, freezes: &[(String, Option<u64>)], report: &Report, took: Duration) -> bool {
    let differences = fleet.compare(report);
    let count = |of: fn(&lab::tree::Difference) -> usize| differences.iter().map(|(_, d)| of(d)).sum::<usize>();
    let (lost, changed, extra) = (count(|d| d.lost.len()), count(|d| d.changed.len()), count(|d| d.extra.len()));
    let moved: Vec<_> = fleet.targets.iter().flat_map(|host| host.tree().into_values()).collect();
    let bytes: u64 = moved.iter().map(lab::tree::Entry::bytes).sum();
    let freezes: Vec<String> = freezes
        .iter()
        .map(|(pair, freeze)| match freeze {
            Some(ms) => format!("{pair}: {}", text::duration(Duration::from_millis(*ms))),
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
    print_rows(&rows);
    for failure in &report.failures {
        println!("  failed: {failure}");
    }
    for (host, difference) in differences.iter().filter(|(_, d)| !d.is_none()) {
        println!("  {host}: {difference:?}");
    }
    report.failed == 0 && lost + changed + extra == 0
}

fn print_rows(rows: &[(&str, String)]) {
    for (what, value) in rows {
        println!("  {what:<22} {value}");
    }
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
