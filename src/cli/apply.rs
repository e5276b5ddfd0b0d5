//! `migrate apply`: does what the plan says, and goes on where an earlier run stopped.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::connect;
use super::environment::Environment;
use super::failure::advised;
use super::open_run::{self, OpenRun};
use super::output;
use super::pinned::{self, Texts};
use super::runs::{self, Run};
use super::{Exit, claims, confirm, control, earlier, load, plan, serve};
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
Ctrl-C once stops at the next safe point, twice at once. Either way, running the same command again goes on: with the plan and the
inventories as they were when the run began. What has been edited in them since is told, and counts from the next run on.

Examples:
  migrate apply plans/uploads.yaml           plans, asks, applies
  migrate apply plans/uploads.yaml --serve   the same, to be seen in a browser
  migrate apply uploads.plan --yes           applies what `plan --out` saved; refused when anything relevant has changed")]
pub struct Args {
    /// Plan file (YAML), a plan saved by `migrate plan --out`, or the name of a run that is not finished
    #[arg(value_name = "PLAN|FILE|RUN")]
    plan: PathBuf,

    /// Inventory to use instead of the one that the plan names
    #[arg(short, long, value_name = "FILE")]
    inventory: Option<PathBuf>,

    /// Do not ask, not at points of no return either
    #[arg(short, long)]
    yes: bool,

    /// Show all runs in a browser meanwhile, on this machine alone: see `migrate serve`
    #[arg(long, value_name = "IP:PORT", num_args = 0..=1, require_equals = true, default_missing_value = "127.0.0.1:8470")]
    serve: Option<std::net::SocketAddr>,

    /// How to show progress: text (bars on a terminal, else lines), or json (one event a line)
    #[arg(long, default_value = "text", value_parser = output::formats(Topic::Progress))]
    format: Format,
}

