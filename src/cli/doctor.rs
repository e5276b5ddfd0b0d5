//! `migrate doctor`: what stands in the way, before there is a plan. Looks, and never writes.

mod host;
mod machine;

use std::fmt::Write as _;
use std::path::PathBuf;

use serde::Serialize;

use super::Exit;
use super::environment::Environment;
use super::output;
use crate::render::{self, Format, Show, Style, Topic};
use crate::text;

/// Arguments of `migrate doctor`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Marks: ✓ looked at and well, ! to be looked at, ✗ in the way. With ✗ the exit code is 1. Nothing is written, here or anywhere else.

Examples:
  migrate doctor                                            this machine
  migrate doctor -i inventories/fleet.yaml                  and what that inventory needs of it
  migrate doctor dal-1 fra-1 -i inventories/fleet.yaml      and these hosts: reach, login, host key, clock, tools, work directory
  migrate doctor --director edge web -i inventory.yaml      and a director, with one of its pools")]
pub struct Args {
    /// Hosts of the inventory to be looked at, too
    #[arg(value_name = "HOST")]
    hosts: Vec<String>,

    /// Inventory of the hosts and directors; several are merged [default: inventory.yaml, where hosts or a director are named]
    #[arg(short, long, value_name = "FILE")]
    inventory: Vec<PathBuf>,

    /// A director of the inventory, and optionally one of its pools
    #[arg(long, value_names = ["NAME", "POOL"], num_args = 1..=2)]
    director: Vec<String>,

    /// How to show it
    #[arg(long, default_value = "text", value_parser = output::formats(Topic::Report))]
    format: Format,
}

/// How it is with one thing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Mark {
    /// Looked at, and well.
    Well,
    /// Somebody should look at it; or nobody could tell.
    Look,
    /// It is in the way.
    Bad,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Line {
    mark: Mark,
    /// What it is about.
    about: String,
    /// What was seen, in one sentence.
    saw: String,
    /// What to do next.
    next: Option<String>,
}

impl Line {
    fn well(about: impl Into<String>, saw: impl Into<String>) -> Self {
        Self { mark: Mark::Well, about: about.into(), saw: saw.into(), next: None }
    }

    fn look(about: impl Into<String>, saw: impl Into<String>, next: impl Into<String>) -> Self {
        Self { mark: Mark::Look, next: Some(next.into()), ..Self::well(about, saw) }
    }

    fn bad(about: impl Into<String>, saw: impl Into<String>, next: impl Into<String>) -> Self {
        Self { mark: Mark::Bad, next: Some(next.into()), ..Self::well(about, saw) }
    }
}

/// Everything that was looked at, in parts.
#[derive(Debug, Serialize)]
struct Findings {
    parts: Vec<Part>,
    /// Whether nothing is in the way.
    well: bool,
}

#[derive(Debug, Serialize)]
struct Part {
    /// `this machine`, or a host or director.
    name: String,
    lines: Vec<Line>,
}

pub async fn run(args: &Args, environment: &Environment) -> anyhow::Result<Exit> {
    let needs_inventory = !args.hosts.is_empty() || !args.director.is_empty();
    let files = match (needs_inventory, args.inventory.as_slice()) {
        (true, []) => vec![PathBuf::from("inventory.yaml")],
        (_, named) => named.to_vec(),
    };
    let mut parts = vec![Part { name: "this machine".to_owned(), lines: machine::look(environment, &files).await }];
    if !files.is_empty() {
        let loaded = super::load::load_inventory(&files, environment).await?;
        for name in &args.hosts {
            let lines = host::look(name, &loaded, environment).await?;
            parts.push(Part { name: format!("host {}", text::escape(name.as_bytes(), 80)), lines });
        }
        if let [director, pool @ ..] = args.director.as_slice() {
            let lines = host::director(director, pool.first().map(String::as_str), &loaded, environment).await?;
            parts.push(Part { name: format!("director {}", text::escape(director.as_bytes(), 80)), lines });
        }
        if args.hosts.is_empty() && args.director.is_empty() {
            let said = text::count(loaded.hosts.len() as u64, "host");
            parts.push(Part {
                name: "inventory".to_owned(),
                lines: vec![Line::well("files", format!("valid, {said}"))],
            });
        }
    }
    let well = parts.iter().flat_map(|part| &part.lines).all(|line| line.mark != Mark::Bad);
    output::show(args.format, &Findings { parts, well }, environment.style(false))?;
    Ok(if well { Exit::Ok } else { Exit::Error })
}

impl Show for Findings {
    fn text(&self, style: Style) -> String {
        let mut out = String::new();
        for part in &self.parts {
            let _ = writeln!(out, "{}", part.name);
            for line in &part.lines {
                let mark = match line.mark {
                    Mark::Well => "✓",
                    Mark::Look => "!",
                    Mark::Bad => "✗",
                };
                let _ = writeln!(out, "  {mark} {}: {}", line.about, line.saw);
                if let Some(next) = &line.next {
                    let _ = writeln!(out, "    next: {next}");
                }
            }
        }
        let count =
            |mark: Mark| self.parts.iter().flat_map(|part| &part.lines).filter(|line| line.mark == mark).count();
        let (bad, look) = (count(Mark::Bad), count(Mark::Look));
        let verdict = match (bad, look) {
            (0, 0) => "nothing is in the way of what was looked at".to_owned(),
            (0, look) => format!("nothing is in the way; {} to look at", text::grouped(look as u64)),
            (bad, look) => {
                format!("{} in the way, {} to look at", text::grouped(bad as u64), text::grouped(look as u64))
            }
        };
        let _ = writeln!(out, "{verdict}");
        render::fitted(&out, style)
    }
}
