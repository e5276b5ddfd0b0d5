//! From the records of a run to what is told of it.

use std::collections::{BTreeMap, HashMap};

use jiff::Timestamp;

use super::bands::{band, looks, moves};
use super::share::Shares;
use super::{
    Act, Audit, Band, Carried, Chronicle, FORMAT, Failure, Falling, FallingWave, Freeze, Halt, Look, Measured,
    PairTold, Span, Together, Totals, Wave, millis, said,
};
use crate::event::{Direction, Event, Figures, Known, OfPair, Record, RunState, Status, StepResult, StepState};
use crate::model::Pair;
use crate::planner::cost::{Bill, Cost};
use crate::render::report::{RunReport, freeze, freezing};
use crate::step::Step;

/// What is told beside the records.
#[derive(Debug, Clone, Default)]
pub struct Beside {
    /// Whether a controller works on the run now.
    pub live: bool,
    /// What the plan says of itself.
    pub description: Option<String>,
    /// What the plan does to the bill.
    pub bill: Bill,
    /// Whether the records are what they were.
    pub audit: Option<Audit>,
}

impl Chronicle {
    /// Tells a run by its records, which fold to this state.
    pub fn new(records: &[Record], state: &RunState, beside: Beside) -> Self {
        let mut gathered = Gathered::new(state);
        records.iter().for_each(|record| gathered.take(record));
        gathered.told(state, beside)
    }
}

/// What has been gathered so far.
struct Gathered<'a> {
    state: &'a RunState,
    pairs: Vec<Own<'a>>,
    found: HashMap<(&'a str, &'a Pair), usize>,
    /// Steps under way: when their last attempt began, and where its span is.
    open: HashMap<&'a str, (Timestamp, (Lane, usize))>,
    together: Vec<Together>,
    shares: Shares<'a>,
    carried: Vec<Carried>,
    compared: Vec<Carried>,
    looks: Vec<Look>,
    failures: Vec<Failure>,
    halts: Vec<Halt>,
    acts: Vec<Act>,
    last: Timestamp,
    /// Whether the last record let the run go on, so that whoever takes it up ends nothing.
    went_on: bool,
}

/// Whose spans something is among: those of a pair, or of what is done together.
#[derive(Clone, Copy)]
enum Lane {
    Pair(usize),
    Together(usize),
}

/// The steps of one pair.
struct Own<'a> {
    service: &'a str,
    pair: &'a Pair,
    steps: Vec<Known<'a>>,
    spans: Vec<Span>,
    bytes: u64,
}

impl<'a> Gathered<'a> {
    fn new(state: &'a RunState) -> Self {
        let of =
            |of: OfPair<'a>| Own { service: of.service, pair: of.pair, steps: of.steps, spans: Vec::new(), bytes: 0 };
        let pairs: Vec<Own<'a>> = state.by_pair().into_iter().map(of).collect();
        let found = pairs.iter().enumerate().map(|(at, own)| ((own.service, own.pair), at)).collect();
        Self {
            state,
            pairs,
            found,
            open: HashMap::new(),
            together: Vec::new(),
            shares: Shares::new(state),
            carried: Vec::new(),
            compared: Vec::new(),
            looks: Vec::new(),
            failures: Vec::new(),
            halts: Vec::new(),
            acts: Vec::new(),
            last: state.started_at,
            went_on: true,
        }
    }

