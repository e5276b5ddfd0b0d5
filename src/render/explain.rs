//! Why a run is where it is.

use std::fmt::Write as _;
use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;

use super::alike::{Names, told};
use super::cut_off::Outage;
use super::ending::{apply_again, when};
use super::fit;
use super::format::{Show, Style};
use crate::event::{BatchUnderWay, Direction, LastWords, RunState, Status, StepState};
use crate::model::{LettingGo, Paced};
use crate::step::Step;
use crate::text;

/// What a run waits for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Explanation {
    /// The run.
    pub run: String,
    /// To be known first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cut_off: Option<Outage>,
    /// One sentence about the run as a whole.
    pub summary: String,
    /// What would change that.
    pub next: Option<String>,
    /// The batch whose pairs move now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub batch: Option<BatchUnderWay>,
    /// Copies, comparisons and streams that could begin, but for the limits of streams.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub queued: Option<usize>,
    /// What is under way.
    pub waits: Vec<Wait>,
    /// In which steps of one kind differ.
    #[serde(skip)]
    pub(super) names: Names,
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
    /// How far connections are moved away.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connections: Option<LettingGo>,
    /// How fast a copy that is governed may go.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pace: Option<Paced>,
    /// What would end it.
    pub ends: String,
}

/// Explains a run. `last_words` are what a live controller's steps said last.
pub fn explain(state: &RunState, live: bool, last_words: &LastWords, now: Timestamp) -> Explanation {
    let (summary, next) = whole(state, live, now);
    let names = Names::of_hosts(&state.graph);
    let steps = state.graph.steps.iter();
    let open = steps.filter(|s| matches!(state.state_of(&s.id), Some(StepState::Running | StepState::Undoing)));
    let waits = open.filter(|_| live).map(|step| wait(state, step, last_words));
    let waits =
        waits.chain(state.releases.iter().filter(|_| live).filter_map(|(from, _)| pause(state, from))).collect();
    let batch = BatchUnderWay::of(state).filter(|_| !state.status.is_over());
    let queued = Some(queued(state)).filter(|queued| live && state.paused.is_none() && *queued > 0);
    let run = state.started.run.clone();
    Explanation { run, cut_off: Outage::of(state, live), summary, next, batch, queued, waits, names }
}

/// Streams of data that wait for nothing but room.
fn queued(state: &RunState) -> usize {
    let is = |id: &String, wanted| state.state_of(id) == Some(wanted);
    let forward = state.direction == Direction::Forward;
    let streams = state.graph.steps.iter().filter(|step| forward && step.kind.is_stream() && !step.urgent);
    let waiting = streams.filter(|step| is(&step.id, StepState::Waiting));
    waiting.filter(|step| step.beside.is_none() && step.after.iter().all(|id| is(id, StepState::Done))).count()
}

fn whole(state: &RunState, live: bool, now: Timestamp) -> (String, Option<String>) {
    let ago = |at: Timestamp| text::duration(Duration::from_secs(now.duration_since(at).as_secs().unsigned_abs()));
    let (run, apply) = (&state.started.run, apply_again(state));
    let way = if state.direction == Direction::Forward { "goes forward" } else { "goes back" };
    if let (Some(pause), false) = (&state.paused, state.status.is_over()) {
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
        Status::Abandoned { by, why, .. } => {
            (format!("given up by {}@{} {} ago: {why}", by.user, by.host, ago(state.last_at)), None)
        }
    }
}

fn wait(state: &RunState, step: &Step, last_words: &LastWords) -> Wait {
    let pace = last_words.paces.get(&step.id);
    let seen: Vec<String> =
        last_words.says.get(&step.id).cloned().into_iter().chain(pace.map(Paced::to_string)).collect();
    Wait {
        step: step.id.clone(),
        what: step.kind.describe(),
        since: state.step(&step.id).and_then(|record| record.began),
        seen: Some(seen.join("; ")).filter(|seen| !seen.is_empty()),
        connections: last_words.connections.get(&step.id).cloned(),
        pace: pace.cloned(),
        ends: ends(state, step),
    }
}

/// A pair that has gone back into service, and is tried again.
fn pause(state: &RunState, from: &str) -> Option<Wait> {
    let (step, release) = (state.graph.step(from)?, state.releases.get(from)?);
    let until = release.until().filter(|_| state.state_of(from) == Some(StepState::Waiting))?;
    Some(Wait {
        step: step.id.clone(),
        what: step.kind.describe(),
        since: release.ended,
        seen: Some(format!("let go {}: {}", text::count(release.times.into(), "time"), release.why)),
        connections: None,
        pace: None,
        ends: format!("it is tried again, at {}", when(until)),
    })
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
    fn text(&self, style: Style) -> String {
        let mut f = self.cut_off.as_ref().map(|outage| outage.text(style)).unwrap_or_default();
        let mut say = |hang: usize, line: &str| {
            let _ = writeln!(f, "{}", fit::whole(line, hang, style));
        };
        say(2, &format!("Run {}: {}", self.run, self.summary));
        if let Some(next) = &self.next {
            say(8, &format!("  next: {next}"));
        }
        if let Some(queued) = self.queued {
            let streams = text::count(queued as u64, "stream");
            say(4, &format!("  {streams} of data could begin, and wait for room (`limits` of the plan)"));
        }
        if let Some(batch) = &self.batch {
            say(4, &format!("  {batch}"));
        }
        let kind = |wait: &&Wait| match style.verbose {
            true => (wait.step.clone(), String::new(), String::new()),
            false => (self.names.shape(&wait.step), self.names.kind(&wait.what), self.names.kind(&wait.ends)),
        };
        for (wait, others) in told(&self.waits, kind, |wait| &wait.step) {
            say(4, &format!("  {}: {}", wait.step, self.names.condense(&wait.what)));
            if let Some(since) = wait.since {
                say(11, &format!("    since: {}", when(since)));
            }
            if let Some(seen) = &wait.seen {
                say(11, &format!("    seen:  {seen}"));
            }
            say(6, &format!("    ends when {}", wait.ends));
            others.iter().for_each(|others| say(4, &format!("    {others}")));
        }
        f
    }
}
