//! A run as the page shows it: what `status`, `explain` and the report make of it, side by side.
//!
//! Must never compute what they compute: it asks them, and says which pair is to be looked at.

use std::collections::{BTreeMap, HashMap};

use jiff::Timestamp;
use serde::Serialize;

use super::desk::Errand;
use crate::event::{Direction, LastWords, Pause, RunState, StepState, Tuning};
use crate::model::Pair;
use crate::planner::rails::{self, Serving, Stands};
use crate::render::{self, Explanation, Outage, PairReport, RunReport, ServiceShare, Wait};
use crate::spec::Spec;
use crate::step::StepKind;

/// Steps that are named of those which a pair waits for.
const NAMED: usize = 3;
/// Points of a curve that a page can show.
const POINTS: usize = 400;

/// All of it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct View {
    /// What is known of the run as a whole.
    pub head: Head,
    /// Its pairs.
    pub pairs: Vec<PairView>,
    /// The shares of traffic.
    pub shares: Vec<ServiceShare>,
    /// What serves, against what must.
    pub capacity: Vec<Serving>,
}

/// A run as a whole.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Head {
    /// Its name.
    pub run: String,
    /// The plan's name.
    pub plan: String,
    /// As in `migrate status`.
    pub status: String,
    /// Whether a controller works on it.
    pub live: bool,
    /// Whether nothing can come any more.
    pub over: bool,
    /// Whether it goes back.
    pub back: bool,
    /// Who began it.
    pub by: String,
    /// When.
    pub began: Timestamp,
    /// When something last happened.
    pub last: Timestamp,
    /// One sentence, as `migrate explain` has it.
    pub summary: String,
    /// What would change that.
    pub next: Option<String>,
    /// Why it is held.
    pub why: Option<String>,
    /// What to do next.
    pub hint: Option<String>,
    /// Who paused it.
    pub paused: Option<Pause>,
    /// To be known first.
    pub cut_off: Option<Outage>,
    /// Steps in all, and by where they stand.
    pub steps: usize,
    /// Those that are done.
    pub done: usize,
    /// What is under way.
    pub waits: Vec<WaitView>,
    /// Steps that need a look.
    pub trouble: Vec<Trouble>,
    /// How often others had changed what the run had set, and what was found last.
    pub drifts: usize,
    /// The last of them.
    pub drift: Option<String>,
    /// What has been set.
    pub tuning: Tuning,
    /// Why every run on this machine is paused.
    pub stopped: Option<String>,
    /// What was started for somebody from here.
    pub errand: Option<Errand>,
}

/// What one step waits for.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct WaitView {
    /// As `migrate explain` has it.
    #[serde(flatten)]
    pub wait: Wait,
    /// How much of it is done, and of how much.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub part: Option<(u64, u64)>,
    /// Who has said yes, where somebody has to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub approved: Option<Vec<String>>,
}

/// A step that needs a look.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Trouble {
    /// Its id.
    pub step: String,
    /// Where it stands.
    pub state: StepState,
    /// What it said last.
    pub says: String,
}

/// One pair.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PairView {
    /// As `migrate status` has it.
    #[serde(flatten)]
    pub pair: PairReport,
    /// `waiting`, `begun`, `working`, `cut_off`, `trouble`, `moved`, `back`.
    pub now: &'static str,
    /// What it waits for: steps that must be done before its next one, some of them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub after: Vec<String>,
    /// Whether its source keeps in step, so that going back has little to wait for; `None` where nothing is carried back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ready: Option<bool>,
}

/// What is known beside the state.
pub struct Beside<'a> {
    /// Whether a controller works on it.
    pub live: bool,
    /// What its steps said last.
    pub words: &'a LastWords,
    /// How much of a step is done.
    pub parts: &'a BTreeMap<String, (u64, u64)>,
    /// Shares, by the records that tell of them.
    pub shares: &'a [ServiceShare],
    /// The plan.
    pub spec: Option<&'a Spec>,
    /// Why every run is paused.
    pub stopped: Option<String>,
    /// What was started for somebody.
    pub errand: Option<Errand>,
}

impl View {
    /// Of a run.
    pub fn new(state: &RunState, beside: Beside<'_>, now: Timestamp) -> Self {
        let report = RunReport::new(state, beside.live);
        let explanation = render::explain(state, beside.live, beside.words, now);
        let pairs = pairs(state, &report, beside.live);
        let capacity = beside.spec.map(|spec| capacity(spec, state)).unwrap_or_default();
        let shares = beside.shares.to_vec();
        Self { pairs, shares, capacity, head: head(state, report, explanation, beside) }
    }
}

