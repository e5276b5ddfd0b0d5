//! `migrate apply`: does what the plan says, and goes on where an earlier run stopped.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::connect::{self, Connections};
use super::environment::Environment;
use super::failure::advised;
use super::open_run::{self, OpenRun};
use super::output;
use super::runs::{self, Run};
use super::{Exit, confirm, control, load, plan};
use crate::config::Ask;
use crate::event::{Event, Notice, RunState, Started};
use crate::lock::{self, Lease};
use crate::model::Input;
use crate::model::finding::Finding;
use crate::planner;
use crate::planner::proposal::Proposal;
use crate::planner::saved::{self, SavedPlan};
use crate::render::{self, Format, Show, Style, Topic};
use crate::spec::Spec;
use crate::step::{Graph, Step, StepKind};

/// Arguments of `migrate apply`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Ctrl-C once stops at the next safe point, twice at once. Either way, running the same command again goes on.

Examples:
  migrate apply plans/uploads.yaml           plans, asks, applies
  migrate apply uploads.plan --yes           applies what `plan --out` saved; refused when anything relevant has changed")]
pub struct Args {
    /// Plan file (YAML), or a plan saved by `migrate plan --out`
    #[arg(value_name = "PLAN|FILE")]
    plan: PathBuf,

    /// Inventory to use instead of the one that the plan names
    #[arg(short, long, value_name = "FILE")]
    inventory: Option<PathBuf>,

    /// Do not ask, not at points of no return either
    #[arg(short, long)]
    yes: bool,

    /// How to show progress: text (bars on a terminal, else lines), or json (one event a line)
    #[arg(long, default_value = "text", value_parser = output::formats(Topic::Progress))]
    format: Format,
}

pub async fn run(args: &Args, environment: &Environment) -> anyhow::Result<Exit> {
    let saved = read_saved(&args.plan)?;
    let (plan, inventory) = match &saved {
        Some(saved) => (saved.plan.as_path(), saved.inventory.as_deref()),
        None => (args.plan.as_path(), args.inventory.as_deref()),
    };
    // What live sources said when an unfinished run began is what it goes on with.
    let pinned = |plan: &str| load::unfinished(environment, plan);
    let spec = load::load(plan, inventory, environment, &pinned, Ask::Once).await?;
    if let Some(saved) = &saved {
        refuse_if("the files behind the saved plan have changed", &saved.changed_inputs(&spec.inputs))?;
    }
    let command = format!("migrate apply {}", args.plan.display());
    // First of all: what is looked at under the lock is still so when it is acted upon.
    let lease = open_run::lock(environment, lock::of_plan(&spec.plan), &command)?;
    let connections = connect::connect(&spec, environment)?;
    let latest = runs::latest(environment, &spec.plan.name)?;
    match latest.filter(|r| !r.state(environment).is_ok_and(|s| runs::has_ended(&s))) {
        Some(run) => resume(args, environment, &spec, connections, lease, run).await,
        None => begin(args, environment, &spec, connections, lease, saved).await,
    }
}

fn read_saved(path: &Path) -> anyhow::Result<Option<SavedPlan>> {
    let mut start = [0_u8; 64];
    let read = std::fs::File::open(path).and_then(|mut f| std::io::Read::read(&mut f, &mut start));
    let read = read.map_err(|e| advised(format!("{} cannot be read: {e}", path.display()), "name a plan file"))?;
    if !saved::is_saved_plan(start.get(..read).unwrap_or_default()) {
        return Ok(None);
    }
    Ok(Some(SavedPlan::parse(&std::fs::read(path)?)?))
}

fn refuse_if(why: &str, changes: &[String]) -> anyhow::Result<()> {
    if changes.is_empty() {
        return Ok(());
    }
    let list = changes.iter().fold(String::new(), |list, change| format!("{list}\n  - {change}"));
    Err(advised(format!("{why}:{list}"), "nothing was changed; make a new plan with `migrate plan --out`"))
}

/// A first run: plan, ask, do.
async fn begin(
    args: &Args,
    environment: &Environment,
    spec: &Spec,
    connections: Connections,
    lease: Arc<Lease>,
    saved: Option<SavedPlan>,
) -> anyhow::Result<Exit> {
    let observed = plan::look(spec, &connections).await;
    let proposal = planner::propose(spec, Some(&observed));
    if args.format.is_for_people() {
        output::print(&proposal.text(Style { color: environment.color, verbose: false }))?;
    }
    refuse(&proposal)?;
    if let Some(saved) = &saved {
        refuse_if("the live system has changed since the plan was saved", &saved.changed_world(&observed))?;
    }
    if proposal.is_empty() {
        return nothing_to_do(args, &spec.plan.name);
    }
    if !args.yes && !confirm::confirm("Apply this plan?")? {
        eprintln!("nothing was changed");
        return Ok(Exit::Error);
    }
    let graph = saved.map_or(proposal.graph, |s| s.graph);
    let (mut open, mut state) = start(environment, spec, graph, lease)?;
    if args.yes {
        pass_no_return(environment, &mut open, &mut state)?;
    }
    let command = format!("migrate apply {}", args.plan.display());
    let world = connections.into_world(spec.inventory.hosts.clone(), Arc::clone(&open.lease) as _);
    control::work(args.format, environment, world, open, state, &command).await
}

