//! `migrate validate`: checks files only.

use super::Exit;
use super::environment::Environment;
use super::load::Files;
use super::output;
use crate::config::{self, LoadOptions};
use crate::render::{Format, Level, Remark, Show, Spot, Style, Topic};
use crate::text;
use crate::yaml::diagnostic::{Diagnostic, Diagnostics, Severity};

/// Arguments of `migrate validate`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Every problem of all files is shown at once. Nothing is contacted, no secret is looked up.

Examples:
  migrate validate plans/uploads.yaml
  migrate validate plans/uploads.yaml --format github     annotations in a workflow of GitHub; gitlab, junit, json")]
pub struct Args {
    #[command(flatten)]
    files: Files,

    /// How to show problems
    #[arg(long, default_value = "text", value_parser = output::formats(Topic::Problems))]
    format: Format,
}

pub fn run(args: &Args, environment: &Environment) -> anyhow::Result<Exit> {
    let options = LoadOptions { home: environment.home.clone(), dir: None };
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

fn remark(found: &Diagnostic) -> Remark {
    let level = match found.severity {
        Severity::Error => Level::Error,
        Severity::Warning => Level::Warning,
    };
    let (line, column) = found.place.as_ref().map(|place| (place.line, place.column)).unzip();
    let notes: String = found.notes.iter().map(|note| format!("\nnote: {note}")).collect();
    Remark {
        level,
        spot: Spot { file: found.file.clone(), line, column },
        about: "migrate validate".to_owned(),
        what: format!("{}{notes}", found.message),
        hint: found.hint.clone(),
    }
}

/// All problems, as they are.
#[derive(serde::Serialize)]
#[serde(transparent)]
pub(super) struct Problems<'a>(pub &'a Diagnostics);

impl Show for Problems<'_> {
    fn text(&self, _: Style) -> String {
        self.0.to_string()
    }

    fn remarks(&self) -> Vec<Remark> {
        self.0.iter().map(remark).collect()
    }
}
