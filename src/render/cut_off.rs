//! That users may be cut off: said first, wherever a run is told.

use std::fmt::Write as _;

use jiff::Timestamp;
use serde::Serialize;

use super::ending::{apply_again, when};
use super::fit;
use super::format::Style;
use crate::event::{CutOff, Direction, RunState};
use crate::text;

/// What is to be known first of a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Outage {
    /// The pairs whose users may be cut off.
    pub pairs: Vec<CutOff>,
    /// Since when the first of them.
    pub since: Option<Timestamp>,
    /// Whether a controller is at work on it.
    pub attended: bool,
    /// The command that goes on; `None` while a controller does.
    pub next: Option<String>,
}

impl Outage {
    /// What the journal says of that; `None`: all users are served, as far as this run has anything to do with it.
    pub fn of(state: &RunState, live: bool) -> Option<Self> {
        let pairs = state.cut_off();
        let since = pairs.first()?.since;
        let attended = live && state.paused.is_none();
        Some(Self { pairs, since, attended, next: (!attended).then(|| next(state, live)) })
    }

    /// In a line of a list.
    pub fn in_a_line(&self) -> String {
        let since = self.since.map(|at| format!(" since {}", when(at))).unwrap_or_default();
        let first = self.pairs.first().map(ToString::to_string).unwrap_or_default();
        let more = match self.pairs.len() {
            0 | 1 => String::new(),
            n => format!(", and {} more", text::count(n as u64 - 1, "pair")),
        };
        format!("users may be cut off{since}: {first}{more}")
    }

    /// As lines for people.
    pub fn text(&self, style: Style) -> String {
        let since = self.since.map(|at| format!(" since {}", when(at))).unwrap_or_default();
        let who = if self.attended { "a controller is at work on it" } else { "nobody is at work on it" };
        let mut out = format!("{}\n", fit::whole(&format!("Users may be cut off{since}; {who}:"), 2, style));
        for pair in &self.pairs {
            let _ = writeln!(out, "{}", fit::whole(&format!("  {pair}"), 4, style));
        }
        if let Some(next) = &self.next {
            let _ = writeln!(out, "  do first: {next}");
        }
        out
    }
}

fn next(state: &RunState, live: bool) -> String {
    let run = &state.started.run;
    let goes_on = match &state.direction {
        Direction::Forward => format!("{} (or back: migrate rollback {run})", apply_again(state)),
        Direction::Back { to: Some(to) } => format!("migrate rollback {run} --to {to}"),
        Direction::Back { to: None } => format!("migrate rollback {run}"),
    };
    match (&state.paused, live) {
        (None, _) => goes_on,
        (Some(_), true) => format!("migrate resume {run}"),
        (Some(_), false) => format!("migrate resume {run}, then {goes_on}"),
    }
}