/// As a notice, because it takes the place of a run's.
#[derive(serde::Serialize)]
struct NothingToDo<'a> {
    notice: &'static str,
    #[serde(skip)]
    plan: &'a str,
}

impl Show for NothingToDo<'_> {
    fn text(&self, _: Style) -> String {
        format!("{}: nothing to do\n", self.plan)
    }
}

fn nothing_to_do(args: &Args, plan: &str) -> anyhow::Result<Exit> {
    output::show_line(args.format, &NothingToDo { notice: "nothing_to_do", plan })?;
    Ok(Exit::Ok)
}

/// Says why a plan cannot be applied.
pub fn refuse(proposal: &Proposal) -> anyhow::Result<()> {
    let refusals: Vec<&Finding> = proposal.refusals().collect();
    if refusals.is_empty() {
        return Ok(());
    }
    let list = refusals.iter().fold(String::new(), |list, f| {
        let hint = f.hint.as_ref().map(|h| format!("\n    help: {h}")).unwrap_or_default();
        format!("{list}\n  - {}: {}{hint}", f.about, f.what)
    });
    Err(anyhow::anyhow!("the plan cannot be applied, and nothing was changed:{list}"))
}

fn start(
    environment: &Environment,
    spec: &Spec,
    graph: Graph,
    lease: Arc<Lease>,
) -> anyhow::Result<(OpenRun, RunState)> {
    let copy_to = &spec.plan.audit.copy_to;
    let (mut run, kept) = open_run::create(environment, lease, spec, &graph, copy_to)?;
    let started = Started {
        run: run.name.clone(),
        plan: spec.plan.name.clone(),
        inputs: spec.inputs.clone(),
        texts: kept.texts,
        graph: kept.graph,
        steps: graph.steps.len(),
        by: environment.operator(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
    };
    let record = run.log.append(Event::Started(Box::new(started)))?;
    Ok((run, RunState::begin(record, Arc::new(graph))?))
}

/// A run that was begun before: take it up with the graph that it began with.
async fn resume(
    args: &Args,
    environment: &Environment,
    spec: &Spec,
    connections: Connections,
    lease: Arc<Lease>,
    run: Run,
) -> anyhow::Result<Exit> {
    let copy_to = &spec.plan.audit.copy_to;
    let (mut open, mut state) = open_run::open(environment, lease, &run.name, copy_to)?;
    refuse_other_files(&run.name, &state.started.inputs, &spec.inputs)?;
    output::say(args.format, &render::resuming(&state))?;
    if !args.yes && !confirm::confirm("Go on with this run?")? {
        eprintln!("nothing was changed");
        return Ok(Exit::Error);
    }
    state.apply(open.log.append(Event::Resumed { by: environment.operator() })?)?;
    if args.yes {
        pass_no_return(environment, &mut open, &mut state)?;
    }
    let command = format!("migrate apply {}", args.plan.display());
    let world = connections.into_world(spec.inventory.hosts.clone(), Arc::clone(&open.lease) as _);
    control::work(args.format, environment, world, open, state, &command).await
}

/// `--yes` answers the questions at points of no return, too.
fn pass_no_return(environment: &Environment, open: &mut OpenRun, state: &mut RunState) -> anyhow::Result<()> {
    let asks = |s: &&Step| matches!(&s.kind, StepKind::Gate(gate) if !gate.past.is_empty());
    let unanswered = |s: &&Step| state.approvals.get(&s.id).is_none_or(Vec::is_empty);
    let steps = &state.graph.steps;
    let gates: Vec<String> = steps.iter().filter(asks).filter(unanswered).map(|s| s.id.clone()).collect();
    for step in gates {
        let approved = Event::Approved { step, by: environment.operator(), why: "begun with --yes".to_owned() };
        let record = open.log.append(approved)?;
        state.apply(record.clone())?;
        // Nobody watches yet, or any more.
        let _ = open.notices.send(Notice::Recorded(record));
    }
    Ok(())
}

pub fn refuse_other_files(run: &str, then: &[Input], now: &[Input]) -> anyhow::Result<()> {
    // The same files may be named from another directory: what is in them counts.
    let digests = |inputs: &[Input]| inputs.iter().map(|i| i.digest.clone()).collect::<Vec<_>>();
    if digests(then) == digests(now) {
        return Ok(());
    }
    let names: Vec<String> = then.iter().map(|i| i.path.display().to_string()).collect();
    Err(advised(
        format!("run {run} is not finished, and the files it began with have been edited since: {}", names.join(", ")),
        "put them back as they were to go on with it",
    ))
}
