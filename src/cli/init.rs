//! `migrate init`: a first inventory and a first plan, with comments that teach.

mod gather;
mod place;
mod write;

use std::path::PathBuf;

use super::Exit;
use super::environment::Environment;
use super::failure::advised;
use super::{load, output};
use crate::config;
use crate::render;
use crate::text::{self, name};

/// Arguments of `migrate init`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Two files are written, and none that is there already is touched unless --force is given. What is not known becomes a line with TODO, which
`migrate validate` names. Before anything is in its place, it has been validated. Of HAProxy, SoftLayer, Ansible and ssh_config only is read.

Hosts are NAME=ADDRESS; where they are imported, a name or a pattern. The first source is replaced by the first target, and so on.

Examples:
  migrate init --source dal-1=10.1.0.11 --target fra-1=10.2.0.11 --haproxy unix:/run/haproxy/admin.sock --pool web
  migrate init --haproxy tcp:10.1.0.5:9999 --pool web             servers with weight are sources, those without are targets
  migrate init --ssh-config --source 'dal-*' --target 'fra-*' --state /srv/web
  migrate init fleet --softlayer --source site=dal10 --target fra-[01-20]=10.2.0.[11-30] --service uploads
  migrate init fleet --ansible hosts.ini --source tag=old --target tag=new")]
pub struct Args {
    /// Directory for both files; it is made when it is not there
    #[arg(value_name = "DIR", default_value = ".")]
    dir: PathBuf,

    /// Name of the plan, and so of its runs [default: the name of the service]
    #[arg(long, value_name = "NAME")]
    name: Option<String>,

    /// Name of the service that moves [default: the pool, else `service`]
    #[arg(long, value_name = "NAME")]
    service: Option<String>,

    /// A host that moves away; once for each, or names with a range
    #[arg(long, value_name = "HOST")]
    source: Vec<String>,

    /// A host that takes the place of a source
    #[arg(long, value_name = "HOST")]
    target: Vec<String>,

    /// Login name on all hosts
    #[arg(long, value_name = "USER")]
    user: Option<String>,

    /// Runtime API of HAProxy: unix:PATH, tcp:ADDRESS:PORT or ssh:HOST:PATH; it is asked for its servers
    #[arg(long, value_name = "ADDRESS")]
    haproxy: Vec<String>,

    /// The backend that moves; need not be said where there is one only
    #[arg(long, value_name = "POOL")]
    pool: Option<String>,

    /// URL that a healthy host answers, with `{{ address }}` for its address
    #[arg(long, value_name = "URL")]
    health: Option<String>,

    /// A directory that is carried over; once for each
    #[arg(long, value_name = "DIRECTORY")]
    state: Vec<String>,

    /// Take hosts from an ssh_config
    #[arg(long, value_name = "FILE", num_args = 0..=1, default_missing_value = "~/.ssh/config")]
    ssh_config: Option<String>,

    /// Take hosts from an inventory of Ansible
    #[arg(long, value_name = "FILE")]
    ansible: Option<PathBuf>,

    /// Take hosts from the account at SoftLayer of ~/.softlayer, or of SL_USERNAME and SL_API_KEY
    #[arg(long)]
    softlayer: bool,

    /// Write over files that are there
    #[arg(short, long)]
    force: bool,
}

/// What the files are called.
const PLAN: &str = "plan.yaml";
const INVENTORY: &str = "inventory.yaml";

pub async fn run(args: &Args, environment: &Environment) -> anyhow::Result<Exit> {
    let service = args.service.clone().or_else(|| args.pool.clone());
    for (what, name) in [("--name", &args.name), ("--service", &args.service)] {
        if let Some(Err(why)) = name.as_deref().map(name::check) {
            return Err(advised(format!("{what} is no name: {why}"), name::RULE));
        }
    }
    let place = place::Place::new(&args.dir, args.force)?;
    let known = gather::gather(args, &place, environment).await?;
    let fallback = known.pool.as_ref().map(|pool| pool.now.name.clone());
    let service = service.or(fallback).unwrap_or_else(|| "service".to_owned());
    // A pool may have a name that services cannot have.
    let service = if name::check(&service).is_ok() { service } else { "service".to_owned() };
    let texts = write::write(args, &known, &service);
    let [plan, inventory] = place.prepare([(PLAN, &texts.plan), (INVENTORY, &texts.inventory)])?;
    let loaded = config::load(plan.at(), Some(inventory.at()), &load::options(environment));
    let names = [plan.names(), inventory.names()];
    let own = |problems: String| names.iter().fold(problems, |text, (next, name)| text.replace(next, name));
    let (spec, warnings) = loaded.map_err(|problems| {
        let hint = "nothing was written; say it otherwise";
        advised(format!("what was asked for makes no valid plan:\n{}", own(problems.to_string())), hint)
    })?;
    crate::planner::propose(&spec, None);
    let paths = [plan.keep()?, inventory.keep()?];
    let pairs = spec.plan.services.iter().map(|service| service.pairs.len() as u64).sum();
    let mut out = format!("wrote {} and {}: {}\n", paths[0].display(), paths[1].display(), text::count(pairs, "pair"));
    if !warnings.is_empty() {
        out.push_str(&own(format!("\n{warnings}\n")));
    }
    let plan = render::apply(&paths[0]).replacen("migrate apply", "migrate validate", 1);
    let next = plan.replacen("validate", "plan", 1);
    out.push_str(&format!("\nnext: {plan}\n      {next}\n"));
    output::print(&out)?;
    Ok(Exit::Ok)
}
