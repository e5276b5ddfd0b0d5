//! `migrate status` and `migrate runs`: where runs stand.

use super::Exit;
use super::environment::Environment;
use super::follow;
use super::output;
use super::runs::{self, Run};
use crate::render::{self, Format, Topic};

/// Arguments of `migrate status`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Without a name it lists all runs. With the name of a run, or of a plan for its newest run, it shows every pair.

With --follow it shows the records of the run and then what happens, until the run has ended, or is held or stopped; the exit code is that
of the run: 0, 3 or 4. It works beside a live controller, and without one.

Examples:
  migrate status uploads
  migrate status uploads-1 --follow
  migrate status uploads-1 --follow --from 120 --format json     one record or notice a line, as `apply --format json` has them")]
pub struct Args {
    /// Name of a run or of a plan
    name: Option<String>,

    /// Go on showing what happens, until the run ends or is held
    #[arg(short, long, requires = "name")]
    follow: bool,

    /// First record to show, from 0
    #[arg(long, value_name = "RECORD", requires = "follow", default_value_t = 0)]
    from: u64,

    /// Tell each of what is much of a kind
    #[arg(short, long)]
    verbose: bool,

    /// How to show it
    #[arg(long, default_value = "text", value_parser = output::formats(Topic::Report))]
    format: Format,
}

/// Arguments of `migrate runs`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: migrate runs --format json | jq -r '.[] | select(.status == \"held\").run'")]
pub struct Runs {
    /// How to show it
    #[arg(long, default_value = "text", value_parser = output::formats(Topic::Report))]
    format: Format,
}

/// Lists all runs.
pub fn list(args: &Runs, environment: &Environment) -> anyhow::Result<Exit> {
    run(&Args { name: None, follow: false, from: 0, verbose: false, format: args.format }, environment)
}

pub fn run(args: &Args, environment: &Environment) -> anyhow::Result<Exit> {
    let Some(name) = &args.name else {
        let all = runs::all(environment)?;
        let rows: Vec<_> = all.iter().map(|run| row(run, environment)).collect();
        let place = environment.store.place("*");
        output::show(args.format, &render::Runs { rows, place }, environment.style(false))?;
        return Ok(Exit::Ok);
    };
    let run = runs::find(environment, name)?;
    let live = environment.store.is_live(&run.name);
    let state = run.state(environment)?;
    if args.follow {
        let watch = args.format.watch(std::io::stdout(), &state);
        return follow::follow(environment, state, args.from, watch);
    }
    let report = render::RunReport::new(&state, live);
    output::show(args.format, &report, environment.style(args.verbose))?;
    Ok(Exit::Ok)
}

fn row(run: &Run, environment: &Environment) -> render::RunRow {
    let state = run.state(environment);
    let state = state.as_ref().map_err(ToString::to_string);
    render::RunRow::new(&run.name, state, environment.store.is_live(&run.name))
}
