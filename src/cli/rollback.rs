//! `migrate rollback`: goes back, step by step, as it came.

use std::path::PathBuf;

use super::environment::Environment;
use super::failure::advised;
use super::output;
use super::pinned::Texts;
use super::{Exit, confirm, connect, control, open_run, runs};
use crate::engine::rollback_steps;
use crate::event::{Direction, Event, RunState, Status};
use crate::lock;
use crate::render::{Format, Topic};
use crate::text;

/// Arguments of `migrate rollback`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Undoes everything that is done or may be done, last step first: weights go back through the same steps, to the values that were
there before. A host gets traffic again only when it passes its check, and a target leaves only while another one that serves passes its
own. What lies behind a point of no return is refused.
It goes by the plan and the inventories as they were when the run began, whatever has been edited since or is gone.

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

    /// Take a target out even while all others that serve fail their checks: users are cut off until its source is back
    #[arg(long)]
    accept_gap: bool,

    /// Plan file, when it is not where it was when the run began: files that it names are looked for beside it
    #[arg(long, value_name = "FILE")]
    plan: Option<PathBuf>,

    /// Do not ask
    #[arg(short, long)]
    yes: bool,

    /// How to show progress
    #[arg(long, default_value = "text", value_parser = output::formats(Topic::Progress))]
    format: Format,
}

impl Args {
    /// Back to where a step had just been done.
    pub fn to(run: &str, step: &str, why: &str, yes: bool) -> Self {
        Self {
            run: run.to_owned(),
            to: Some(step.to_owned()),
            why: why.to_owned(),
            accept_gap: false,
            plan: None,
            yes,
            format: Format::Text,
        }
    }
}

pub async fn run(args: &Args, environment: &Environment) -> anyhow::Result<Exit> {
    let run = runs::find(environment, &args.run)?;
    let (name, state) = (&run.name, run.state(environment)?);
    // A rollback with other files would be another migration.
    let texts = Texts::of(environment, &state.started, args.plan.as_deref())?;
    let spec = texts.spec(environment)?;
    let command = format!("migrate rollback {name}");
    let lease = open_run::lock(environment, lock::of_plan(&spec.plan), &command)?;
    let (mut open, mut state) = open_run::open(environment, lease, name, &spec.plan.audit.copy_to)?;
    let already = matches!(&state.direction, Direction::Back { to } if *to == args.to);
    let steps = check(args, &state)?;
    if steps.is_empty() && !already {
        output::print(&format!("{name}: nothing to roll back\n"))?;
        return Ok(Exit::Ok);
    }
    eprint!("{}", texts.edits(args.plan.as_deref(), None));
    output::say(args.format, &describe(name, &state, &steps))?;
    if !args.yes && !confirm::confirm("Go back?")? {
        eprintln!("nothing was changed");
        return Ok(Exit::Error);
    }
    let by = environment.operator();
    let event = match already {
        true if !args.accept_gap => Event::Resumed { by },
        _ => Event::RollbackBegan { by, to: args.to.clone(), why: args.why.clone(), accept_gap: args.accept_gap },
    };
    state.apply(open.log.append(event)?)?;
    let world = connect::connect(&spec, environment)?.into_world(spec.inventory.hosts.clone(), &open);
    match control::work(args.format, environment, world, open, state, (&command, &spec.plan.notify)).await? {
        // That is what was asked for.
        Exit::RolledBack => Ok(Exit::Ok),
        other => Ok(other),
    }
}

fn check(args: &Args, state: &RunState) -> anyhow::Result<Vec<String>> {
    if let Status::Abandoned { by, .. } = &state.status {
        let what =
            format!("it was given up by {}@{}: its hosts and pools may be another run's by now", by.user, by.host);
        return Err(advised(what, "what has to be put back is put back by hand"));
    }
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
