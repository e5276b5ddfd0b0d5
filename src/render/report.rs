//! Where a run stands, pair by pair.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::time::Duration;

use serde::Serialize;

use super::ending::when;
use super::format::{Show, Style};
use crate::event::{DriftRecord, ReversePace, RunState, Status, StepState};
use crate::model::{HookPoint, Pair};
use crate::step::{Step, StepKind};
use crate::text;

/// One run in a list.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RunRow {
    /// Its name.
    pub run: String,
    /// `finished`, `rolled back`, `held`, `stuck`, `stopped`, `running`, `interrupted`, `unreadable`.
    pub status: String,
    /// Steps done.
    pub done: usize,
    /// Steps in all.
    pub steps: usize,
    /// When it began.
    pub began: Option<jiff::Timestamp>,
    /// Why it is held or cannot be read.
    pub why: Option<String>,
}

impl RunRow {
    /// A row; `live` when a controller works on it now.
    pub fn new(name: &str, state: Result<&RunState, String>, live: bool) -> Self {
        let state = match state {
            Ok(state) => state,
            Err(why) => {
                let (run, status, why) = (name.to_owned(), "unreadable".to_owned(), Some(why));
                return Self { run, status, done: 0, steps: 0, began: None, why };
            }
        };
        let why = match &state.status {
            Status::Held { why, .. } => Some(why.clone()),
            _ => None,
        };
        Self {
            run: name.to_owned(),
            status: word(&state.status, live).to_owned(),
            done: state.count(StepState::Done),
            steps: state.started.steps,
            began: Some(state.started_at),
            why,
        }
    }
}

fn word(status: &Status, live: bool) -> &'static str {
    match status {
        Status::Running if live => "running",
        Status::Running => "interrupted",
        Status::Held { stuck: true, .. } => "stuck",
        Status::Held { .. } => "held",
        Status::Stopped { .. } => "stopped",
        Status::Finished => "finished",
        Status::RolledBack => "rolled back",
    }
}

/// The list of runs.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(transparent)]
pub struct Runs(pub Vec<RunRow>);

impl Show for Runs {
    fn text(&self, _: Style) -> String {
        run_table(&self.0)
    }
}

fn run_table(rows: &[RunRow]) -> String {
    if rows.is_empty() {
        return "There are no runs yet.\n".to_owned();
    }
    let width = rows.iter().map(|r| r.run.chars().count()).max().unwrap_or(0).max(3);
    let mut out = format!("{:<width$}  {:<11}  {:>11}  began\n", "run", "status", "steps");
    for row in rows {
        let steps = format!("{}/{}", row.done, row.steps);
        let began = row.began.map(when).unwrap_or_default();
        let _ = writeln!(out, "{:<width$}  {:<11}  {steps:>11}  {began}", row.run, row.status);
        if let Some(why) = &row.why {
            let _ = writeln!(out, "{:<width$}    {why}", "");
        }
    }
    out
}

/// Everything about one run.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RunReport {
    /// Its name.
    pub run: String,
    /// The plan's name.
    pub plan: String,
    /// As in [`RunRow`].
    pub status: String,
    /// Why it is held.
    pub why: Option<String>,
    /// What to do next.
    pub hint: Option<String>,
    /// Who began it: `user@host`.
    pub by: String,
    /// When it began.
    pub began: jiff::Timestamp,
    /// When something last happened.
    pub last: jiff::Timestamp,
    /// Pairs, and services as a whole, in order.
    pub pairs: Vec<PairReport>,
    /// Steps that have begun and have no outcome, have failed, or are unknown.
    pub open: Vec<OpenStep>,
    /// Where others have changed what the run had set.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub drifts: Vec<DriftRecord>,
}

