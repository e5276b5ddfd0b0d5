//! `migrate validate`: checks files only.

use super::Exit;
use super::environment::Environment;
use super::load::Files;
use super::output;
use crate::config::{self, LoadOptions};
use crate::render::{Format, Show, Style, Topic};
use crate::text;
use crate::yaml::diagnostic::Diagnostics;

/// Arguments of `migrate validate`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Every problem of all files is shown at once. Nothing is contacted, no secret is looked up.")]
pub struct Args {
    #[command(flatten)]
    files: Files,

    /// How to show problems
    #[arg(long, default_value = "text", value_parser = output::formats(Topic::Problems))]
    format: Format,
}

pub fn run(args: &Args, environment: &Environment) -> anyhow::Result<Exit> {
    let options = LoadOptions { home: environment.home.clone() };
    let loaded = config::load(&args.files.plan, args.files.inventory.as_deref(), &options);
    let (problems, exit) = match &loaded {
        Ok((_, warnings)) => (warnings, Exit::Ok),
        Err(problems) => (problems, Exit::Error),
    };
    if !args.format.is_for_people() {
        output::show(args.format, &Problems(problems), Style::default())?;
        return Ok(exit);
    }
    if !problems.is_empty() {
        eprintln!("{problems}");
    }
    if let Ok((spec, _)) = &loaded {
        let pairs = spec.plan.services.iter().map(|s| s.pairs.len() as u64).sum();
        let services = text::count(spec.plan.services.len() as u64, "service");
        output::print(&format!("{}: valid, {services}, {}\n", spec.plan.name, text::count(pairs, "pair")))?;
    }
    Ok(exit)
}

/// All problems, as they are.
#[derive(serde::Serialize)]
#[serde(transparent)]
struct Problems<'a>(&'a Diagnostics);

impl Show for Problems<'_> {
    fn text(&self, _: Style) -> String {
        self.0.to_string()
    }
}
