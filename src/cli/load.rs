//! Loading plan and inventory for the commands that need them.

use std::path::{Path, PathBuf};

use super::environment::Environment;
use crate::config::{self, LoadOptions};
use crate::spec::Spec;
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

/// Loads and validates; warnings go to standard error.
pub fn load(plan: &Path, inventory: Option<&Path>, environment: &Environment) -> anyhow::Result<Spec> {
    let options = LoadOptions { home: environment.home.clone() };
    let (spec, warnings) = config::load(plan, inventory, &options).map_err(BadFiles)?;
    if !warnings.is_empty() {
        eprintln!("{warnings}");
    }
    Ok(spec)
}
