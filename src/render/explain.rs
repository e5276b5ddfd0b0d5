//! Why a run is where it is.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;

use super::ending::when;
use super::format::{Show, Style};
use crate::event::{Direction, RunState, Status, StepState};
use crate::step::Step;
use crate::text;

/// What a run waits for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Explanation {
    /// The run.
    pub run: String,
    /// One sentence about the run as a whole.
    pub summary: String,
    /// What would change that.
    pub next: Option<String>,
    /// What is under way.
    pub waits: Vec<Wait>,
}

/// What one step waits for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Wait {
    /// The step.
    pub step: String,
    /// What it does.
    pub what: String,
    /// Since when.
    pub since: Option<Timestamp>,
    /// The last values seen.
    pub seen: Option<String>,
    /// What would end it.
    pub ends: String,
}

/// Explains a run. `last_words` are what a live controller's steps said last.
pub fn explain(state: &RunState, live: bool, last_words: &BTreeMap<String, String>, now: Timestamp) -> Explanation {
    let (summary, next) = whole(state, live, now);
    let steps = state.graph.steps.iter();
    let open = steps.filter(|s| matches!(state.state_of(&s.id), Some(StepState::Running | StepState::Undoing)));
    let waits = open.filter(|_| live).map(|step| wait(state, step, last_words)).collect();
    Explanation { run: state.started.run.clone(), summary, next, waits }
}

fn whole(state: &RunState, live: bool, now: Timestamp) -> (String, Option<String>) {
    let ago = |at: Timestamp| text::duration(Duration::from_secs(now.duration_since(at).as_secs().unsigned_abs()));
    let (run, plan) = (&state.started.run, state.started.inputs.first().map(|i| i.path.display().to_string()));
    let apply = format!("migrate apply {}", plan.unwrap_or_default());
    let way = if state.direction == Direction::Forward { "goes forward" } else { "goes back" };
    if let (Some(pause), false) = (&state.paused, matches!(state.status, Status::Finished | Status::RolledBack)) {
        let by = format!("{}@{}", pause.by.user, pause.by.host);
        let since = ago(pause.since);
        return (format!("paused by {by} for {since}: {}", pause.why), Some(format!("migrate resume {run}")));
    }
    match &state.status {
        Status::Running if live => (format!("it {way}"), None),
        Status::Running => (format!("its controller ended without a word {} ago", ago(state.last_at)), Some(apply)),
        Status::Held { step, why, hint, stuck } => {
            let word = if *stuck { "stuck" } else { "held" };
            let at = step.as_ref().map(|s| format!(" at {s}")).unwrap_or_default();
            let next = hint.as_ref().map_or(apply.clone(), |h| format!("{h} ({apply})"));
            (format!("{word}{at} for {}: {why}", ago(state.last_at)), Some(next))
        }
        Status::Stopped { by } => (format!("stopped by {by} {} ago", ago(state.last_at)), Some(apply)),
        Status::Finished => ("everything is done".to_owned(), None),
        Status::RolledBack => ("everything that could be put back is as it was".to_owned(), None),
    }
}

fn wait(state: &RunState, step: &Step, last_words: &BTreeMap<String, String>) -> Wait {
    Wait {
        step: step.id.clone(),
        what: step.kind.describe(),
        since: state.step(&step.id).and_then(|record| record.began),
        seen: last_words.get(&step.id).cloned(),
        ends: ends(state, step),
    }
}

/// What would end a step.
fn ends(state: &RunState, step: &Step) -> String {
    let at_most =
        |limit: Duration| match state.step(&step.id).and_then(|record| record.began).map(|b| b.checked_add(limit)) {
            Some(Ok(end)) => format!(" by {}", when(end)),
            _ => String::new(),
        };
    let ends = step.kind.ends(&state.started.run, &step.id);
    format!("{}{}{}", ends.when, ends.within.map(at_most).unwrap_or_default(), ends.otherwise)
}

impl Show for Explanation {
    fn text(&self, _: Style) -> String {
        let mut f = String::new();
        let _ = writeln!(f, "Run {}: {}", self.run, self.summary);
        if let Some(next) = &self.next {
            let _ = writeln!(f, "  next: {next}");
        }
        for wait in &self.waits {
            let _ = writeln!(f, "  {}: {}", wait.step, wait.what);
            if let Some(since) = wait.since {
                let _ = writeln!(f, "    since: {}", when(since));
            }
            if let Some(seen) = &wait.seen {
                let _ = writeln!(f, "    seen:  {seen}");
            }
            let _ = writeln!(f, "    ends when {}", wait.ends);
        }
        f
    }
}
