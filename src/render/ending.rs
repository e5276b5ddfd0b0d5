//! First and last words of a run.

use std::fmt::Write as _;
use std::time::Duration;

use super::report::RunReport;
use crate::engine::Ending;
use crate::event::{Direction, RunState, Status, StepState};
use crate::text;

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
    };
    let run = &state.started.run;
    let going = if state.direction == Direction::Forward { "Going on" } else { "Going on back" };
    format!("{going} with run {run}, begun {}: {done} of {total} steps are done; {why}\n", when(state.started_at))
}

/// What is said at the end.
pub fn ending(state: &RunState, ending: &Ending, command: &str) -> String {
    let run = &state.started.run;
    let mut out = String::new();
    match ending {
        Ending::Finished => {
            let took = state.last_at.duration_since(state.started_at).unsigned_abs();
            let _ = writeln!(out, "\nDone in {}: run {run}.", text::duration(took));
            for pair in RunReport::new(state, false).pairs {
                let freeze =
                    pair.freeze_ms.map(|ms| format!(", frozen for {}", text::duration(Duration::from_millis(ms))));
                let _ = writeln!(out, "  {} {} moved{}", pair.service, pair.pair, freeze.unwrap_or_default());
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
            let _ = writeln!(out, "\n{word}{at}: {why}");
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

/// A time for people.
pub fn when(at: jiff::Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%M:%S UTC").to_string()
}
