//! Where a run stands, pair by pair.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::time::Duration;

use serde::Serialize;

use super::alike::{FEW, Names, kinds, span, told};
use super::chronicle::standing;
use super::cut_off::Outage;
use super::ending::when;
use super::fit;
use super::format::{Show, Style};
use crate::event::{DriftRecord, Known, OfPair, Relayed, RunState, Status, StepState};
use crate::model::HookPoint;
use crate::step::{LeftOut, Step, StepKind};
use crate::text;

/// One run in a list.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RunRow {
    /// Its name.
    pub run: String,
    /// `finished`, `rolled back`, `abandoned`, `held`, `stuck`, `stopped`, `running`, `interrupted`, `unreadable`.
    pub status: String,
    /// Steps done.
    pub done: usize,
    /// Steps in all.
    pub steps: usize,
    /// When it began.
    pub began: Option<jiff::Timestamp>,
    /// Why it is held or cannot be read.
    pub why: Option<String>,
    /// Pairs whose users may be cut off.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cut_off: Option<Outage>,
}

impl RunRow {
    /// A row; `live` when a controller works on it now.
    pub fn new(name: &str, state: Result<&RunState, String>, live: bool) -> Self {
        let state = match state {
            Ok(state) => state,
            Err(why) => {
                let (run, status, why) = (name.to_owned(), "unreadable".to_owned(), Some(why));
                return Self { run, status, done: 0, steps: 0, began: None, why, cut_off: None };
            }
        };
        let why = match &state.status {
            Status::Held { why, .. } | Status::Abandoned { why, .. } => Some(why.clone()),
            _ => None,
        };
        Self {
            run: name.to_owned(),
            status: word(&state.status, live).to_owned(),
            done: state.count(StepState::Done),
            steps: state.started.steps,
            began: Some(state.started_at),
            why,
            cut_off: Outage::of(state, live),
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
        Status::Abandoned { .. } => "abandoned",
    }
}

/// The list of runs.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(transparent)]
pub struct Runs {
    /// A row each.
    pub rows: Vec<RunRow>,
    /// Where the journal of a run of any name would be.
    #[serde(skip)]
    pub place: String,
}

impl Show for Runs {
    fn text(&self, style: Style) -> String {
        match self.rows.is_empty() {
            true => format!("There are no runs yet: no journal is at {}.\n", self.place),
            false => run_table(&self.rows, style),
        }
    }
}

fn run_table(rows: &[RunRow], style: Style) -> String {
    let width = rows.iter().map(|r| r.run.chars().count()).max().unwrap_or(0).max(3);
    let mut out = format!("{:<width$}  {:<11}  {:>11}  began\n", "run", "status", "steps");
    for row in rows {
        let steps = format!("{}/{}", row.done, row.steps);
        let began = row.began.map(when).unwrap_or_default();
        let _ = writeln!(out, "{:<width$}  {:<11}  {steps:>11}  {began}", row.run, row.status);
        if let Some(cut_off) = &row.cut_off {
            let line = format!("{:<width$}    {}", "", cut_off.in_a_line());
            let _ = writeln!(out, "{}", fit::whole(&line, width + 6, style));
        }
        if let Some(why) = &row.why {
            let line = format!("{:<width$}    {why}", "");
            let _ = writeln!(out, "{}", fit::whole(&line, width + 6, style));
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
    /// To be known first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cut_off: Option<Outage>,
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
    /// Who came to old addresses, by the step that watches them.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub relayed: BTreeMap<String, Relayed>,
    /// Pairs that it moves without.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub left_out: Vec<LeftOut>,
}

/// Where one pair stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PairReport {
    /// Its wave.
    pub wave: String,
    /// The service.
    pub service: String,
    /// `source → target`.
    pub pair: String,
    /// `not begun`, `under way`, `moved`, `back`.
    pub is: &'static str,
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
        let pairs = pairs(state, live);
        let is_open = |known: &Known<'_>| !matches!(known.record.state, StepState::Waiting | StepState::Done);
        let open = state.known().filter(is_open).map(|Known { step, record }| {
            let is_at_it = matches!(record.state, StepState::Running | StepState::Undoing);
            let pace = state.paced.get(&step.id).filter(|_| is_at_it);
            let says = pace.map_or_else(|| record.says.clone(), ToString::to_string);
            OpenStep { step: step.id.clone(), state: record.state, since: record.began, says }
        });
        Self {
            run: state.started.run.clone(),
            plan: state.started.plan.clone(),
            cut_off: Outage::of(state, live),
            status: word(&state.status, live).to_owned(),
            why,
            hint,
            by: format!("{}@{}", state.started.by.user, state.started.by.host),
            began: state.started_at,
            last: state.last_at,
            pairs,
            open: open.collect(),
            drifts: state.drifts.clone(),
            relayed: state.relayed.clone(),
            left_out: state.graph.left_out.clone(),
        }
    }
}

/// The pairs of each service in the order of their first steps.
fn pairs(state: &RunState, live: bool) -> Vec<PairReport> {
    // What steps that are about a whole service give to each of its pairs.
    let mut shared: HashMap<&str, u8> = HashMap::new();
    for known in state.known() {
        let step = known.step;
        let of_all = matches!(&step.kind, StepKind::Traffic(traffic) if traffic.targets_get.is_some());
        if step.pair.is_none() || of_all {
            let share = shared.entry(&step.service).or_default();
            *share = (*share).max(share_of(known));
        }
    }
    let report = |of: &OfPair<'_>| {
        let report = pair_report(state, of, shared.get(of.service).copied().unwrap_or(0));
        PairReport { way_back: way_back(state, &of.steps, live), ..report }
    };
    state.by_pair().iter().map(report).collect()
}

