//! `migrate rehearse`: plays a plan in a simulated world, with everything going wrong that can.

use std::io::{IsTerminal, Write};

use super::environment::Environment;
use super::failure::advised;
use super::load::{self, Files};
use super::output;
use super::{Exit, apply};
use crate::planner;
use crate::rehearse::{self, Options, Progress, Report};
use crate::render::{self, Format, Show, Style, Topic};
use crate::text;

/// Arguments of `migrate rehearse`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
The real engine runs the plan against simulated hosts, directors, files, checks and a simulated clock: first undisturbed, then once for
every fault at every call and record (failed before, answer lost, done in part, refused, without effect, started late, out of reach for a
while or for good, controller killed, disk full, clock jump), then for every pair of them; and back from every step, in the same way.
Exit code 1 says that a promise broke; the shortest history that breaks it is shown.

Examples:
  migrate rehearse plans/uploads.yaml
  migrate rehearse plans/uploads.yaml --faults 2 --limit 1000000")]
pub struct Args {
    #[command(flatten)]
    files: Files,

    /// The most faults in one history
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u8).range(0..=3))]
    faults: u8,

    /// The most histories to play
    #[arg(long, value_name = "N", default_value_t = 100_000)]
    limit: u64,

    /// Which histories are chosen when there are more than the limit
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,

    /// How to show what was found
    #[arg(long, default_value = "text", value_parser = output::formats(Topic::Report))]
    format: Format,
}

pub fn run(args: &Args, environment: &Environment) -> anyhow::Result<Exit> {
    let spec = load::load_offline(&args.files.plan, args.files.inventory.as_deref(), environment)?;
    let proposal = planner::propose(&spec, None);
    apply::refuse(&proposal)?;
    if proposal.is_empty() {
        return Err(advised("there is nothing to do in this plan", "name the services that move"));
    }
    let options = Options { faults: args.faults.into(), limit: args.limit, seed: args.seed };
    let mut show = progress();
    let report = rehearse::rehearse(&spec, &proposal.graph, &options, &mut *show)?;
    drop(show);
    output::show(args.format, &report, environment.style(false))?;
    Ok(if report.holds() { Exit::Ok } else { Exit::Error })
}

/// Writes one line over and over on a terminal; nothing elsewhere.
fn progress() -> Box<dyn FnMut(Progress)> {
    if !std::io::stderr().is_terminal() {
        return Box::new(|_| {});
    }
    let mut line = Line;
    Box::new(move |p| line.show(&p))
}

struct Line;

impl Line {
    fn show(&mut self, p: &Progress) {
        let broken =
            if p.broken > 0 { format!(", {} broken", text::count(p.broken as u64, "promise")) } else { String::new() };
        let faults = text::count(p.faults as u64, "fault");
        let _ = write!(
            std::io::stderr(),
            "\r\x1b[K{faults}: {} of {} histories{broken}",
            text::grouped(p.played),
            text::grouped(p.of)
        );
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        let _ = write!(std::io::stderr(), "\r\x1b[K");
    }
}

impl Show for Report {
    fn text(&self, style: Style) -> String {
        render::fitted(&self.text(), style)
    }
}