    fn take(&mut self, record: &Record) {
        let at = record.at;
        if let Some((by, did)) = said::act(&record.event) {
            self.acts.push(Act { at, by: said::name(by), did });
        }
        let mut went_on = false;
        match &record.event {
            Event::Intent { step, undo, .. } => self.begin(step, *undo, at),
            Event::Outcome { step, attempt, undo, result } => self.end(step, (*attempt, *undo), result, at),
            Event::Resolved { step, done, .. } => {
                self.close(step, at, if *done { "done" } else { "failed" });
            }
            Event::Held { step, why, stuck, .. } => {
                let how = if *stuck { "stuck" } else { "held" };
                self.halts.push(Halt {
                    how,
                    began: at,
                    ended: None,
                    step: step.clone(),
                    why: why.clone(),
                    ended_by: None,
                });
            }
            Event::Stopped { by } => {
                let why = format!("by {by}");
                self.halts.push(Halt { how: "stopped", began: at, ended: None, step: None, why, ended_by: None });
            }
            Event::Paused { why, .. } => {
                self.halts.push(Halt {
                    how: "paused",
                    began: at,
                    ended: None,
                    step: None,
                    why: why.clone(),
                    ended_by: None,
                });
            }
            Event::Unpaused { by } => {
                self.end_halts(at, &format!("{} let it go on", said::name(by)), |how| how == "paused");
            }
            Event::Resumed { by } => {
                let by = format!("{} took it up again", said::name(by));
                if !self.end_halts(at, &by, |how| how != "paused") && !self.went_on {
                    let (began, why) = (self.last, "its controller ended without a word".to_owned());
                    let ended_by = Some(by);
                    self.halts.push(Halt { how: "interrupted", began, ended: Some(at), step: None, why, ended_by });
                }
            }
            Event::RollbackBegan { by, .. } => {
                self.end_halts(at, &format!("{} let it go back", said::name(by)), |how| how != "paused");
                went_on = true;
            }
            Event::Abandoned { by, .. } => {
                self.end_halts(at, &format!("{} gave it up", said::name(by)), |_| true);
            }
            Event::Finished | Event::RolledBack => {
                self.end_halts(at, "the end of the run", |_| true);
            }
            Event::Started(_)
            | Event::Cleared { .. }
            | Event::Aborted { .. }
            | Event::Approved { .. }
            | Event::Tuned { .. }
            | Event::Drifted { .. }
            | Event::Reversed { .. }
            | Event::LetGo { .. }
            | Event::Paced { .. }
            | Event::Straggled { .. }
            | Event::Notified(_)
            | Event::Released { .. } => {}
        }
        (self.last, self.went_on) = (at, went_on);
    }

    /// Whether any was ended.
    fn end_halts(&mut self, at: Timestamp, by: &str, which: impl Fn(&str) -> bool) -> bool {
        let mut any = false;
        for halt in self.halts.iter_mut().filter(|halt| halt.ended.is_none() && which(halt.how)) {
            (halt.ended, halt.ended_by, any) = (Some(at), Some(by.to_owned()), true);
        }
        any
    }

    fn begin(&mut self, id: &str, undo: bool, at: Timestamp) {
        // What became of an attempt whose controller died is not known.
        self.close(id, self.last, "unknown");
        let Some(step) = self.state.graph.step(id) else { return };
        let (phase, band) = (step.kind.phase(), if undo { Band::Undo } else { band(step) });
        let span = Span { step: step.id.clone(), phase, band, began: at, ended: None, result: None };
        let lane = self.lane(step);
        let Some(spans) = self.spans(lane) else { return };
        spans.push(span);
        let place = (lane, spans.len() - 1);
        self.open.insert(&step.id, (at, place));
    }

    fn lane(&mut self, step: &Step) -> Lane {
        let found = step.pair.as_ref().and_then(|pair| self.found.get(&(&*step.service, pair)));
        if let Some(pair) = found {
            return Lane::Pair(*pair);
        }
        let own = |together: &Together| together.wave == *step.wave && together.service == *step.service;
        let at = self.together.iter().position(own).unwrap_or_else(|| {
            let (wave, service) = (step.wave.to_string(), step.service.to_string());
            self.together.push(Together { wave, service, spans: Vec::new() });
            self.together.len() - 1
        });
        Lane::Together(at)
    }

    fn spans(&mut self, lane: Lane) -> Option<&mut Vec<Span>> {
        match lane {
            Lane::Pair(at) => self.pairs.get_mut(at).map(|own| &mut own.spans),
            Lane::Together(at) => self.together.get_mut(at).map(|together| &mut together.spans),
        }
    }

    /// Ends the span of a step that is under way; when it began.
    fn close(&mut self, id: &str, at: Timestamp, result: &'static str) -> Option<Timestamp> {
        let (began, (lane, n)) = self.open.remove(id)?;
        if let Some(span) = self.spans(lane).and_then(|spans| spans.get_mut(n)) {
            (span.ended, span.result) = (Some(at), Some(result));
        }
        Some(began)
    }

    fn end(&mut self, id: &str, (attempt, undo): (u32, bool), result: &StepResult, at: Timestamp) {
        let word = match result {
            StepResult::Done { .. } => "done",
            StepResult::Failed { .. } => "failed",
            StepResult::Unknown { .. } => "unknown",
        };
        let began = self.close(id, at, word).unwrap_or(at);
        let Some(step) = self.state.graph.step(id) else { return };
        match result {
            StepResult::Done { evidence, figures, .. } => {
                self.shares.done(step, undo, at);
                self.figures(step, undo, (began, at), evidence, figures.as_ref());
                if !undo && looks(step) {
                    let (asked, says) = (step.kind.describe(), evidence.clone());
                    self.looks.push(Look { at, step: id.to_owned(), phase: step.kind.phase(), asked, says });
                }
            }
            StepResult::Failed { why, .. } | StepResult::Unknown { why, .. } => {
                self.failures.push(Failure { at, step: id.to_owned(), undo, attempt, result: word, why: why.clone() });
            }
        }
    }