/// The share that a step has given to its targets.
fn share_of(known: Known<'_>) -> u8 {
    match &known.step.kind {
        StepKind::Traffic(traffic) if known.record.state == StepState::Done => {
            let told = traffic.targets_get.and_then(|tenths| u8::try_from(tenths / 10).ok());
            told.or(traffic.purpose.share()).unwrap_or(0)
        }
        _ => 0,
    }
}

fn pair_report(state: &RunState, OfPair { service, pair, steps: own }: &OfPair<'_>, shared: u8) -> PairReport {
    let is_done = |known: &Known<'_>| known.record.state == StepState::Done;
    let begun = own.iter().any(|known| known.record.attempts > 0);
    PairReport {
        wave: own.first().map(|known| known.step.wave.to_string()).unwrap_or_default(),
        service: (*service).to_owned(),
        pair: format!("{} → {}", pair.source, pair.target),
        is: standing(state, own, begun),
        done: own.iter().filter(|known| is_done(known)).count(),
        steps: own.len(),
        next: own.iter().find(|known| !is_done(known)).map(|known| known.step.kind.phase().to_owned()),
        share: own.iter().map(|known| share_of(*known)).max().unwrap_or(0).max(shared),
        freeze_ms: freeze(own).and_then(|(began, ended)| u64::try_from(ended.duration_since(began).as_millis()).ok()),
        way_back: Vec::new(),
    }
}

/// What is known of the way back of a pair.
fn way_back(state: &RunState, own: &[Known<'_>], live: bool) -> Vec<String> {
    let is_commit = |known: &&Known<'_>| matches!(known.step.kind, StepKind::Commit(_));
    let Some(Known { step, record }) = own.iter().find(is_commit) else { return Vec::new() };
    match record.state {
        StepState::Done => vec![format!("no way back since {}", record.ended.map(when).unwrap_or_default())],
        _ => readiness(state, &step.id, live),
    }
}

/// How ready the way back is that ends with a step. `live`: whether a controller works on the run.
pub fn readiness(state: &RunState, commit: &str, live: bool) -> Vec<String> {
    let steps = &state.graph.steps;
    let reverses = steps.position(commit).map_or(&[][..], |at| steps.beside(at));
    let reverses = reverses.iter().filter_map(|at| steps.get(*at));
    let mut said = Vec::new();
    for step in reverses.filter(|s| state.state_of(&s.id) != Some(StepState::Waiting)) {
        let Some(record) = state.reverses.get(&step.id) else {
            said.push(format!("{}: the source has not been in step yet", step.id));
            continue;
        };
        let mut line = format!("{}: {} (since {})", step.id, record.pace, when(record.since));
        if let (Some(at), false) = (record.in_step, record.pace.is_in_step()) {
            line.push_str(&format!(", it was in step at {}", when(at)));
        }
        if !live {
            line.push_str("; nobody carries on now: `migrate apply` does");
        }
        said.push(line);
    }
    said
}

/// From the beginning of the first attempt of the freeze hook (or, without one, of the last pass) to the first weight of the target (or, without a
/// director, to the end of the thaw).
pub(super) fn freeze(steps: &[Known<'_>]) -> Option<(jiff::Timestamp, jiff::Timestamp)> {
    let (first, last) = freezing(steps)?;
    Some((first.record.first?, last.record.ended?))
}

/// The step that stops the writer on the source, and the one with which the target is open.
pub(super) fn freezing<'a>(steps: &[Known<'a>]) -> Option<(Known<'a>, Known<'a>)> {
    let freezes = |step: &Step| matches!(&step.kind, StepKind::Hook(hook) if hook.at == HookPoint::Freeze);
    let first = steps.iter().find(|known| known.step.urgent || freezes(known.step))?;
    Some((*first, *steps.iter().rfind(|known| known.step.urgent)?))
}

