//! `migrate metrics`: runs as Prometheus reads them, for the textfile collector of node_exporter.

use std::path::{Path, PathBuf};

use super::environment::Environment;
use super::failure::advised;
use super::{Exit, output, runs};
use crate::render::{Told, exposition};

/// Arguments of `migrate metrics`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
What is told comes from the journals, so this can be run by a timer, beside controllers or without one: a run whose controller has died is told as
interrupted. Series of pairs are there until their run is over.

Examples:
  migrate metrics
  migrate metrics --out /var/lib/prometheus/node-exporter/migrate.prom     replaced at once, as node_exporter wants it")]
pub struct Args {
    /// Write them to a file instead of standard output
    #[arg(short, long, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// All runs, as Prometheus reads them.
pub fn text(environment: &Environment) -> anyhow::Result<String> {
    let runs = runs::all(environment)?;
    // Asked before its records are read: a controller that comes to its end meanwhile must not look as if it had died.
    let read = runs.iter().map(|run| (run, environment.store.is_live(&run.name), run.state(environment)));
    let read: Vec<_> = read.collect();
    let told = read.iter().map(|(run, live, state)| Told {
        run: &run.name,
        state: state.as_ref().map_err(ToString::to_string),
        live: *live,
    });
    Ok(exposition(told))
}

pub fn run(args: &Args, environment: &Environment) -> anyhow::Result<Exit> {
    let text = text(environment)?;
    let Some(out) = &args.out else {
        output::print(&text)?;
        return Ok(Exit::Ok);
    };
    replace(out, &text)
        .map_err(|e| advised(format!("{} cannot be written: {e}", out.display()), "choose another place for --out"))?;
    Ok(Exit::Ok)
}

/// Whoever reads it meanwhile gets the old text or the new one, whole. It has another ending until then: collectors look for theirs.
fn replace(path: &Path, text: &str) -> std::io::Result<()> {
    let next = path.with_extension("next");
    std::fs::write(&next, text)?;
    std::fs::rename(&next, path)
}
