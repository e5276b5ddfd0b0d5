//! `migrate commit`: ends the way back of pairs that have moved.

use super::environment::Environment;
use super::failure::advised;
use super::operate::give;
use super::{Exit, confirm, output, runs};
use crate::engine::orders::Order;
use crate::event::{RunState, StepState};
use crate::render;
use crate::step::{CommitStep, Step, StepKind};

/// Arguments of `migrate commit`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
What a target takes is carried back to its source, so that a rollback loses nothing, until the plan's `reverse` has passed or until you say
here that it may end. Then there is no way back for that pair. Without a pair, all of the run that have their full share.

Examples:
  migrate commit uploads-1 dal-1 --why \"a week without trouble\"
  migrate commit uploads-1")]
pub struct Args {
    /// Name of a run, or of a plan for its newest run
    run: String,

    /// The pair, by its source or its target
    pair: Option<String>,

    /// Why, for the journal
    #[arg(long, value_name = "TEXT", default_value = "an operator ends the way back")]
    why: String,

    /// Do not ask
    #[arg(short, long)]
    yes: bool,
}

pub fn run(args: &Args, environment: &Environment) -> anyhow::Result<Exit> {
    let run = runs::find(environment, &args.run)?;
    let state = run.state(environment)?;
    let steps = wanted(args, &state)?;
    output::print(&gives_up(&state, &steps, environment.store.is_live(&run.name)))?;
    if !args.yes && !confirm::confirm("End the way back?")? {
        eprintln!("nothing was changed");
        return Ok(Exit::Error);
    }
    for step in &steps {
        let order = Order::Approve { step: step.id.clone(), why: args.why.clone() };
        give(environment, &run, order, environment.operator())?;
        output::print(&format!("{} is committed by {}\n", pair(step), environment.operator().user))?;
    }
    Ok(Exit::Ok)
}

/// The steps at which the way back of the wanted pairs ends.
fn wanted<'a>(args: &Args, state: &'a RunState) -> anyhow::Result<Vec<&'a Step>> {
    let commits: Vec<&Step> = state.graph.steps.iter().filter(|s| matches!(s.kind, StepKind::Commit(_))).collect();
    let ended = |step: &&Step| state.state_of(&step.id) == Some(StepState::Done);
    let Some(wanted) = &args.pair else {
        let open: Vec<&Step> = commits.iter().copied().filter(|step| is_open(state, step)).collect();
        return match open.is_empty() {
            false => Ok(open),
            true if commits.iter().all(ended) => Err(advised(
                format!("{}: no pair has a way back that could be ended", args.run),
                "`migrate status` shows how far its pairs are",
            )),
            true => Err(advised(
                format!("{}: no pair that still has a way back has its full share yet", args.run),
                "`migrate status` shows how far its pairs are",
            )),
        };
    };
    let is = |step: &&Step| step.pair.as_ref().is_some_and(|p| p.source == *wanted || p.target == *wanted);
    let found: Vec<&Step> = commits.iter().copied().filter(is).collect();
    if found.is_empty() {
        let there: Vec<String> = commits.iter().map(|step| pair(step)).collect();
        let hint = match there.is_empty() {
            true => "this run has no way back that could be ended".to_owned(),
            false => format!("pairs with a way back: {}", crate::text::list(&there)),
        };
        return Err(advised(format!("{}: there is no such pair: {wanted}", args.run), hint));
    }
    Ok(found)
}

/// Whether its pair has moved and can still go back.
fn is_open(state: &RunState, step: &Step) -> bool {
    let moved = step.after.iter().all(|id| state.state_of(id) == Some(StepState::Done));
    moved
        && state.state_of(&step.id) != Some(StepState::Done)
        && state.approvals.get(&step.id).is_none_or(Vec::is_empty)
}

fn pair(step: &Step) -> String {
    step.pair.as_ref().map_or_else(|| step.id.clone(), |p| format!("{} → {}", p.source, p.target))
}

/// What there is no way back to afterwards.
fn gives_up(state: &RunState, steps: &[&Step], live: bool) -> String {
    let mut out = String::new();
    for step in steps {
        let why = step.no_return.as_deref().unwrap_or_default();
        out.push_str(&format!("{} {}: {why}\n", step.service, pair(step)));
        for line in render::readiness(state, &step.id, live) {
            out.push_str(&format!("  {line}\n"));
        }
        if let StepKind::Commit(CommitStep { until, .. }) = &step.kind {
            out.push_str(&format!("  the plan keeps it open {until}\n"));
        }
    }
    out
}
