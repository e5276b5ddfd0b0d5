//! `migrate store copy`: carries runs from one store to another.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use super::environment::{Environment, ProcessSecrets};
use super::failure::advised;
use super::runs::{self, Run};
use super::{Exit, elsewhere, open_run, output};
use crate::event::{Event, Record, Status};
use crate::lock::{self, Locks};
use crate::store::{self, Here, RunStore};
use crate::text;

/// Arguments of `migrate store`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Carry runs from one store to another, with their checkpoints, and read them again there
    #[command(after_help = "\
A run that a controller works on is refused: stop it first. One that is not finished goes on in the other store alone: where it was, it is
given up, with a word on where it is now.

Examples:
  migrate store copy file:/home/ada/.local/state/migrate etcd://10.0.0.1,10.0.0.2,10.0.0.3/migrate uploads-1
  migrate store copy etcd://10.0.0.1/migrate file:/srv/archive                  all runs")]
    Copy {
        /// Where they are: KIND:PLACE
        from: String,

        /// Where they go: KIND:PLACE
        to: String,

        /// Names of runs, or of plans for their newest runs; all runs unless some are named
        #[arg(value_name = "RUN")]
        runs: Vec<String>,
    },
}

pub fn run(args: &Args, environment: &Environment) -> anyhow::Result<Exit> {
    let Command::Copy { from, to, runs } = &args.command;
    let here = Here { dir: environment.state_dir.clone(), secrets: Arc::new(ProcessSecrets) };
    let to_store = store::open(to, &here)?;
    let from = Environment { store: store::open(from, &here)?, ..environment.clone() };
    if from.store.place("") == to_store.place("") {
        return Err(advised("both are the same store", "name two stores"));
    }
    let runs = match runs.as_slice() {
        [] => runs::all(&from)?,
        named => named.iter().map(|name| runs::find(&from, name)).collect::<Result<_, _>>()?,
    };
    if runs.is_empty() {
        let what = format!("there are no runs in {}, so that nothing was carried", from.store.place(""));
        return Err(advised(what, "correct its address; `migrate runs --store KIND:PLACE` lists what is there"));
    }
    for run in &runs {
        carry(&from, &to_store, to, run)?;
    }
    output::print(&format!("{} carried\n", text::count(runs.len() as u64, "run")))?;
    Ok(Exit::Ok)
}

fn carry(from: &Environment, to: &Arc<dyn RunStore>, address: &str, run: &Run) -> anyhow::Result<()> {
    let name = &run.name;
    // Its locks keep every controller away meanwhile, and what was changed in it is found.
    let (mut open, mut state) = open_run::by_hand(from, run, "migrate store copy")?;
    if let Status::Abandoned { goes_on_in: Some(place), .. } = &state.status {
        output::print(&format!("{name}: was carried before, {}\n", goes_on_in(place)))?;
        return Ok(());
    }
    let goes_on = !runs::has_ended(&state);
    let elsewhere = elsewhere::begun(from.store.as_ref(), name, &state)?;
    if let Some(step) = elsewhere.first().filter(|_| goes_on) {
        let what = format!("{name}: what {step} began runs on the machine of another controller, or ran there");
        return Err(advised(what, "carry it from that machine, or let `migrate resolve` say what became of it"));
    }
    let plan = lock::plan_name(&state.started.plan);
    let locks = Locks::new(to.lock_table(), &from.operator(), from.lease);
    let lease = locks.acquire([plan].into(), "migrate store copy")?;
    let carried = store::carry(from.store.as_ref(), to.as_ref(), name, &lease)?;
    if goes_on {
        receipts(&from.store.receipts(name), &to.receipts(name)).map_err(|e| {
            advised(
                format!("{name}: its receipts on this machine cannot be carried: {e}"),
                "make room; then the same command goes on",
            )
        })?;
        let shown = address.split_once('?').map_or(address, |(place, _)| place);
        let (why, goes_on_in) = (goes_on_in(shown), Some(shown.to_owned()));
        let event = Event::Abandoned { by: from.operator(), why, goes_on_in };
        state.apply(Record { seq: state.records, at: jiff::Timestamp::now(), event: event.clone() })?;
        open.log.append(event)?;
    }
    let there = if carried.was_there { ", there already" } else { "" };
    let records = text::count(carried.records, "record");
    output::print(&format!("{name}: {records}, read again and the same{there}\n"))?;
    Ok(())
}

fn goes_on_in(place: &str) -> String {
    format!("it goes on in {}", text::escape(place.as_bytes(), 300))
}

/// Copies what a directory has, and what is there already again.
fn receipts(from: &Path, to: &Path) -> std::io::Result<()> {
    if !from.is_dir() {
        return Ok(());
    }
    fs::create_dir_all(to)?;
    fs::set_permissions(to, fs::metadata(from)?.permissions())?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (kind, place) = (entry.file_type()?, to.join(entry.file_name()));
        if kind.is_dir() {
            receipts(&entry.path(), &place)?;
        } else if kind.is_file() {
            fs::copy(entry.path(), place)?;
        }
    }
    Ok(())
}
