//! `migrate abandon`: gives a run up that will go neither on nor back. What it has done stays as it is.

use std::fmt::Write as _;
use std::sync::Arc;

use super::environment::{Environment, ProcessSecrets};
use super::failure::advised;
use super::{Exit, confirm, open_run, output, runs};
use crate::alerts::{Alertmanager, Silences as _};
use crate::engine;
use crate::event::{Event, Record, RunState, Standing, StepState};
use crate::step::{Step, StepKind};
use crate::text;

/// Arguments of `migrate abandon`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
A run that is not finished keeps its hosts and pools: no other plan may touch them. This ends that, and nothing else: nothing is put back and
nothing goes on; only silences of alerts are taken away. What is left of it (weights, drained sources, agents on hosts) is for people. It is refused while users of a pair may be cut off.

Example:
  migrate abandon uploads-1 --why \"the rest was moved by hand, I looked\"")]
pub struct Args {
    /// Name of a run, or of a plan for its newest run
    run: String,

    /// Why, for the journal
    #[arg(long, value_name = "TEXT")]
    why: String,

    /// Users of every pair are served: somebody has looked
    #[arg(long)]
    served: bool,

    /// Do not ask
    #[arg(short, long)]
    yes: bool,
}

pub async fn run(args: &Args, environment: &Environment) -> anyhow::Result<Exit> {
    let run = runs::find(environment, &args.run)?;
    let name = &run.name;
    let (mut open, mut state) = open_run::by_hand(environment, &run, &format!("migrate abandon {name}"))?;
    if runs::has_ended(&state) {
        return Err(advised(format!("{name} has ended already"), "`migrate status` shows how"));
    }
    if let Some(cut_off) = state.cut_off().first().filter(|_| !args.served) {
        return Err(advised(
            format!("{name} is not given up: users may be cut off: {cut_off}"),
            format!(
                "`migrate apply` goes on and `migrate rollback {name}` goes back; when you have seen that they are served, say so with --served"
            ),
        ));
    }
    output::print(&leaves(&state))?;
    if !args.yes && !confirm::confirm("Give this run up?")? {
        eprintln!("nothing was changed");
        return Ok(Exit::Error);
    }
    let event = Event::Abandoned { by: environment.operator(), why: args.why.clone(), goes_on_in: None };
    // Folded first: a record that cannot follow must not get into the journal.
    state.apply(Record { seq: state.records, at: jiff::Timestamp::now(), event: event.clone() })?;
    open.log.append(event)?;
    for told in unsilence(&state).await {
        output::print(&told)?;
    }
    output::print(&format!("{name} is given up; its hosts and pools are free for other plans\n"))?;
    Ok(Exit::Ok)
}

/// Takes away the silences of alerts that the run may have left: nobody else would. What cannot be taken away ends by itself.
async fn unsilence(state: &RunState) -> Vec<String> {
    let made = state.graph.steps.iter().filter_map(|step| match &step.kind {
        StepKind::Silence(silence) if silence.makes => Some((step, silence)),
        _ => None,
    });
    let began = |step: &Step| !matches!(state.state_of(&step.id), None | Some(StepState::Waiting));
    let silences = Alertmanager::new(Arc::new(ProcessSecrets));
    let mut told = Vec::new();
    for (step, silence) in made.filter(|(step, _)| began(step)) {
        let owner = engine::owner_of_silences(&state.started.run, step);
        match silences.lift(&silence.at, &owner).await {
            Ok(0) => {}
            Ok(n) => told.push(format!("{} of {} taken away\n", text::count(n, "silence"), owner.pair)),
            Err(e) => told.push(format!("silences of {} may be left, and end by themselves: {e}\n", owner.pair)),
        }
    }
    told
}

/// What stays as the run has left it.
fn leaves(state: &RunState) -> String {
    let steps = state.graph.steps.len() as u64;
    let done = state.count(StepState::Done);
    let mut out =
        format!("Run {}: {done} of {} are done, and stay so.\n", state.started.run, text::count(steps, "step"));
    let standing = Standing::of(state);
    for pool in standing.all() {
        let members =
            standing.in_pool(&pool).into_iter().flat_map(|pool| pool.values()).map(|set| set.change.to_string());
        let ttl = standing.ttl(&pool).map(|ttl| format!("TTL {}", text::duration(ttl.ttl)));
        let set: Vec<String> = members.chain(ttl).collect();
        let _ = writeln!(out, "  {} {} stays at {}", pool.director, pool.pool, set.join(", "));
    }
    let open = state
        .graph
        .steps
        .iter()
        .filter(|step| !matches!(state.state_of(&step.id), None | Some(StepState::Waiting | StepState::Done)));
    for step in open {
        let _ = writeln!(out, "  {} may have been done, or not: {}", step.id, step.kind.describe());
    }
    out
}
