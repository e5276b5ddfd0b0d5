//! `migrate plan`: shows what would happen. Writes nothing but the file named by `--out`, and with `--probe` the copy agent, for a moment.

use std::mem::ManuallyDrop;
use std::path::{Path, PathBuf};

use jiff::Timestamp;

use super::connect::{self, Connections};
use super::environment::Environment;
use super::failure::advised;
use super::load::{self, Files};
use super::{Exit, output};
use crate::config::Ask;
use crate::planner::observed::Observed;
use crate::planner::proposal::Proposal;
use crate::planner::saved::{FORMAT, SavedPlan};
use crate::planner::{self, observe};
use crate::render::{Format, Style, Topic};
use crate::spec::Spec;

/// Arguments of `migrate plan`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Marks: ✓ verified against the live system, ~ assumed, ? cannot be checked before it is done.

Examples:
  migrate plan plans/uploads.yaml
  migrate plan plans/uploads.yaml --probe                         the day before: everything is tried that can be
  migrate plan plans/uploads.yaml --offline --format markdown     for a pull request, contacts nothing
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
    let (plan, inventory) = (&args.files.plan, args.files.inventory.as_deref());
    let spec = match args.offline {
        true => load::load_offline(plan, inventory, environment)?,
        false => {
            let pinned = |plan: &str| load::unfinished(environment, plan);
            load::load(plan, inventory, environment, &pinned, Ask::Always).await?
        }
    };
    let observed = match args.offline {
        true => None,
        false => {
            let connections = connect::connect(&spec, environment)?;
            let mut observed = look(&spec, &connections).await;
            if args.probe {
                observe::probe(&spec, &live(&connections), &mut observed).await;
            }
            Some(observed)
        }
    };
    // The process ends with it: to free the values of a large plan one by one would take a third of the whole time.
    let proposal = ManuallyDrop::new(planner::propose(&spec, observed.as_ref()));
    output::show(args.format, &*proposal, Style { color: environment.color, verbose: args.verbose })?;
    if proposal.refusals().next().is_some() {
        return Ok(Exit::Error);
    }
    if let (Some(out), Some(observed)) = (&args.out, observed) {
        save(out, args, &proposal, observed)?;
    }
    Ok(if args.detailed_exitcode && !proposal.is_empty() { Exit::Pending } else { Exit::Ok })
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
    eprintln!("saved to {}; apply it with: migrate apply {}", out.display(), out.display());
    Ok(())
}