/// Where one pair stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PairReport {
    /// The service.
    pub service: String,
    /// `source → target`.
    pub pair: String,
    /// Steps done.
    pub done: usize,
    /// Steps in all.
    pub steps: usize,
    /// Phase of the step that comes next; `None` when all are done.
    pub next: Option<String>,
    /// Percent of its full weight that the target has.
    pub share: u8,
    /// Time from the last write on the source to the first on the target, once it is over.
    pub freeze_ms: Option<u64>,
    /// What is known of its way back, a sentence each; empty where there is none, or none is needed yet.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub way_back: Vec<String>,
}

/// A step that needs a look.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct OpenStep {
    /// Its id.
    pub step: String,
    /// Where it stands.
    pub state: StepState,
    /// When its last attempt began.
    pub since: Option<jiff::Timestamp>,
    /// What it said last.
    pub says: String,
}

impl RunReport {
    /// Reads a run's state.
    pub fn new(state: &RunState, live: bool) -> Self {
        let (why, hint) = match &state.status {
            Status::Held { why, hint, .. } => (Some(why.clone()), hint.clone()),
            _ => (None, None),
        };
        let steps = &state.graph.steps;
        let pairs = pairs(state, live);
        let is_open = |s: StepState| !matches!(s, StepState::Waiting | StepState::Done);
        let open = steps
            .iter()
            .filter_map(|s| Some((s, state.step(&s.id)?)))
            .filter(|(_, r)| is_open(r.state))
            .map(|(s, r)| OpenStep { step: s.id.clone(), state: r.state, since: r.began, says: r.says.clone() });
        Self {
            run: state.started.run.clone(),
            plan: state.started.plan.clone(),
            status: word(&state.status, live).to_owned(),
            why,
            hint,
            by: format!("{}@{}", state.started.by.user, state.started.by.host),
            began: state.started_at,
            last: state.last_at,
            pairs,
            open: open.collect(),
            drifts: state.drifts.clone(),
        }
    }
}

/// The pairs of each service in the order of their first steps.
fn pairs(state: &RunState, live: bool) -> Vec<PairReport> {
    let mut own: Vec<(&str, &Pair, Vec<&Step>)> = Vec::new();
    let mut found: HashMap<(&str, &Pair), usize> = HashMap::new();
    // What steps that are about a whole service give to each of its pairs.
    let mut shared: HashMap<&str, u8> = HashMap::new();
    for step in &state.graph.steps {
        let Some(pair) = &step.pair else {
            let share = shared.entry(&step.service).or_default();
            *share = (*share).max(share_of(state, step));
            continue;
        };
        let at = *found.entry((&step.service, pair)).or_insert(own.len());
        match own.get_mut(at) {
            Some((_, _, steps)) => steps.push(step),
            None => own.push((&step.service, pair, vec![step])),
        }
    }
    let report = |(service, pair, steps): (&str, &Pair, Vec<&Step>)| {
        let report = pair_report(state, service, pair, &steps, shared.get(service).copied().unwrap_or(0));
        PairReport { way_back: way_back(state, &steps, live), ..report }
    };
    own.into_iter().map(report).collect()
}

/// The share that a step has given to its targets.
fn share_of(state: &RunState, step: &Step) -> u8 {
    match &step.kind {
        StepKind::Traffic(traffic) if state.state_of(&step.id) == Some(StepState::Done) => {
            traffic.purpose.share().unwrap_or(0)
        }
        _ => 0,
    }
}

fn pair_report(state: &RunState, service: &str, pair: &Pair, own: &[&Step], shared: u8) -> PairReport {
    let is_done = |s: &Step| state.state_of(&s.id) == Some(StepState::Done);
    PairReport {
        service: service.to_owned(),
        pair: format!("{} → {}", pair.source, pair.target),
        done: own.iter().filter(|s| is_done(s)).count(),
        steps: own.len(),
        next: own.iter().find(|s| !is_done(s)).map(|s| s.kind.phase().to_owned()),
        share: own.iter().map(|s| share_of(state, s)).max().unwrap_or(0).max(shared),
        freeze_ms: freeze(state, own),
        way_back: Vec::new(),
    }
}

