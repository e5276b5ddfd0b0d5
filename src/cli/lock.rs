//! `migrate lock`: who works on what, and taking it away from them.

use std::fmt::Write as _;
use std::time::Duration;

use serde::Serialize;

use super::environment::Environment;
use super::output;
use super::{Exit, confirm};
use crate::lock::{Grant, Locks, Owner, Validity};
use crate::render::{Format, Show, Style, Topic};
use crate::text;

/// Arguments of `migrate lock`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// List what is locked: by whom, where, why, since when, and for how long
    #[command(after_help = "Example: migrate lock show")]
    Show {
        /// How to show it
        #[arg(long, default_value = "text", value_parser = output::formats(Topic::Report))]
        format: Format,
    },
    /// Take a lock from a controller that hangs; it does nothing more, also when it wakes up
    #[command(after_help = "\
All that the controller's lease is over becomes free, and its fence number is no use any more. What it has under way at that moment may still
come to its end: look at the process first. Locks of processes that are gone need no breaking, the next run takes them over.

Example: migrate lock break plan:uploads-to-fra --yes")]
    Break {
        /// As `migrate lock show` lists it: `plan:NAME`, `pair:SOURCE:TARGET`, `host:NAME` or `pool:DIRECTOR:POOL`
        name: String,

        /// Do not ask
        #[arg(short, long)]
        yes: bool,
    },
}

pub fn run(args: &Args, environment: &Environment) -> anyhow::Result<Exit> {
    let locks = environment.locks();
    match &args.command {
        Command::Show { format } => show(&locks, *format),
        Command::Break { name, yes } => take(&locks, name, *yes),
    }
}

/// An grant with what can be told about it from here.
#[derive(Serialize)]
struct Shown {
    standing: Validity,
    rest_ms: u64,
    #[serde(skip)]
    rest: Duration,
    #[serde(flatten)]
    grant: Grant,
}

impl Shown {
    fn new(grant: Grant, here: &Owner) -> Self {
        let rest = grant.rest(here);
        let rest_ms = u64::try_from(rest.as_millis()).unwrap_or(u64::MAX);
        Self { standing: grant.validity(here), rest_ms, rest, grant }
    }
}

/// All leases.
#[derive(Serialize)]
#[serde(transparent)]
struct Leases(Vec<Shown>);

impl Show for Leases {
    fn text(&self, _: Style) -> String {
        match self.0.is_empty() {
            true => "Nothing is locked.\n".to_owned(),
            false => self.0.iter().map(describe).collect::<Vec<_>>().join("\n"),
        }
    }
}

fn show(locks: &Locks, format: Format) -> anyhow::Result<Exit> {
    let here = locks.here();
    let shown: Vec<Shown> = locks.show()?.into_iter().map(|grant| Shown::new(grant, here)).collect();
    output::show(format, &Leases(shown), Style::default())?;
    Ok(Exit::Ok)
}

fn describe(shown: &Shown) -> String {
    let Shown { grant, standing, rest, .. } = shown;
    let rest = text::duration(*rest);
    let standing = match standing {
        Validity::Held => format!("in force, {rest} unless renewed"),
        Validity::Dead => "its process is gone: the next run takes it over".to_owned(),
        Validity::Expired => "has run out, its process hangs or is gone: the next run takes it over".to_owned(),
    };
    let mut out = String::new();
    let since = grant.since.strftime("%Y-%m-%d %H:%M:%S UTC");
    let why = text::escape(grant.why.as_bytes(), 200);
    let run = grant.run.as_ref().map(|r| format!(" (run {})", text::escape(r.as_bytes(), 80))).unwrap_or_default();
    let _ = writeln!(out, "{} since {since} for `{why}`{run}", grant.owner);
    let _ = writeln!(out, "  fence {}; {standing}", grant.fence);
    for name in &grant.names {
        let _ = writeln!(out, "  {}", text::escape(name.as_bytes(), 200));
    }
    out
}

fn take(locks: &Locks, name: &str, yes: bool) -> anyhow::Result<Exit> {
    if let Some(grant) = locks.show()?.into_iter().find(|e| e.names.contains(name)) {
        eprint!("{}", describe(&Shown::new(grant, locks.here())));
        if !yes && !confirm::confirm("Take all of this from it?")? {
            eprintln!("nothing was changed");
            return Ok(Exit::Error);
        }
    }
    let broken = locks.break_lock(name)?;
    let freed = text::count(broken.names.len() as u64, "lock");
    output::print(&format!("{freed} of {} broken; fence {} is void\n", broken.owner, broken.fence))?;
    Ok(Exit::Ok)
}