    fn figures(
        &mut self,
        step: &'a Step,
        back: bool,
        (began, ended): (Timestamp, Timestamp),
        says: &str,
        figures: Option<&Figures>,
    ) {
        let carried = |files, bytes| {
            let (step, phase, says) = (step.id.clone(), step.kind.phase(), says.to_owned());
            Carried { step, phase, back, began, ended, files, bytes, says }
        };
        match figures {
            None => {}
            Some(Figures::Carried { files, bytes }) => {
                let place = step.pair.as_ref().and_then(|pair| self.found.get(&(&*step.service, pair)));
                if let Some(own) = place.and_then(|n| self.pairs.get_mut(*n)) {
                    own.bytes += bytes;
                }
                self.carried.push(carried(*files, *bytes));
            }
            Some(Figures::Compared { files, bytes }) => self.compared.push(carried(*files, *bytes)),
            Some(Figures::Sessions { all, targets, wanted }) => {
                let measured = Measured::counted(&step.id, (began, ended), *all, *targets, *wanted);
                self.shares.measured(step, measured);
            }
        }
    }

    fn told(mut self, state: &RunState, beside: Beside) -> Chronicle {
        let report = RunReport::new(state, beside.live);
        if state.status == Status::Running && !beside.live {
            let why = "its controller ended without a word".to_owned();
            let began = state.last_at;
            self.halts.push(Halt { how: "interrupted", began, ended: None, step: None, why, ended_by: None });
        }
        let of: HashMap<(&str, &str), (u8, &[String])> = report.pairs.iter().fold(HashMap::new(), |mut of, pair| {
            of.insert((&pair.service, &pair.pair), (pair.share, &pair.way_back));
            of
        });
        let traffic = self.shares.services();
        let pairs = self.pairs.into_iter().map(|own| {
            let name = format!("{} → {}", own.pair.source, own.pair.target);
            let known = of.get(&(own.service, name.as_str()));
            let service = own.service;
            let (share, way_back) = known.map_or((0, Vec::new()), |(share, way_back)| (*share, way_back.to_vec()));
            own.told(state, Some(share).filter(|_| traffic.contains(service)), way_back)
        });
        let pairs: Vec<PairTold> = pairs.collect();
        let waves = waves(state, &pairs);
        let totals = Totals {
            pairs: pairs.len(),
            moved: pairs.iter().filter(|pair| pair.is == "moved").count(),
            steps: state.graph.steps.len(),
            done: state.count(StepState::Done),
            failures: self.failures.len(),
            took_ms: millis(state.started_at, state.last_at),
            halted_ms: halted(&self.halts, state.last_at),
            files: self.carried.iter().map(|carried| carried.files).sum(),
            bytes: self.carried.iter().map(|carried| carried.bytes).sum(),
            longest_freeze_ms: pairs.iter().filter_map(|pair| Some(pair.freeze?.millis)).max(),
        };
        let bills = beside.bill.costs.iter().map(|cost| falling(cost, &waves)).collect();
        let mut told = Chronicle {
            migrate_report: FORMAT,
            run: report.run,
            plan: report.plan,
            description: beside.description,
            status: report.status,
            why: report.why,
            hint: report.hint,
            summary: String::new(),
            cut_off: report.cut_off,
            by: report.by,
            began: report.began,
            last: report.last,
            version: state.started.version.clone(),
            inputs: state.started.inputs.clone(),
            totals,
            waves,
            pairs,
            together: self.together,
            shares: self.shares.told(),
            carried: self.carried,
            compared: self.compared,
            looks: self.looks,
            failures: self.failures,
            halts: self.halts,
            acts: self.acts,
            drifts: report.drifts,
            relayed: report.relayed,
            bills,
            unknown_costs: if beside.bill.is_empty() { Vec::new() } else { beside.bill.unknown },
            audit: beside.audit,
        };
        told.summary = said::summary(&told);
        told
    }
}

