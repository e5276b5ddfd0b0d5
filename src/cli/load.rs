//! Loading plan and inventory for the commands that need them.

use std::path::{Path, PathBuf};

use super::environment::{Environment, ProcessSecrets};
use super::pinned::Texts;
use super::runs;
use crate::config::{self, Ask, LoadOptions, Sources};
use crate::inventory::Document;
use crate::spec::{Inventory, Spec};
use crate::yaml::diagnostic::Diagnostics;

/// The files that most commands take.
#[derive(Debug, Clone, clap::Args)]
pub struct Files {
    /// Plan file (YAML)
    #[arg(value_name = "PLAN")]
    pub plan: PathBuf,

    /// Inventory to use instead of the one that the plan names
    #[arg(short, long, value_name = "FILE")]
    pub inventory: Option<PathBuf>,
}

/// Problems of the files; printed as they are.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct BadFiles(pub Diagnostics);

/// What a run goes on with, by the name of its plan.
pub type Pinned<'a> = &'a dyn Fn(&str) -> Vec<Document>;

/// How files are read that a run may be made from. Whoever takes the run up may stand in another directory.
pub fn options(environment: &Environment) -> LoadOptions {
    LoadOptions { home: environment.home.clone(), dir: std::env::current_dir().ok() }
}

/// Loads and validates, asking sources of inventories; warnings go to standard error.
pub async fn load(
    plan: &Path,
    inventory: Option<&Path>,
    environment: &Environment,
    pinned: Pinned<'_>,
    ask: Ask,
) -> anyhow::Result<Spec> {
    let sources = Sources { secrets: &ProcessSecrets, pinned, ask };
    tell(config::load_from(plan, inventory, &options(environment), &sources).await)
}

/// The same where nothing is contacted.
pub fn load_offline(plan: &Path, inventory: Option<&Path>, environment: &Environment) -> anyhow::Result<Spec> {
    tell(config::load(plan, inventory, &LoadOptions { home: environment.home.clone(), dir: None }))
}

/// Inventories without a plan; sources that are no files are asked.
pub async fn load_inventory(named: &[PathBuf], environment: &Environment) -> anyhow::Result<Inventory> {
    let options = LoadOptions { home: environment.home.clone(), dir: None };
    let sources = Sources { secrets: &ProcessSecrets, pinned: &|_| Vec::new(), ask: Ask::Once };
    let named: Vec<&Path> = named.iter().map(PathBuf::as_path).collect();
    let loaded = config::load_inventory_from(&named, &options, &sources).await;
    tell(loaded.map(|(inventory, _, warnings)| (inventory, warnings)))
}

fn tell<T>(loaded: Result<(T, Diagnostics), Diagnostics>) -> anyhow::Result<T> {
    let (read, warnings) = loaded.map_err(BadFiles)?;
    if !warnings.is_empty() {
        eprintln!("{warnings}");
    }
    Ok(read)
}

/// What the sources of a run that is not finished said; nothing when there is none, or when it cannot be read, which is told later.
pub fn unfinished(environment: &Environment, plan: &str) -> Vec<Document> {
    let run = runs::latest(environment, plan).ok().flatten();
    let state = run.and_then(|run| run.state(environment).ok()).filter(|state| !runs::has_ended(state));
    let texts = state.and_then(|state| Texts::of(environment, &state.started, None).ok());
    texts.map(Texts::into_documents).unwrap_or_default()
}
