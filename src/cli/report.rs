//! `migrate report`: what a run was, for those who were not there.

use std::path::PathBuf;

use super::environment::Environment;
use super::failure::advised;
use super::pinned::Texts;
use super::{Exit, audit, output, runs};
use crate::event::RunState;
use crate::planner::{cost, observed::Observed};
use crate::render::{Audit, Beside, Chronicle, Format, Style, Topic};
use crate::store;

/// Arguments of `migrate report`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
The report is one file: nothing in it is loaded from elsewhere, and nothing in it runs. It says what the run's records say, so it can be made
at any time, from a run that goes on, too.

Examples:
  migrate report uploads-1 --out uploads-1.html
  migrate report uploads --format markdown          for a post-mortem, of the newest run of the plan
  migrate report uploads-1 --format json | jq '.pairs[] | {source, target, freeze}'")]
pub struct Args {
    /// Name of a run, or of a plan for its newest run
    run: String,

    /// Write it to a file instead of standard output
    #[arg(short, long, value_name = "FILE")]
    out: Option<PathBuf>,

    /// How to show it
    #[arg(long, default_value = "html", value_parser = output::formats(Topic::Chronicle))]
    format: Format,
}

pub fn run(args: &Args, environment: &Environment) -> anyhow::Result<Exit> {
    let run = runs::find(environment, &args.run)?;
    // Asked first: a controller that comes to its end meanwhile must not look as if it had ended without a word.
    let live = environment.store.is_live(&run.name);
    let records = store::records(environment.store.as_ref(), &run.name)?;
    let graph = store::graph(environment.store.as_ref(), &run.name, &records)?;
    let state = RunState::fold(records.iter().cloned(), std::sync::Arc::new(graph))?;
    let beside = Beside { live, audit: sealed(environment, &run.name), ..planned(environment, &state) };
    let told = args.format.render(&Chronicle::new(&records, &state, beside), Style::default())?;
    let Some(out) = &args.out else {
        output::print(&told)?;
        return Ok(Exit::Ok);
    };
    std::fs::write(out, told)
        .map_err(|e| advised(format!("{} cannot be written: {e}", out.display()), "choose another place for --out"))?;
    eprintln!("written to {}", out.display());
    Ok(Exit::Ok)
}

/// What the plan says of itself and does to the bill, by the texts that the run keeps. A run of an older version may keep none: then that is
/// left out.
fn planned(environment: &Environment, state: &RunState) -> Beside {
    let texts = Texts::of(environment, &state.started, None);
    let Ok(spec) = texts.and_then(|texts| texts.spec(environment)) else { return Beside::default() };
    let bill = cost::bill(&spec, &state.graph, &Observed::default());
    Beside { description: spec.plan.description.clone(), bill, ..Beside::default() }
}

/// Whether the records are what was sealed; `None` where that cannot be asked.
fn sealed(environment: &Environment, run: &str) -> Option<Audit> {
    let report = audit::report_of(environment, run, &[], None).ok()??;
    let mut says = Vec::new();
    if let (Some(to), Some(at)) = (report.sealed_to, report.sealed_at) {
        says.push(format!("Sealed up to record {to} at {}.", at.strftime("%Y-%m-%d %H:%M:%S UTC")));
    }
    says.extend(report.findings.iter().map(ToString::to_string));
    says.extend(report.not_excluded.iter().map(|what| format!("Not excluded: {what}")));
    Some(Audit { intact: report.intact, says })
}