fn head(state: &RunState, report: RunReport, explanation: Explanation, beside: Beside<'_>) -> Head {
    let Explanation { summary, next, waits, cut_off, .. } = explanation;
    let wait = |wait: Wait| {
        let part = match &wait.connections {
            Some(connections) => Some((connections.of.saturating_sub(connections.left), connections.of)),
            None => beside.parts.get(&wait.step).copied(),
        };
        let is_gate = state.graph.step(&wait.step).is_some_and(|step| matches!(step.kind, StepKind::Gate(_)));
        let names = || state.approvals.get(&wait.step).into_iter().flatten().map(|yes| yes.by.user.clone()).collect();
        WaitView { part, approved: is_gate.then(names), wait }
    };
    let needs_a_look = |state: StepState| matches!(state, StepState::Failed | StepState::Unknown);
    let trouble = report.open.into_iter().filter(|step| needs_a_look(step.state));
    Head {
        run: report.run,
        plan: report.plan,
        status: report.status,
        live: beside.live,
        over: state.status.is_over(),
        back: state.direction != Direction::Forward,
        by: report.by,
        began: report.began,
        last: report.last,
        summary,
        next,
        why: report.why,
        hint: report.hint,
        paused: state.paused.clone(),
        cut_off,
        steps: state.started.steps,
        done: state.count(StepState::Done),
        waits: waits.into_iter().map(wait).collect(),
        trouble: trouble.map(|open| Trouble { step: open.step, state: open.state, says: open.says }).collect(),
        drifts: report.drifts.len(),
        drift: report.drifts.last().map(ToString::to_string),
        tuning: state.tuning,
        stopped: beside.stopped,
        errand: beside.errand,
    }
}

/// What is asked of a pair's steps beside the report.
#[derive(Default)]
struct Own {
    trouble: bool,
    under_way: bool,
    /// The first step that is not done.
    next: Option<usize>,
    ready: Option<bool>,
}

fn pairs(state: &RunState, report: &RunReport, live: bool) -> Vec<PairView> {
    let mut own: Vec<Own> = Vec::new();
    let mut found: HashMap<(&str, &Pair), usize> = HashMap::new();
    for (at, step) in state.graph.steps.iter().enumerate() {
        let Some(pair) = &step.pair else { continue };
        let n = *found.entry((&step.service, pair)).or_insert(own.len());
        if n == own.len() {
            own.push(Own::default());
        }
        let (Some(own), Some(record)) = (own.get_mut(n), state.at(at)) else { continue };
        match record.state {
            StepState::Failed | StepState::Unknown => own.trouble = true,
            // What stays under way beside the rest keeps the way back open.
            StepState::Running if step.beside.is_some() => {
                own.ready = Some(state.reverses.get(&step.id).is_some_and(|reverse| reverse.pace.is_in_step()));
            }
            StepState::Running | StepState::Undoing => own.under_way = true,
            StepState::Waiting | StepState::Done => {}
        }
        if record.state != StepState::Done && step.beside.is_none() {
            own.next = own.next.or(Some(at));
        }
    }
    let cut_off = report.cut_off.iter().flat_map(|outage| &outage.pairs);
    let cut_off: Vec<(&str, String)> =
        cut_off.map(|pair| (pair.service.as_str(), format!("{} → {}", pair.source, pair.target))).collect();
    let view = |(pair, own): (&PairReport, Own)| {
        let is_cut_off = cut_off.iter().any(|(service, name)| *service == pair.service && *name == pair.pair);
        let now = match pair.is {
            _ if own.trouble => "trouble",
            _ if is_cut_off => "cut_off",
            "moved" => "moved",
            "back" => "back",
            "not begun" => "waiting",
            // Where nobody works on it, what was begun stands still.
            _ if own.under_way && live => "working",
            _ => "begun",
        };
        let after = own.next.filter(|_| !own.under_way).map(|at| waits_for(state, at)).unwrap_or_default();
        PairView { pair: pair.clone(), now, after, ready: own.ready }
    };
    report.pairs.iter().zip(own).map(view).collect()
}

/// Steps that are not done and must be before this one.
fn waits_for(state: &RunState, at: usize) -> Vec<String> {
    let open = |at: &usize| state.at(*at).is_some_and(|record| record.state != StepState::Done);
    let steps = state.graph.steps.waits_for(at).filter(open).filter_map(|at| state.graph.steps.get(at));
    steps.take(NAMED).map(|step| step.id.clone()).collect()
}

fn capacity(spec: &Spec, state: &RunState) -> Vec<Serving> {
    let stands = |at: usize| match state.at(at).map(|record| record.state) {
        None | Some(StepState::Waiting) => Stands::Not,
        Some(StepState::Done) => Stands::Done,
        Some(StepState::Running | StepState::Failed | StepState::Unknown | StepState::Undoing) => Stands::Maybe,
    };
    rails::serving(spec, &state.graph, stands)
}

/// As many points of the shares as a page can show, the newest among them.
pub fn thinned(mut shares: Vec<ServiceShare>) -> Vec<ServiceShare> {
    for share in &mut shares {
        thin(&mut share.wanted);
        thin(&mut share.measured);
    }
    shares
}

fn thin<T>(points: &mut Vec<T>) {
    let every = points.len().div_ceil(POINTS).max(1);
    let last = points.len().saturating_sub(1);
    let mut n = 0;
    points.retain(|_| {
        let keep = n % every == 0 || n == last;
        n += 1;
        keep
    });
}