pub async fn run(args: &Args, environment: &Environment) -> anyhow::Result<Exit> {
    // Until this run has ended.
    let _serving = match args.serve {
        Some(listen) => Some(serve::beside(listen, environment).await?),
        None => None,
    };
    let (saved, unreadable) = match read_saved(&args.plan) {
        Ok(saved) => (saved, None),
        // The run that it began needs it no more.
        Err(e) => (None, Some(e)),
    };
    let (plan, inventory) = match &saved {
        Some(saved) => (saved.plan.as_path(), saved.inventory.as_deref()),
        None => (args.plan.as_path(), args.inventory.as_deref()),
    };
    match (pinned::unfinished(environment, plan)?, unreadable) {
        (Some(run), _) => resume(args, environment, run, plan, saved.as_ref()).await,
        (None, Some(e)) => Err(e),
        (None, None) => {
            let spec = load::load(plan, inventory, environment, &|_| Vec::new(), Ask::Once).await?;
            if let Some(saved) = &saved {
                refuse_if("the files behind the saved plan have changed", &saved.changed_inputs(&spec.inputs))?;
            }
            begin(args, environment, &spec, saved).await
        }
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
async fn begin(args: &Args, environment: &Environment, spec: &Spec, saved: Option<SavedPlan>) -> anyhow::Result<Exit> {
    let command = render::apply(&args.plan);
    // First of all: what is looked at under the lock is still so when it is acted upon.
    let lease = open_run::lock(environment, lock::of_plan(&spec.plan), &command)?;
    let connections = connect::connect(spec, environment)?;
    let latest = runs::latest(environment, &spec.plan.name)?;
    if let Some(run) = latest.filter(|r| !r.state(environment).is_ok_and(|s| runs::has_ended(&s))) {
        let what = format!("run {} of this plan has begun meanwhile, and is not finished", run.name);
        return Err(advised(what, "the same command again goes on with it"));
    }
    let mut observed = plan::look(spec, &connections).await;
    observed.earlier = earlier::of_runs(environment, spec)?;
    let mut proposal = planner::propose(spec, Some(&observed));
    proposal.also(claims::of_others(environment, &spec.plan)?);
    if args.format.is_for_people() {
        output::print(&proposal.text(environment.style(false)))?;
    }
    refuse(&proposal)?;
    if let Some(saved) = &saved {
        refuse_if("the live system has changed since the plan was saved", &saved.changed_world(&observed))?;
    }
    if proposal.is_empty() && !proposal.graph.left_out.is_empty() {
        let what = "nothing can be done now: what has not moved cannot be reached";
        return Err(advised(what, "the plan shows why, as `migrate plan` does"));
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
    let world = connections.into_world(spec.inventory.hosts.clone(), &open);
    control::work(args.format, environment, world, open, state, (&command, &spec.plan.notify)).await
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
    let refusals: Vec<Finding> = proposal.refusals().cloned().collect();
    if refusals.is_empty() {
        return Ok(());
    }
    let names = render::Names::of_hosts(&proposal.graph);
    let list = render::findings(&refusals, &names).into_iter().fold(String::new(), |list, (f, others)| {
        let hint = f.hint.as_ref().map(|h| format!("\n    help: {h}")).unwrap_or_default();
        let others = others.map(|others| format!("\n    {others}")).unwrap_or_default();
        format!("{list}\n  - {}: {}{hint}{others}", f.about, f.what)
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
        inputs: spec.inputs.iter().map(whole).collect(),
        texts: kept.texts,
        graph: kept.graph,
        steps: graph.steps.len(),
        by: environment.operator(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
    };
    let record = run.log.append(Event::Started(Box::new(started)))?;
    Ok((run, RunState::begin(record, Arc::new(graph))?))
}

/// By a path that can be found from anywhere.
fn whole(input: &Input) -> Input {
    match input.live {
        true => input.clone(),
        false => Input { path: pinned::absolute(&input.path), ..input.clone() },
    }
}

/// A run that was begun before: take it up with the graph and the texts that it began with.
async fn resume(
    args: &Args,
    environment: &Environment,
    run: Run,
    plan: &Path,
    saved: Option<&SavedPlan>,
) -> anyhow::Result<Exit> {
    let state = run.state(environment)?;
    if let Some(saved) = saved {
        refuse_another(&run.name, &saved.inputs, &state.started.inputs)?;
    }
    let texts = Texts::of(environment, &state.started, Some(plan))?;
    let spec = texts.spec(environment)?;
    let command = render::apply(&args.plan);
    let lease = open_run::lock(environment, lock::of_plan(&spec.plan), &command)?;
    let connections = connect::connect(&spec, environment)?;
    let copy_to = &spec.plan.audit.copy_to;
    let (mut open, mut state) = open_run::open(environment, lease, &run.name, copy_to)?;
    if runs::has_ended(&state) {
        return Err(advised(format!("run {} has ended meanwhile", run.name), "the same command begins a new one"));
    }
    eprint!("{}", texts.edits(plan.exists().then_some(plan), args.inventory.as_deref()));
    output::say(args.format, &render::resuming(&state))?;
    if !args.yes && !confirm::confirm("Go on with this run?")? {
        eprintln!("nothing was changed");
        return Ok(Exit::Error);
    }
    state.apply(open.log.append(Event::Resumed { by: environment.operator() })?)?;
    if args.yes {
        pass_no_return(environment, &mut open, &mut state)?;
    }
    let world = connections.into_world(spec.inventory.hosts.clone(), &open);
    control::work(args.format, environment, world, open, state, (&command, &spec.plan.notify)).await
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

/// A saved plan goes on with the run that was begun with its files, and with no other.
fn refuse_another(run: &str, saved: &[Input], began: &[Input]) -> anyhow::Result<()> {
    let digests = |inputs: &[Input]| inputs.iter().map(|i| i.digest.clone()).collect::<Vec<_>>();
    if digests(saved) == digests(began) {
        return Ok(());
    }
    Err(advised(
        format!("run {run} is not finished, and it was begun with other files than this plan was saved from"),
        format!("`migrate apply PLAN` goes on with it, `migrate rollback {run}` goes back; then save the plan again"),
    ))
}
