//! `migrate rollback`: goes back, step by step, as it came.

use std::path::PathBuf;
use std::sync::Arc;

use super::environment::Environment;
use super::failure::advised;
use super::output;
use super::{Exit, apply, confirm, connect, control, load, open_run, runs};
use crate::config::Ask;
use crate::engine::rollback_steps;
use crate::event::{Direction, Event, RunState};
use crate::lock;
use crate::render::{Format, Topic};
use crate::spec::Spec;
use crate::text;

/// Arguments of `migrate rollback`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Undoes everything that is done or may be done, last step first: weights go back through the same steps, to the values that were
there before. A host gets traffic again only when it passes its check. What lies behind a point of no return is refused.

Examples:
  migrate rollback uploads-1
  migrate rollback uploads-1 --to uploads/shift-25     then `migrate apply` goes forward again from there")]
pub struct Args {
    /// Name of a run, or of a plan for its newest run
    run: String,

    /// Go back only to where this step had just been done
    #[arg(long, value_name = "STEP")]
    to: Option<String>,

    /// Why, for the journal
    #[arg(long, value_name = "TEXT", default_value = "an operator asked for it")]
    why: String,

    /// Plan file, when it is not where it was when the run began
    #[arg(long, value_name = "FILE")]
    plan: Option<PathBuf>,

    /// Inventory, when the run began with another one than the plan names
    #[arg(short, long, value_name = "FILE")]
    inventory: Option<PathBuf>,

    /// Do not ask
    #[arg(short, long)]
    yes: bool,

    /// How to show progress
    #[arg(long, default_value = "text", value_parser = output::formats(Topic::Progress))]
    format: Format,
}

pub async fn run(args: &Args, environment: &Environment) -> anyhow::Result<Exit> {
    let run = runs::find(environment, &args.run)?;
    let (name, state) = (&run.name, run.state(environment)?);
    let spec = load_as_it_was(args, environment, name, &state).await?;
    let command = format!("migrate rollback {name}");
    let lease = open_run::lock(environment, lock::of_plan(&spec.plan), &command)?;
    let (mut open, mut state) = open_run::open(environment, lease, name, &spec.plan.audit.copy_to)?;
    let already = matches!(&state.direction, Direction::Back { to } if *to == args.to);
    let steps = check(args, &state)?;
    if steps.is_empty() && !already {
        output::print(&format!("{name}: nothing to roll back\n"))?;
        return Ok(Exit::Ok);
    }
    output::say(args.format, &describe(name, &state, &steps))?;
    if !args.yes && !confirm::confirm("Go back?")? {
        eprintln!("nothing was changed");
        return Ok(Exit::Error);
    }
    let by = environment.operator();
    let event = match already {
        true => Event::Resumed { by },
        false => Event::RollbackBegan { by, to: args.to.clone(), why: args.why.clone() },
    };
    state.apply(open.log.append(event)?)?;
    let world =
        connect::connect(&spec, environment)?.into_world(spec.inventory.hosts.clone(), Arc::clone(&open.lease) as _);
    match control::work(args.format, environment, world, open, state, &command).await? {
        // That is what was asked for.
        Exit::RolledBack => Ok(Exit::Ok),
        other => Ok(other),
    }
}

/// The files that the run began with: a rollback with others would be another migration.
async fn load_as_it_was(args: &Args, environment: &Environment, run: &str, state: &RunState) -> anyhow::Result<Spec> {
    let recorded = state.started.inputs.first().map(|i| i.path.clone());
    let Some(plan) = args.plan.clone().or(recorded) else {
        return Err(advised("the journal does not name a plan file", "name it with --plan"));
    };
    let pinned = load::pinned_by(environment, &state.started)?;
    let spec = load::load(&plan, args.inventory.as_deref(), environment, &|_| pinned.clone(), Ask::Once).await?;
    apply::refuse_other_files(run, &state.started.inputs, &spec.inputs)?;
    Ok(spec)
}

fn check(args: &Args, state: &RunState) -> anyhow::Result<Vec<String>> {
    if let Some(to) = &args.to
        && state.graph.step(to).is_none()
    {
        return Err(advised(format!("there is no step {to}"), "`migrate status NAME --format json` lists the steps"));
    }
    rollback_steps(state, args.to.as_deref()).map_err(|e| {
        advised(
            e.to_string(),
            "`--to` that step goes back as far as there is a way; what lies before it must be put back by hand",
        )
    })
}

fn describe(run: &str, state: &RunState, steps: &[String]) -> String {
    let mut out = format!("Going back in run {run}: {} to undo\n", text::count(steps.len() as u64, "step"));
    for step in steps.iter().filter_map(|id| state.graph.step(id)) {
        if step.kind.undo().does_something() {
            out.push_str(&format!("  {}: {}\n", step.id, step.kind.describe()));
        }
    }
    out
}