impl Own<'_> {
    /// When it was frozen, where that has been put back since: the state knows of it no more.
    fn was_frozen(&self) -> Option<(Timestamp, Timestamp)> {
        let (first, last) = freezing(&self.steps)?;
        let ended = |id: &str, undo: bool| {
            let is_it = |span: &&Span| span.step == id && (span.band == Band::Undo) == undo;
            self.spans.iter().filter(is_it).find(|span| span.result == Some("done")).and_then(|span| span.ended)
        };
        let began = self.spans.iter().find(|span| span.step == first.step.id && span.band != Band::Undo)?.began;
        Some((began, ended(&last.step.id, false).or_else(|| ended(&first.step.id, true))?))
    }

    fn told(self, state: &RunState, share: Option<u8>, way_back: Vec<String>) -> PairTold {
        let frozen = freeze(&self.steps).or_else(|| self.was_frozen());
        let is = standing(state, &self.steps, !self.spans.is_empty());
        let own = self.steps.iter().filter(|known| moves(known.step)).map(|known| known.record);
        PairTold {
            wave: self.steps.first().map(|known| known.step.wave.to_string()).unwrap_or_default(),
            service: self.service.to_owned(),
            source: self.pair.source.clone(),
            target: self.pair.target.clone(),
            is,
            began: self.spans.iter().map(|span| span.began).min(),
            ended: own.map(|record| record.ended).max().flatten().filter(|_| is == "moved"),
            share,
            freeze: frozen.map(|(began, ended)| Freeze { began, ended, millis: millis(began, ended) }),
            bytes: self.bytes,
            way_back,
            spans: self.spans,
        }
    }
}

/// Where a pair stands: what only waits for the end of its way back does not count.
pub(in crate::render) fn standing(state: &RunState, steps: &[Known<'_>], begun: bool) -> &'static str {
    let mut own = steps.iter().filter(|known| moves(known.step)).map(|known| known.record.state);
    if own.clone().all(|is| is == StepState::Done) {
        return "moved";
    }
    match own.all(|is| is == StepState::Waiting) {
        true if begun && state.direction != Direction::Forward || state.status == Status::RolledBack => "back",
        true if !begun => "not begun",
        _ => "under way",
    }
}

fn waves(state: &RunState, pairs: &[PairTold]) -> Vec<Wave> {
    let mut waves: Vec<Wave> = Vec::new();
    let mut found: BTreeMap<&str, usize> = BTreeMap::new();
    let mut whole: Vec<bool> = Vec::new();
    for (step, n) in state.graph.steps.iter().zip(0..) {
        let at = *found.entry(&step.wave).or_insert(waves.len());
        if at == waves.len() {
            let count = pairs.iter().filter(|pair| pair.wave == *step.wave).count();
            waves.push(Wave { wave: step.wave.to_string(), pairs: count, began: None, ended: None });
            whole.push(true);
        }
        let (Some(wave), Some(record)) = (waves.get_mut(at), state.at(n)) else { continue };
        wave.began = [wave.began, record.first].into_iter().flatten().min();
        if moves(step) {
            wave.ended = wave.ended.max(record.ended.filter(|_| record.state == StepState::Done));
            if let Some(whole) = whole.get_mut(at) {
                *whole &= record.state == StepState::Done;
            }
        }
    }
    for (wave, whole) in waves.iter_mut().zip(whole) {
        wave.ended = wave.ended.filter(|_| whole);
    }
    waves
}

/// How long nothing new began. Halts may overlap: somebody may pause what is held.
fn halted(halts: &[Halt], last: Timestamp) -> u64 {
    let mut spans: Vec<_> = halts.iter().map(|halt| (halt.began, halt.ended.unwrap_or(last))).collect();
    spans.sort();
    let (mut sum, mut until) = (0, None);
    for (began, ended) in spans {
        let from = until.map_or(began, |until: Timestamp| until.max(began));
        if ended > from {
            sum += millis(from, ended);
            until = Some(ended);
        }
    }
    sum
}

fn falling(cost: &Cost, waves: &[Wave]) -> Falling {
    let over = |name: &str| waves.iter().find(|wave| wave.wave == name).and_then(|wave| wave.ended);
    let row = |wave: &crate::planner::cost::WaveCost| FallingWave {
        wave: wave.wave.clone(),
        over: over(&wave.wave),
        ends: wave.ends,
        left: wave.left,
    };
    Falling {
        currency: cost.currency.clone(),
        all: cost.all,
        sources: cost.sources,
        targets: cost.targets,
        way_back_a_day: cost.way_back_a_day,
        waves: cost.waves.iter().map(row).collect(),
    }
}
