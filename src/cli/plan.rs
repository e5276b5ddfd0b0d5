//! `migrate plan`: shows what would happen. Writes nothing but the file named by `--out`, and with `--probe` the copy agent, for a moment.

use std::mem::ManuallyDrop;
use std::path::{Path, PathBuf};

use jiff::Timestamp;

use super::connect::{self, Connections};
use super::environment::Environment;
use super::failure::advised;
use super::load::{self, BadFiles, Files};
use super::runs::{self, Run};
use super::validate::Problems;
use super::{Exit, claims, earlier, output};
use crate::config::{Ask, Places};
use crate::model::finding::Finding;
use crate::planner::observed::Observed;
use crate::planner::proposal::Proposal;
use crate::planner::saved::{FORMAT, SavedPlan};
use crate::planner::{self, observe};
use crate::render::{self, Format, PlanInCi, Spot, Style, Topic};
use crate::spec::Spec;

/// Arguments of `migrate plan`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Marks: ✓ verified against the live system, ~ assumed, ? cannot be checked before it is done.

Examples:
  migrate plan plans/uploads.yaml
  migrate plan plans/uploads.yaml --probe                         the day before: everything is tried that can be
  migrate plan plans/uploads.yaml --offline --format markdown     for a pull request, contacts nothing
  migrate plan plans/uploads.yaml --offline --format junit        for the test report of CI; github and gitlab annotate the files
  migrate plan plans/uploads.yaml --out uploads.plan              then: migrate apply uploads.plan")]
pub struct Args {
    #[command(flatten)]
    files: Files,

    /// Contact nothing: for CI
    #[arg(long)]
    offline: bool,

    /// Also try the copy agent: put it on every host that needs it, start it, let it look at the trees, and remove it again
    #[arg(long, conflicts_with = "offline")]
    probe: bool,

    /// Save the plan, bound to its files and to what was seen, for `migrate apply FILE`
    #[arg(long, value_name = "FILE", conflicts_with = "offline")]
    out: Option<PathBuf>,

    /// Exit with 2 when changes are pending
    #[arg(long)]
    detailed_exitcode: bool,

    /// Show every pair in full, not only the first of each service
    #[arg(short, long)]
    verbose: bool,

    /// How to show it
    #[arg(long, default_value = "text", value_parser = output::formats(Topic::Plan))]
    format: Format,
}

pub async fn run(args: &Args, environment: &Environment) -> anyhow::Result<Exit> {
    match propose(args, environment).await {
        // What is wrong with files is shown where they are, too.
        Err(error) if args.format.is_for_ci() => match error.downcast_ref::<BadFiles>() {
            Some(BadFiles(problems)) => {
                output::show(args.format, &Problems(problems), Style::default())?;
                Err(error)
            }
            None => Err(error),
        },
        ended => ended,
    }
}

async fn propose(args: &Args, environment: &Environment) -> anyhow::Result<Exit> {
    let (plan, inventory) = (&args.files.plan, args.files.inventory.as_deref());
    let mut spec = match args.offline {
        true => load::load_offline(plan, inventory, environment)?,
        false => {
            let pinned = |plan: &str| load::unfinished(environment, plan);
            load::load(plan, inventory, environment, &pinned, Ask::Always).await?
        }
    };
    if !args.offline {
        spec.told.extend(goes_on(&spec, environment)?);
    }
    let observed = match args.offline {
        true => None,
        false => {
            let connections = connect::connect(&spec, environment)?;
            let mut observed = look(&spec, &connections).await;
            observed.earlier = earlier::of_runs(environment, &spec)?;
            if args.probe {
                observe::probe(&spec, &live(&connections), &mut observed).await;
            }
            Some(observed)
        }
    };
    // The process ends with it: to free the values of a large plan one by one would take a third of the whole time.
    let mut proposal = ManuallyDrop::new(planner::propose(&spec, observed.as_ref()));
    if !args.offline {
        proposal.also(claims::of_others(environment, &spec.plan)?);
    }
    let style = environment.style(args.verbose);
    match args.format.is_for_ci() {
        true => show_in_ci(args, &proposal)?,
        false => output::show(args.format, &*proposal, style)?,
    }
    if proposal.refusals().next().is_some() {
        return Ok(Exit::Error);
    }
    if let (Some(out), Some(observed)) = (&args.out, observed) {
        save(out, args, &proposal, observed)?;
    }
    Ok(if args.detailed_exitcode && !proposal.is_empty() { Exit::Pending } else { Exit::Ok })
}

/// What speaks against it beside the lines that it is about.
fn show_in_ci(args: &Args, proposal: &Proposal) -> anyhow::Result<()> {
    let here = std::env::current_dir().unwrap_or_default();
    let places = Places::read(proposal.inputs.iter().map(|input| input.path.as_path()));
    let spot = |about: &str| match places.of(about) {
        Some((file, line, column)) => {
            let file = file.strip_prefix(&here).map(Path::to_owned).unwrap_or(file);
            Spot { file, line: Some(line), column: Some(column) }
        }
        None => Spot { file: args.files.plan.clone(), line: None, column: None },
    };
    output::show(args.format, &PlanInCi { proposal, spot: &spot }, Style::default())
}

/// While a run of the plan is not finished, `apply` does not do what is shown here.
fn goes_on(spec: &Spec, environment: &Environment) -> anyhow::Result<Option<Finding>> {
    let run = runs::latest(environment, &spec.plan.name)?;
    let open = run.filter(|run| !run.state(environment).is_ok_and(|state| runs::has_ended(&state)));
    let what = |run: Run| Finding::note(&run.name, "it is not finished, and `apply` goes on with it as it was begun");
    Ok(open.map(|run| what(run).hint("what is shown here takes effect in the next run")))
}

/// Looks at the live system.
pub async fn look(spec: &Spec, connections: &Connections) -> Observed {
    observe::observe(spec, &live(connections)).await
}

fn live(connections: &Connections) -> observe::LiveSystem<'_> {
    observe::LiveSystem {
        hosts: connections.remote.as_ref(),
        copier: connections.copier.as_ref(),
        health: connections.health.as_ref(),
        directors: &connections.directors,
        providers: connections.providers.as_ref(),
        silences: connections.silences.as_ref(),
        bmcs: connections.bmcs.as_ref(),
    }
}

fn save(out: &Path, args: &Args, proposal: &Proposal, observed: Observed) -> anyhow::Result<()> {
    let saved = SavedPlan {
        migrate_plan: FORMAT,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        made: Timestamp::now(),
        plan: args.files.plan.clone(),
        inventory: args.files.inventory.clone(),
        inputs: proposal.inputs.clone(),
        observed,
        graph: proposal.graph.clone(),
    };
    let text = serde_json::to_string_pretty(&saved)?;
    std::fs::write(out, text)
        .map_err(|e| advised(format!("{} cannot be written: {e}", out.display()), "choose another place for --out"))?;
    eprintln!("saved to {}; apply it with: {}", out.display(), render::apply(out));
    Ok(())
}
