//! `migrate status` and `migrate runs`: where runs stand.

use super::Exit;
use super::environment::Environment;
use super::output::{self, Format};
use super::runs::{self, Run};
use crate::render;

/// Arguments of `migrate status`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Without a name it lists all runs. With the name of a run, or of a plan for its newest run, it shows every pair."
)]
pub struct Args {
    /// Name of a run or of a plan
    name: Option<String>,

    /// How to show it
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
}

/// Arguments of `migrate runs`.
#[derive(Debug, clap::Args)]
pub struct Runs {
    /// How to show it
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
}

/// Lists all runs.
pub fn list(args: &Runs, environment: &Environment) -> anyhow::Result<Exit> {
    run(&Args { name: None, format: args.format }, environment)
}

pub fn run(args: &Args, environment: &Environment) -> anyhow::Result<Exit> {
    let Some(name) = &args.name else {
        let all = runs::all(environment)?;
        let rows: Vec<_> = all.iter().map(|run| row(run, environment)).collect();
        match args.format {
            Format::Json => output::print_json(&rows)?,
            Format::Text => output::print(&render::run_table(&rows))?,
        }
        return Ok(Exit::Ok);
    };
    let run = runs::find(environment, name)?;
    let live = environment.store.is_live(&run.name);
    let state = run.state(environment)?;
    let report = render::RunReport::new(&state, live);
    match args.format {
        Format::Json => output::print_json(&report)?,
        Format::Text => output::print(&render::run_text(&report))?,
    }
    Ok(Exit::Ok)
}

fn row(run: &Run, environment: &Environment) -> render::RunRow {
    let state = run.state(environment);
    let state = state.as_ref().map_err(ToString::to_string);
    render::RunRow::new(&run.name, state, environment.store.is_live(&run.name))
}
