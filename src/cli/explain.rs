//! `migrate explain`: what a run waits for, since when, what was seen last, and what would end it.

use super::Exit;
use super::environment::Environment;
use super::output;
use super::runs::{self, Run};
use crate::control::{self, Answer, Request};
use crate::event::LastWords;
use crate::render::{self, Format, Topic};

/// Arguments of `migrate explain`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  migrate explain               the newest run that has not ended
  migrate explain uploads-1")]
pub struct Args {
    /// Name of a run, or of a plan for its newest run; without one, the newest run that has not ended
    run: Option<String>,

    /// Tell each of what is much of a kind
    #[arg(short, long)]
    verbose: bool,

    /// How to show it
    #[arg(long, default_value = "text", value_parser = output::formats(Topic::Report))]
    format: Format,
}

pub fn run(args: &Args, environment: &Environment) -> anyhow::Result<Exit> {
    let found = match &args.run {
        Some(name) => Some(runs::find(environment, name)?),
        None => newest_open(environment)?,
    };
    let Some(run) = found else {
        output::print("No run waits for anything.\n")?;
        return Ok(Exit::Ok);
    };
    let live = environment.store.is_live(&run.name);
    let last_words = match control::ask_run(environment.store.as_ref(), &run.name, &Request::Waiting) {
        Ok(Answer::Waiting(words)) => words,
        // Nobody there, or nothing to tell: the journal says the rest.
        _ => LastWords::default(),
    };
    let state = run.state(environment)?;
    let explanation = render::explain(&state, live, &last_words, jiff::Timestamp::now());
    output::show(args.format, &explanation, environment.style(args.verbose))?;
    Ok(Exit::Ok)
}

/// The newest run that has not ended, or cannot be read.
fn newest_open(environment: &Environment) -> anyhow::Result<Option<Run>> {
    let open = |run: &Run| !run.state(environment).is_ok_and(|s| runs::has_ended(&s));
    Ok(runs::all(environment)?.into_iter().rfind(open))
}
