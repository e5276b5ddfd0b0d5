//! A small PostgreSQL moves with all who use it, is brought back under load, and moves again.

use std::process::Child;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use migrate::text;

use super::Migrate;
use super::lab::databases::pooler::Pooled;

/// Who writes all the time, each with a connection of its own for each word.
const CLIENTS: usize = 2;
const RUN: [&str; 2] = ["pg-1", "pg-2"];

/// Whether nobody has seen an error, and everything that was acknowledged is there in the end.
pub fn moves_there_and_back_and_there_again(interrupted: &dyn Fn() -> bool) -> Result<bool, String> {
    let began = Instant::now();
    let pooled = Pooled::start("");
    let lab = &pooled.lab;
    let root = lab.root();
    println!(
        "\nThe second part: a PostgreSQL on a host of its own, an empty host, PgBouncer in front of both, {CLIENTS} clients who write\n\
         without a pause. All of it is in {}.\n",
        root.display()
    );
    let migrate = Migrate::in_directory(&root)?;
    let clients: Vec<_> = (0..CLIENTS).map(|n| pooled.client_named(&format!("client-{n}"))).collect();
    let wait = || clients.iter().for_each(|client| client.wait_for_more(20));
    wait();
    let moved = there_and_back(&migrate, interrupted, &wait)?;
    wait();
    let acked: Vec<_> = clients.into_iter().flat_map(|client| client.stop()).collect();
    if !moved {
        return Ok(false);
    }
    let has = lab.words(1);
    let lost = acked.iter().filter(|(word, _)| !has.contains(word)).count();
    let failed = pooled.failed.load(Ordering::Relaxed);
    let rows = [
        ("rows written", text::grouped(acked.len() as u64)),
        ("failed", text::grouped(failed)),
        ("lost", lost.to_string()),
        ("the slowest within", text::duration(Duration::from_millis(pooled.longest.load(Ordering::Relaxed)))),
        ("took", text::duration(began.elapsed())),
    ];
    super::print_rows(&rows);
    Ok(failed == 0 && lost == 0)
}

/// Whether it got through.
fn there_and_back(migrate: &Migrate, interrupted: &dyn Fn() -> bool, wait: &dyn Fn()) -> Result<bool, String> {
    if !migrate.show(&["plan", "plan.yaml"]).success() {
        return Err("\nThe database cannot be moved.".to_owned());
    }
    let mut apply = moves(migrate, RUN[0], interrupted)?;
    wait();
    println!(
        "\nThe new server serves, and the old one follows it. The controller is killed, and it goes back: no row may be lost.\n"
    );
    let _ = apply.kill();
    let _ = apply.wait();
    if interrupted() || !migrate.show(&["rollback", RUN[0], "--yes"]).success() {
        return Ok(false);
    }
    wait();
    println!("The old server serves again. Once more, and for good.\n");
    let mut apply = moves(migrate, RUN[1], interrupted)?;
    wait();
    let committed = !interrupted() && migrate.show(&["commit", RUN[1], "--yes"]).success();
    let ended = apply.wait().map_err(|e| format!("cannot wait for migrate: {e}"))?;
    Ok(committed && ended.success())
}

/// Moves it, until the old server follows the new one; the controller goes on.
fn moves(migrate: &Migrate, run: &str, interrupted: &dyn Fn() -> bool) -> Result<Child, String> {
    println!("$ migrate apply plan.yaml --yes");
    let mut apply = migrate.command(&["apply", "plan.yaml", "--yes"]);
    let mut apply = apply.spawn().map_err(|e| format!("cannot run migrate: {e}"))?;
    while !follows(migrate, run) && !interrupted() {
        if let Ok(Some(status)) = apply.try_wait() {
            return Err(format!("\nThe database has not moved: {status}."));
        }
        std::thread::sleep(Duration::from_millis(200));
    }
    Ok(apply)
}

/// Whether the way back is ready, as `migrate status` tells.
fn follows(migrate: &Migrate, run: &str) -> bool {
    let Ok(out) = migrate.command(&["status", run, "--format", "json"]).output() else { return false };
    let report: serde_json::Value = serde_json::from_slice(&out.stdout).unwrap_or_default();
    let lines = report["pairs"][0]["way_back"].as_array().cloned().unwrap_or_default();
    lines.iter().filter_map(serde_json::Value::as_str).any(|line| line.contains("follows"))
}
