//! `migrate director check`: whether a director keeps what every director promises, in a pool that may be played with.

use std::fmt::Write as _;

use serde::Serialize;

use super::super::environment::Environment;
use super::super::exit::Exit;
use super::super::failure::advised;
use super::super::signals::{self, Words};
use super::super::{confirm, open_run, output};
use super::{Found, Which};
use crate::engine::Stop;
use crate::model::Pool;
use crate::render::{Format, Show, Style, Topic};
use crate::text;
use crate::traffic::trial::{Kept, PROMISES, Trial};

/// What people are told at Ctrl-C.
const WORDS: Words = Words {
    soon: "stopping after this promise, and putting back what was there; once more ends it at once",
    at_once: "ended at once; the pool is as it was left: `migrate director show` tells",
};

/// Arguments of `migrate director check`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
It writes: three members of the pool are given weights and taken out of service in turn, again and again. Name a pool that nobody
needs. At the end, also after Ctrl-C, they are set as they were, and read back. For what you wrote for a `command` director, before
anything depends on it.

Examples:
  migrate director check anycast testing -i inv.yaml
  migrate director check anycast testing --members 203.0.113.1/32,203.0.113.2/32,203.0.113.9/32 --yes")]
pub struct Args {
    #[command(flatten)]
    which: Which,

    /// The three members that may be set to anything [default: the first three that the pool has]
    #[arg(long, value_name = "A,B,C", value_delimiter = ',', num_args = 1)]
    members: Vec<String>,

    /// Do not ask
    #[arg(short, long)]
    yes: bool,

    /// How to show it
    #[arg(long, default_value = "text", value_parser = output::formats(Topic::Report))]
    format: Format,
}

pub async fn run(args: &Args, environment: &Environment) -> anyhow::Result<Exit> {
    let found = args.which.find(environment).await?;
    let twin = args.which.find(environment).await?;
    let pool = found.pool.clone();
    // No run may be at work there.
    let lock = format!("pool:{}:{pool}", args.which.director);
    let _lease = open_run::lock(environment, [lock].into(), "migrate director check")?;
    let before = found.director.observe(&pool).await?;
    let [old, other, new] = members(&args.members, &before)?;
    let about = format!("{} {pool}", args.which.director);
    let question =
        format!("{about}: {old}, {other} and {new} will be given weights and taken out of service, again and again.");
    if !args.yes && !confirm::confirm(&question)? {
        eprintln!("nothing was changed");
        return Ok(Exit::Error);
    }
    let Found { config, director, .. } = found;
    let trial = Trial { config, director, twin: twin.director, pool, old, other, new, nobody: None };
    let result = judge(&trial, &before, about).await?;
    output::show(args.format, &result, Style::default())?;
    Ok(result.exit())
}

fn members(named: &[String], pool: &Pool) -> anyhow::Result<[String; 3]> {
    let names: Vec<String> = match named {
        [] => pool.members.iter().take(3).map(|m| m.name.clone()).collect(),
        named => named.to_vec(),
    };
    let distinct = names.iter().collect::<std::collections::BTreeSet<_>>().len();
    match <[String; 3]>::try_from(names) {
        Ok(three) if distinct == 3 => Ok(three),
        _ if !named.is_empty() => {
            Err(advised("`--members` takes three different names", "for example `--members A,B,C`"))
        }
        _ => {
            let what = format!("it takes three members that may be set to anything, and {} has {distinct}", pool.name);
            Err(advised(what, "add one, or name three with `--members A,B,C`"))
        }
    }
}

async fn judge(trial: &Trial, before: &Pool, about: String) -> anyhow::Result<Verdict> {
    let stopped = signals::listen(WORDS)?;
    let mut promises = Vec::new();
    for promise in PROMISES {
        if !matches!(*stopped.borrow(), Stop::No) {
            break;
        }
        promises.push(Judged::new(promise.words(), promise.look(trial).await));
    }
    let left_behind = trial.put_back(before).await.err();
    Ok(Verdict { about, of: PROMISES.len(), promises, left_behind })
}

/// What came of it.
#[derive(Serialize)]
struct Verdict {
    #[serde(skip)]
    about: String,
    /// How many promises there are.
    of: usize,
    promises: Vec<Judged>,
    /// What could not be put back.
    left_behind: Option<String>,
}

#[derive(Serialize)]
struct Judged {
    promise: String,
    kept: bool,
    why: Option<String>,
}

impl Judged {
    fn new(promise: String, kept: Kept) -> Self {
        let why = kept.err().map(|why| text::escape(why.as_bytes(), 600));
        Self { promise, kept: why.is_none(), why }
    }
}

impl Verdict {
    fn exit(&self) -> Exit {
        let kept = self.promises.iter().filter(|p| p.kept).count();
        if kept == self.of && self.left_behind.is_none() { Exit::Ok } else { Exit::Error }
    }
}

impl Show for Verdict {
    fn text(&self, _: Style) -> String {
        let mut out = String::new();
        for Judged { promise, why, .. } in &self.promises {
            let _ = match why {
                None => writeln!(out, "✓ {promise}"),
                Some(why) => writeln!(out, "✗ {promise}\n    {why}"),
            };
        }
        let kept = self.promises.iter().filter(|p| p.kept).count();
        let _ = writeln!(out, "{}: {kept} of {} promises kept", self.about, self.of);
        if self.promises.len() < self.of {
            let _ = writeln!(out, "stopped: the others were not looked at");
        }
        let _ = match &self.left_behind {
            None => writeln!(out, "The pool is as it was."),
            Some(why) => writeln!(out, "The pool could not be put back: {}", text::escape(why.as_bytes(), 600)),
        };
        out
    }
}
