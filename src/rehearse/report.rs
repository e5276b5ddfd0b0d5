//! What a rehearsal found, for people and for programs.

use std::fmt::Write;

use serde::Serialize;

use super::invariants::Violation;
use crate::text;

/// Lines of a history shown before its first fault.
const UNDISTURBED: usize = 5;

/// What a rehearsal found.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// Name of the plan.
    pub plan: String,
    /// Steps of its graph.
    pub steps: usize,
    /// Calls and records of the undisturbed run.
    pub points: usize,
    /// Histories by the number of their faults.
    pub levels: Vec<Level>,
    /// Where the choice began, when not all histories were played.
    pub seed: u64,
    /// Histories that ended done by themselves.
    pub done: u64,
    /// Histories that were held with a reason, and done after an operator had looked.
    pub held: u64,
    /// Histories that ended back at the start.
    pub rolled_back: u64,
    /// Histories that came to a state in which another one had been, with no less still to come.
    pub merged: u64,
    /// Violation promises, each with the shortest history found.
    pub broken: Vec<Finding>,
}

/// The histories with one number of faults.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Level {
    /// Faults in each.
    pub faults: usize,
    /// How many there are.
    pub histories: u64,
    /// How many were played.
    pub played: u64,
}

/// A promise that broke.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Which and how.
    #[serde(flatten)]
    pub broken: Violation,
    /// How many histories broke it.
    pub times: u64,
    /// The shortest of them, one line a call or record.
    pub history: Vec<String>,
}

impl Report {
    /// Whether every promise held.
    pub fn holds(&self) -> bool {
        self.broken.is_empty()
    }

    /// For people.
    pub fn text(&self) -> String {
        let mut out = String::new();
        let played: u64 = self.levels.iter().map(|l| l.played).sum();
        let _ = writeln!(out, "{}: {} rehearsed, nothing contacted", self.plan, text::count(self.steps as u64, "step"));
        for level in &self.levels {
            let _ = writeln!(out, "  {}", level.text());
        }
        let _ = writeln!(
            out,
            "  {} done, {} held and then done, {} rolled back, {} as another one from some point on",
            text::grouped(self.done),
            text::grouped(self.held),
            text::grouped(self.rolled_back),
            text::grouped(self.merged)
        );
        if self.levels.iter().any(|l| l.played < l.histories) {
            let _ = writeln!(
                out,
                "  not all were played: raise --limit, or choose others with --seed (this was {})",
                self.seed
            );
        }
        match self.broken.len() {
            0 => {
                let _ = writeln!(out, "every promise held in all {} that were played", text::grouped(played));
            }
            _ => self.broken.iter().for_each(|finding| finding.write(&mut out)),
        }
        out
    }
}

impl Level {
    fn text(&self) -> String {
        let what = match self.faults {
            0 => "without a fault".to_owned(),
            1 => "with one fault".to_owned(),
            n => format!("with {n} faults"),
        };
        match self.played == self.histories {
            true => format!("{what}: {}, all played", text::grouped(self.histories)),
            false => format!("{what}: {} of {} played", text::grouped(self.played), text::grouped(self.histories)),
        }
    }
}

impl Finding {
    fn write(&self, out: &mut String) {
        let _ = writeln!(
            out,
            "\nbroken: {} ({})",
            self.broken,
            text::count(self.times, "history").replace("historys", "histories")
        );
        let struck = self.history.iter().position(|l| l.contains('✗')).unwrap_or(0);
        let skipped = struck.saturating_sub(UNDISTURBED);
        if skipped > 0 {
            let _ = writeln!(out, "    … {} before, undisturbed", text::count(skipped as u64, "line"));
        }
        for line in self.history.iter().skip(skipped) {
            let _ = writeln!(out, "    {line}");
        }
    }
}