/// What is known of the way back of a pair.
fn way_back(state: &RunState, own: &[&Step], live: bool) -> Vec<String> {
    let Some(commit) = own.iter().find(|s| matches!(s.kind, StepKind::Commit(_))) else { return Vec::new() };
    match state.state_of(&commit.id) {
        Some(StepState::Done) => {
            let ended = state.step(&commit.id).and_then(|record| record.ended).map(when).unwrap_or_default();
            vec![format!("no way back since {ended}")]
        }
        _ => readiness(state, &commit.id, live),
    }
}

/// How ready the way back is that ends with a step. `live`: whether a controller works on the run.
pub fn readiness(state: &RunState, commit: &str, live: bool) -> Vec<String> {
    let reverses = state.graph.steps.iter().filter(|s| s.beside.as_deref() == Some(commit));
    let mut said = Vec::new();
    for step in reverses.filter(|s| state.state_of(&s.id) != Some(StepState::Waiting)) {
        let Some(record) = state.reverses.get(&step.id) else {
            said.push(format!("{}: the source has not been in step yet", step.id));
            continue;
        };
        let mut line = format!("{}: {} (since {})", step.id, record.pace, when(record.since));
        if let (Some(at), false) = (record.in_step, matches!(record.pace, ReversePace::InStep { .. })) {
            line.push_str(&format!(", it was in step at {}", when(at)));
        }
        if !live {
            line.push_str("; nobody carries on now: `migrate apply` does");
        }
        said.push(line);
    }
    said
}

/// From the beginning of the freeze hook (or, without one, of the last pass) to the first weight of the target (or, without a
/// director, to the end of the thaw).
fn freeze(state: &RunState, steps: &[&Step]) -> Option<u64> {
    let starts = |s: &&&Step| s.urgent || matches!(&s.kind, StepKind::Hook(h) if h.at == HookPoint::Freeze);
    let ends = |s: &&&Step| s.urgent;
    let first = steps.iter().find(starts)?;
    let last = steps.iter().rfind(ends)?;
    let (began, ended) = (state.step(&first.id)?.began?, state.step(&last.id)?.ended?);
    u64::try_from(ended.duration_since(began).as_millis()).ok()
}

impl Show for RunReport {
    fn text(&self, _: Style) -> String {
        run_text(self)
    }
}

fn run_text(report: &RunReport) -> String {
    let mut out = format!("Run {} of plan {}: {}\n", report.run, report.plan, report.status);
    let _ = writeln!(out, "  begun {} by {}, last record {}", when(report.began), report.by, when(report.last));
    if let Some(why) = &report.why {
        let _ = writeln!(out, "  held: {why}");
    }
    if let Some(hint) = &report.hint {
        let _ = writeln!(out, "  help: {hint}");
    }
    for pair in &report.pairs {
        let next = pair.next.as_ref().map_or("done".to_owned(), |n| format!("next: {n}"));
        let freeze = pair.freeze_ms.map(|ms| format!(", frozen for {}", text::duration(Duration::from_millis(ms))));
        let _ = writeln!(
            out,
            "  {} {}  {}/{} steps, target at {} %, {next}{}",
            pair.service,
            pair.pair,
            pair.done,
            pair.steps,
            pair.share,
            freeze.unwrap_or_default()
        );
        for line in &pair.way_back {
            let _ = writeln!(out, "    way back: {line}");
        }
    }
    for step in &report.open {
        let state = format!("{:?}", step.state).to_lowercase();
        let since = step.since.map(when).unwrap_or_default();
        let _ = writeln!(out, "  {} is {state} since {since}: {}", step.step, step.says);
    }
    for drift in &report.drifts {
        let then = if drift.restores { "set again" } else { "held" };
        let _ = writeln!(out, "  drift {}: {drift} ({then})", when(drift.at));
    }
    out
}
