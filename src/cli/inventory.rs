//! `migrate inventory`: what inventories say, and saved copies of what their sources say.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use jiff::Timestamp;

use super::Exit;
use super::environment::{Environment, ProcessSecrets};
use super::failure::advised;
use super::load::BadFiles;
use super::output;
use crate::config::{self, Ask, LoadOptions, Sources};
use crate::inventory::{changes, copy_of, save};
use crate::model::Selector;
use crate::render::{Format, HostRow, Hosts, Topic};
use crate::spec::Inventory;
use crate::text;

/// Arguments of `migrate inventory`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// Show hosts, asking the sources that the inventory names
    Show(Show),
    /// Save what the sources of inventories say, for where nothing is contacted
    Fetch(Fetch),
}

/// Arguments of `migrate inventory show`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
A selector is a host, a group, a pattern for names, or site=NAME, tag=NAME, name=PATTERN; every condition must hold.

Examples:
  migrate inventory show inventories/fleet.yaml
  migrate inventory show inventories/fleet.yaml site=dal10 tag=web
  migrate inventory show inventories/fleet.yaml 'dal-*' --format yaml > inventories/dal.yaml")]
struct Show {
    /// Inventory file (YAML)
    #[arg(value_name = "INVENTORY")]
    inventory: PathBuf,

    /// Which hosts; all unless given
    #[arg(value_name = "SELECTOR")]
    selectors: Vec<String>,

    /// Contact nothing: saved copies stand in for sources
    #[arg(long)]
    offline: bool,

    /// How to show them
    #[arg(long, default_value = "text", value_parser = output::formats(Topic::Hosts))]
    format: Format,
}

/// Arguments of `migrate inventory fetch`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
The copy of the source `dallas` of fleet.yaml is fleet.dallas.fetched.yaml beside it. `migrate plan --offline` and `migrate validate` use it,
and `migrate plan` says what has changed since.

Example: migrate inventory fetch inventories/fleet.yaml")]
struct Fetch {
    /// Inventory files (YAML)
    #[arg(value_name = "INVENTORY", required = true)]
    inventories: Vec<PathBuf>,
}

pub async fn run(args: &Args, environment: &Environment) -> anyhow::Result<Exit> {
    match &args.what {
        What::Show(args) => show(args, environment).await,
        What::Fetch(args) => fetch(args, environment).await,
    }
}

async fn show(args: &Show, environment: &Environment) -> anyhow::Result<Exit> {
    let options = LoadOptions { home: environment.home.clone(), dir: None };
    let ask = if args.offline { Ask::Never } else { Ask::Once };
    let sources = Sources { secrets: &ProcessSecrets, pinned: &|_| Vec::new(), ask };
    let loaded = config::load_inventory_from(&[&args.inventory], &options, &sources).await;
    let (inventory, _, warnings) = loaded.map_err(BadFiles)?;
    if !warnings.is_empty() {
        eprintln!("{warnings}");
    }
    let names = select(&inventory, &args.selectors)?;
    let rows = names.iter().filter_map(|name| {
        let warnings = inventory.warnings.get(name).cloned().unwrap_or_default();
        Some(HostRow { host: inventory.hosts.get(name)?.clone(), warnings })
    });
    output::show(args.format, &Hosts(rows.collect()), environment.style(false))?;
    Ok(Exit::Ok)
}

/// The hosts that meet every condition.
fn select(inventory: &Inventory, words: &[String]) -> anyhow::Result<Vec<String>> {
    let mut selector = Selector::default();
    let mut within: Option<BTreeSet<String>> = None;
    for word in words {
        match word.split_once('=') {
            Some(("site", site)) => drop(selector.sites.insert(site.to_owned())),
            Some(("tag" | "tags", tag)) => drop(selector.tags.insert(tag.to_owned())),
            Some(("name", pattern)) => selector.name = Some(pattern.to_owned()),
            Some((other, _)) => {
                let shown = text::escape(other.as_bytes(), 40);
                return Err(advised(format!("`{shown}=` is no condition"), "use site=NAME, tag=NAME or name=PATTERN"));
            }
            None => match inventory.groups.get(word) {
                Some(members) => {
                    let members: BTreeSet<String> = members.iter().cloned().collect();
                    within = Some(within.map_or(members.clone(), |old| old.intersection(&members).cloned().collect()));
                }
                None => selector.name = Some(word.clone()),
            },
        }
    }
    if let Some(pattern) = &selector.name
        && let Err(error) = globset::Glob::new(pattern)
    {
        let shown = text::escape(pattern.as_bytes(), 60);
        return Err(advised(format!("`{shown}` is not a pattern: {}", error.kind()), "for example 'dal-*'"));
    }
    let picked = selector.pick(inventory.hosts.values());
    let names: Vec<String> =
        picked.into_iter().filter(|name| within.as_ref().is_none_or(|within| within.contains(name))).collect();
    match names.is_empty() && !words.is_empty() {
        true => Err(advised(
            format!("no host is meant by `{}`", text::escape(words.join(" ").as_bytes(), 100)),
            "leave conditions out to see which hosts there are",
        )),
        false => Ok(names),
    }
}

async fn fetch(args: &Fetch, environment: &Environment) -> anyhow::Result<Exit> {
    for path in &args.inventories {
        fetch_one(path, environment).await?;
    }
    Ok(Exit::Ok)
}

async fn fetch_one(path: &Path, environment: &Environment) -> anyhow::Result<()> {
    let options = LoadOptions { home: environment.home.clone(), dir: None };
    let sources = Sources { secrets: &ProcessSecrets, pinned: &|_| Vec::new(), ask: Ask::Once };
    let (fetched, warnings) = config::fetch_sources(path, &options, &sources).await.map_err(BadFiles)?;
    if !warnings.is_empty() {
        eprintln!("{warnings}");
    }
    if fetched.is_empty() {
        let hint = "sources stand under `sources:`, as docs/inventory.md tells";
        return Err(advised(format!("{} names no sources", path.display()), hint));
    }
    let head =
        format!("the copy that `migrate inventory fetch` saved at {}", Timestamp::now().strftime("%Y-%m-%d %H:%M:%SZ"));
    for source in fetched {
        let before = copy_of(path, &source.name).ok().flatten();
        let files = save(path, &source.name, &head, &source.documents);
        let files = files.map_err(|e| {
            advised(
                format!("the copy of `{}` cannot be saved: {e}", source.name),
                "see that the directory of the inventory can be written to",
            )
        })?;
        let hosts = crate::inventory::found::hosts(&source.documents).len() as u64;
        let first = files.first().map(|file| file.display().to_string()).unwrap_or_default();
        let more = if files.len() > 1 { format!(" and {} more", files.len() - 1) } else { String::new() };
        output::print(&format!("{}: {} in {first}{more}\n", source.name, text::count(hosts, "host")))?;
        for change in before.iter().flat_map(|before| changes::since(before, &source.documents)) {
            output::print(&format!("  {change}\n"))?;
        }
    }
    Ok(())
}
