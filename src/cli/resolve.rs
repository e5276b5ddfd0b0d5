//! `migrate resolve`: an operator says what became of a step whose outcome nobody could tell.

use super::environment::Environment;
use super::failure::advised;
use super::{Exit, open_run, output, runs};
use crate::event::{Event, Record, StepState};

/// Arguments of `migrate resolve`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Look at the host or the director first: what you say here is taken as the truth and is written to the journal with your name.

Example:
  migrate resolve uploads-1 uploads/dal-1/freeze --done --why \"the service is stopped, I looked\"")]
pub struct Args {
    /// Name of a run, or of a plan for its newest run
    run: String,

    /// Id of the step
    step: String,

    /// It took hold (or, for an undo, the undo did)
    #[arg(long, required_unless_present = "not_done", conflicts_with = "not_done")]
    done: bool,

    /// It did not, and will not any more
    #[arg(long)]
    not_done: bool,

    /// How you know
    #[arg(long, value_name = "TEXT")]
    why: String,
}

pub fn run(args: &Args, environment: &Environment) -> anyhow::Result<Exit> {
    let run = runs::find(environment, &args.run)?;
    let (mut open, mut state) = open_run::by_hand(environment, &run, &format!("migrate resolve {}", run.name))?;
    let Some(step) = state.graph.step(&args.step) else {
        return Err(advised(
            format!("there is no step {}", args.step),
            "`migrate status NAME` shows the steps that are open",
        ));
    };
    let id = step.id.clone();
    if matches!(state.state_of(&id), Some(StepState::Waiting | StepState::Done)) {
        return Err(advised(format!("the outcome of {id} is known"), "only steps that are open can be resolved"));
    }
    let event =
        Event::Resolved { step: id.clone(), done: args.done, by: environment.operator(), why: args.why.clone() };
    // Folded first: a record that cannot follow must not get into the journal.
    state.apply(Record { seq: state.records, at: jiff::Timestamp::now(), event: event.clone() })?;
    open.log.append(event)?;
    output::print(&format!("{id} is resolved; go on with `migrate apply`\n"))?;
    Ok(Exit::Ok)
}
