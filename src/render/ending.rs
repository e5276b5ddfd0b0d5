//! First and last words of a run.

use std::fmt::Write as _;
use std::path::Path;

use super::alike::{kinds, span};
use super::cut_off::Outage;
use super::fit;
use super::format::Style;
use super::report::{PairReport, RunReport, frozen};
use crate::engine::Ending;
use crate::event::{Direction, RunState, Status, StepState};
use crate::step::LeftOut;
use crate::text;
use crate::text::shell::quote;

/// What is said before a run is taken up again.
pub fn resuming(state: &RunState) -> String {
    let done = state.count(StepState::Done);
    let total = state.graph.steps.len();
    let why = match &state.status {
        Status::Running => "its controller ended without a word".to_owned(),
        Status::Held { why, .. } => format!("it was held: {why}"),
        Status::RolledBack => "it has been rolled back".to_owned(),
        Status::Stopped { by } => format!("it was stopped by {by}"),
        Status::Finished => "it has finished".to_owned(),
        Status::Abandoned { by, why, .. } => format!("it was given up by {}@{}: {why}", by.user, by.host),
    };
    let run = &state.started.run;
    let going = if state.direction == Direction::Forward { "Going on" } else { "Going on back" };
    format!("{going} with run {run}, begun {}: {done} of {total} steps are done; {why}\n", when(state.started_at))
}

/// So many pairs of a service are told one by one when all is done.
const PAIRS: usize = 10;

fn apart(pairs: Vec<&PairReport>) -> Vec<Vec<&PairReport>> {
    match pairs.len() <= PAIRS {
        true => pairs.into_iter().map(|pair| vec![pair]).collect(),
        false => vec![pairs],
    }
}

/// What is said at the end.
pub fn ending(state: &RunState, ending: &Ending, command: &str, style: Style) -> String {
    let run = &state.started.run;
    // Only where it stays so: the controller is about to be gone.
    let mut out = Outage::of(state, false).map(|outage| format!("\n{}", outage.text(style))).unwrap_or_default();
    match ending {
        Ending::Finished => {
            let took = state.last_at.duration_since(state.started_at).unsigned_abs();
            let without = LeftOut::without(&state.graph.left_out);
            let _ = writeln!(out, "\nDone in {}{without}: run {run}.", text::duration(took));
            let report = RunReport::new(state, false);
            for pairs in kinds(&report.pairs, |pair| pair.service.as_str()).into_iter().flat_map(apart) {
                let whom: Vec<&str> = pairs.iter().map(|pair| pair.pair.as_str()).collect();
                let service = pairs.first().map_or("", |pair| &pair.service);
                let frozen = frozen(pairs.iter().filter_map(|pair| pair.freeze_ms));
                let line = format!("  {service} {} moved{frozen}", span(&whom));
                let _ = writeln!(out, "{}", fit::whole(&line, 4, style));
            }
            for left in &state.graph.left_out {
                let _ = writeln!(out, "{}", fit::whole(&format!("  ! {left}"), 4, style));
            }
            if !state.graph.left_out.is_empty() {
                let _ = writeln!(out, "  once they can be reached: {command}");
            }
        }
        Ending::RolledBack => match &state.status {
            Status::RolledBack => {
                let _ = writeln!(out, "\nRolled back: run {run}. Everything that could be put back is as it was.");
            }
            _ => {
                let _ = writeln!(out, "\nRolled back as far as asked: run {run}.\n  go forward again with: {command}");
            }
        },
        Ending::Held { step, why, hint, stuck } => {
            let at = step.as_ref().map(|s| format!(" at {s}")).unwrap_or_default();
            let word = if *stuck { "Stuck" } else { "Held" };
            let _ = writeln!(out, "\n{}", fit::whole(&format!("{word}{at}: {why}"), 2, style));
            if let Some(hint) = hint {
                let _ = writeln!(out, "  help: {hint}");
            }
            let _ = writeln!(out, "  where it stands: migrate status {run}\n  go on with:      {command}");
        }
        Ending::Stopped => {
            let _ = writeln!(out, "\nStopped at a safe point: run {run}.\n  go on with: {command}");
        }
    }
    out
}

/// What applies the plan in this file, as a shell reads it.
pub fn apply(plan: &Path) -> String {
    format!("migrate apply {}", quote(&plan.display().to_string()))
}

/// What goes on with this run.
pub fn apply_again(run: &RunState) -> String {
    run.started.inputs.first().map_or_else(|| "migrate apply PLAN".to_owned(), |input| apply(&input.path))
}

/// A time for people.
pub fn when(at: jiff::Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%M:%S UTC").to_string()
}
