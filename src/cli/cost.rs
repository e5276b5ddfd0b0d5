//! `migrate cost`: what a plan does to the bill. Asks the sources of the inventory, and no host.

use super::Exit;
use super::environment::Environment;
use super::load::{self, Files};
use super::output;
use crate::config::Ask;
use crate::planner::{self, cost};
use crate::render::{Format, PlanCost, Topic};

/// Arguments of `migrate cost`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
What a host costs is its `cost_per_month` in the inventory. Times are those of an offline plan, which knows no sizes of trees.

Examples:
  migrate cost plans/uploads.yaml
  migrate cost plans/uploads.yaml --offline --format csv > uploads.csv")]
pub struct Args {
    #[command(flatten)]
    files: Files,

    /// Contact nothing: saved copies stand in for sources
    #[arg(long)]
    offline: bool,

    /// How to show it
    #[arg(long, default_value = "text", value_parser = output::formats(Topic::Cost))]
    format: Format,
}

pub async fn run(args: &Args, environment: &Environment) -> anyhow::Result<Exit> {
    let (plan, inventory) = (&args.files.plan, args.files.inventory.as_deref());
    let spec = match args.offline {
        true => load::load_offline(plan, inventory, environment)?,
        false => load::load(plan, inventory, environment, &|_| Vec::new(), Ask::Always).await?,
    };
    let bill = planner::propose(&spec, None).bill;
    let shown = PlanCost { plan: spec.plan.name.clone(), bill, hosts: cost::hosts_of(&spec) };
    output::show(args.format, &shown, environment.style(false))?;
    Ok(Exit::Ok)
}