impl Show for RunReport {
    fn text(&self, style: Style) -> String {
        run_text(self, style)
    }
}

fn run_text(report: &RunReport, style: Style) -> String {
    let names = Names::of_pairs(report.pairs.iter().map(|pair| pair.pair.as_str()));
    let mut out = report.cut_off.as_ref().map(|outage| outage.text(style)).unwrap_or_default();
    let mut say = |hang: usize, line: &str| {
        let _ = writeln!(out, "{}", fit::whole(line, hang, style));
    };
    say(2, &format!("Run {} of plan {}: {}", report.run, report.plan, report.status));
    say(4, &format!("  begun {} by {}, last record {}", when(report.began), report.by, when(report.last)));
    if let Some(why) = &report.why {
        say(8, &format!("  held: {why}"));
    }
    if let Some(hint) = &report.hint {
        say(8, &format!("  help: {hint}"));
    }
    for left in &report.left_out {
        say(4, &format!("  ! {left}"));
    }
    for pairs in alike_pairs(&report.pairs, &names, style.verbose) {
        let Some(first) = pairs.first() else { continue };
        let next = first.next.as_ref().map_or("done".to_owned(), |n| format!("next: {n}"));
        let whom: Vec<&str> = pairs.iter().map(|pair| pair.pair.as_str()).collect();
        let (done, steps, share) = (first.done, first.steps, first.share);
        let each = if pairs.len() > 1 { "each " } else { "" };
        let frozen = frozen(pairs.iter().filter_map(|pair| pair.freeze_ms));
        let whom = format!("  {} {}", first.service, span(&whom));
        say(4, &format!("{whom}  {each}{done}/{steps} steps, target at {share} %, {next}{frozen}"));
        for line in &first.way_back {
            say(6, &format!("    way back: {line}"));
        }
        if let (false, others @ 1..) = (first.way_back.is_empty(), pairs.len() - 1) {
            say(6, &format!("    the other {} likewise", text::grouped(others as u64)));
        }
    }
    let kind = |open: &&OpenStep| match style.verbose {
        true => (open.step.clone(), String::new(), String::new()),
        false => (names.shape(&open.step), format!("{:?}", open.state).to_lowercase(), names.kind(&open.says)),
    };
    for (step, others) in told(&report.open, kind, |open| &open.step) {
        let state = format!("{:?}", step.state).to_lowercase();
        let since = step.since.map(when).unwrap_or_default();
        let says = if step.says.is_empty() { String::new() } else { format!(": {}", step.says) };
        say(4, &format!("  {} is {state} since {since}{says}", step.step));
        others.iter().for_each(|others| say(4, &format!("    {others}")));
    }
    let relayed = report.relayed.iter().map(|(step, relayed)| (step, relayed.told()));
    let kind = |(step, told): &(&String, String)| match style.verbose {
        true => ((*step).clone(), String::new()),
        false => (names.shape(step), names.kind(told)),
    };
    for ((step, came), others) in told(relayed, kind, |(step, _)| step) {
        say(4, &format!("  {step}: {came}"));
        others.iter().for_each(|others| say(4, &format!("    {others}")));
    }
    for drift in &report.drifts {
        let then = if drift.restores { "set again" } else { "held" };
        say(4, &format!("  drift {}: {drift} ({then})", when(drift.at)));
    }
    out
}

/// Pairs that stand where others do, together where they are many.
pub(super) fn alike_pairs<'a>(all: &'a [PairReport], names: &Names, verbose: bool) -> Vec<Vec<&'a PairReport>> {
    let kind = |pair: &&PairReport| {
        let back: Vec<String> = pair.way_back.iter().map(|line| names.kind(line)).collect();
        (pair.service.clone(), pair.done, pair.steps, pair.next.clone(), pair.share, back)
    };
    let apart = |pairs: Vec<&'a PairReport>| match verbose || pairs.len() <= FEW {
        true => pairs.into_iter().map(|pair| vec![pair]).collect(),
        false => vec![pairs],
    };
    kinds(all, kind).into_iter().flat_map(apart).collect()
}

/// `, frozen for 2.1 s`; of many, the shortest and the longest.
pub(super) fn frozen(all: impl Iterator<Item = u64> + Clone) -> String {
    let told = |ms: u64| text::duration(Duration::from_millis(ms));
    match (all.clone().min(), all.max()) {
        (Some(least), Some(most)) if least != most => format!(", frozen for {} to {}", told(least), told(most)),
        (Some(ms), _) => format!(", frozen for {}", told(ms)),
        (None, _) => String::new(),
    }
}
